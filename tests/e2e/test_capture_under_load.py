"""Captures on the deployed stack: many requests at once, every scored row is stored, none twice."""

from __future__ import annotations

import base64
import gzip
import json
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

from local.demo import samples
from mlops.aws.clients import client
from mlops.capture import columns
from mlops.capture.reading import read
from mlops.contract import Contract
from mlops.contract.source import load
from mlops.objects import capture_prefix, is_folded
from tests.e2e.conftest import Deployed
from tests.e2e.models import MODEL, ROOT, serving
from tests.unit.capture.test_capture import line

REQUESTS, ROWS, AT_ONCE = 120, 5, 8
BREAST_CANCER = ROOT / "models" / "breast-cancer.yaml"


def test_every_answered_row_is_stored_once(deployed: Deployed, tmp_path: Path) -> None:
    bench = deployed.bench
    serving(deployed, tmp_path)
    sample = samples.breast_cancer()
    records, token = sample.records(sample.usual[:ROWS]), bench.token(subject="load")
    began = datetime.now(UTC) - timedelta(seconds=5)

    def ask(_: int) -> list[str]:
        # A busy engine may fail to start an authorizer, or take longer than the client waits; then no answer came.
        try:
            answer = bench.predict(MODEL, records, token)
        except TimeoutError:
            return []
        return [p["id"] for p in answer.body["predictions"]] if answer.status == 200 else []

    with ThreadPoolExecutor(AT_ONCE) as pool:
        answered = {identity for ids in pool.map(ask, range(REQUESTS)) for identity in ids}
    assert len(answered) > REQUESTS * ROWS / 2

    def stored() -> list[str]:
        lines = read(bench.data, MODEL, began, datetime.now(UTC) + timedelta(minutes=1))
        return [row.id for line in lines for row in line.rows if row.id in answered]

    deadline = time.monotonic() + 60
    while len(stored()) < len(answered) and time.monotonic() < deadline:
        time.sleep(0.3)
    assert sorted(stored()) == sorted(answered)

    # The subscription delivers at least once: what it has sent before comes again, cut in another way too.
    found = client("logs").filter_log_events(
        logGroupName=f"/aws/lambda/{bench.stack}-predict",
        filterPattern='"mlops.capture.v1"',
        startTime=int(began.timestamp() * 1000),
        limit=50,
    )["events"]
    for part in (found[:30], found[:30], found[10:40]):
        data = {
            "messageType": "DATA_MESSAGE",
            "logEvents": [
                {"id": f"{e['timestamp']:056d}", "timestamp": e["timestamp"], "message": e["message"]} for e in part
            ],
        }
        packed = base64.b64encode(gzip.compress(json.dumps(data).encode())).decode()
        assert bench.invoke("capture_writer", {"awslogs": {"data": packed}})["lines"] == len(part)
    assert sorted(stored()) == sorted(answered)


def test_closed_hours_are_folded_and_read_as_before(deployed: Deployed) -> None:
    """The function's role may list, read, write and delete captures, and nothing is read twice or lost."""
    bench = deployed.bench
    now = datetime.now(UTC)
    then = (now - timedelta(hours=5)).replace(microsecond=0)
    prefix = capture_prefix("folded", f"{then:%Y-%m-%d}", f"{then:%H}")
    bench.push_contract(Contract.from_dict({**load(BREAST_CANCER).to_dict(), "name": "folded"}), actor="t", reason="t")
    for i in range(30):
        bench.data.put(f"{prefix}{i:02}.jsonl.gz", gzip.compress(line(i, "folded", then).encode()))

    def rows() -> list[str]:
        return sorted(i for block in columns.read(bench.data, "folded", then, now) for i in block.ids)

    before = rows()
    assert len(before) == 30
    done = bench.invoke("housekeeping", {"task": "daily", "actor": "user:test", "reason": "tests"})["captures"]
    assert done["objects"] >= 30
    assert rows() == before
    (only,) = bench.data.list(prefix)
    assert is_folded(only.key)
