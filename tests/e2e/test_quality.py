"""Quality on the deployed stack: predictions, then their labels by two ways, then what the check makes of them."""

from __future__ import annotations

import csv
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from local.demo import samples
from mlops.capture.reading import read
from mlops.data.label_file import canonical
from mlops.features.columns import Columns
from mlops.objects import label_prefix, labelled_key
from tests.e2e.conftest import Deployed
from tests.e2e.models import MODEL, serving


def test_labels_find_their_predictions_by_id_and_by_entity(deployed: Deployed, tmp_path: Path) -> None:
    bench = deployed.bench
    version = serving(deployed, tmp_path)
    sample = samples.breast_cancer()
    rows = sample.usual[-140:]
    began = datetime.now(UTC) - timedelta(seconds=2)
    answer = bench.predict(MODEL, sample.records(rows), bench.token(subject="e2e"))
    ids = [p["id"] for p in answer.body["predictions"]]

    def captured() -> int:
        lines = read(bench.data, MODEL, began, datetime.now(UTC) + timedelta(minutes=1))
        return len({row.id for line in lines for row in line.rows} & set(ids))

    deadline = time.monotonic() + 60
    while captured() < len(ids) and time.monotonic() < deadline:
        time.sleep(0.3)
    until = datetime.now(UTC) + timedelta(seconds=1)

    for name, head, values in (
        ("by_id", ("inference_id", "diagnosis"), zip(ids[:70], (r["diagnosis"] for r in rows[:70]), strict=True)),
        ("by_entity", ("patient_id", "diagnosis"), ((r["patient_id"], r["diagnosis"]) for r in rows[70:])),
    ):
        path = tmp_path / f"{name}.csv"
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([head, *values])
        body, count = canonical(path, bench.registry.contract(MODEL))
        assert count == 70
        bench.data.put(f"{label_prefix(MODEL)}{name}-{version}.jsonl.gz", body)

    hours = (until - began).total_seconds() / 3600
    request = {"task": "check", "model": MODEL, "hours": hours, "until": until.isoformat()}
    (found,) = bench.invoke("quality_check", request)["results"]
    assert (found["version"], found["rows"], found["labelled"]) == (version, 140, 140)
    assert found["status"] == "ok", found
    assert found["realised"] >= found["bound"]
    assert found["estimated"] is not None
    assert f"Quality of {MODEL}".encode() in bench.data.get(found["report_key"])
    assert bench.invoke("quality_check", request)["results"] == [found]
    kept = Columns.load(bench.data.get(labelled_key(MODEL)))
    assert (kept.rows, kept.names[-3:]) == (140, ("diagnosis", "inference_id", "time"))
    judged = bench.invoke("evaluate", {"model": MODEL, "version": version, "run_id": "e2e-recent"})
    assert judged["champion"] == version
    entries = [e for e in bench.ledger.entries(subject=f"model/{MODEL}/") if e.action == "quality.checked"]
    assert [e.inputs["check"] for e in entries].count(found["check_id"]) == 1
