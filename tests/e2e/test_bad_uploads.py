"""Whatever is uploaded ends accepted or quarantined with a reason; nothing is lost, nothing crashes (invariant 3)."""

from __future__ import annotations

import gzip
import io
import json
import uuid
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from local.demo.samples import diabetes
from mlops.aws.clients import client
from mlops.contract import Contract
from mlops.contract.source import load
from tests.cloudformation import ROOT
from tests.e2e.conftest import Deployed

MODEL = "bad-files"
HEADER = ("patient_id", "age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6", "progression")


@pytest.fixture(scope="module")
def contract(deployed: Deployed) -> Contract:
    """The diabetes contract under another name; no upload of this module is large enough to train on."""
    found = load(ROOT / "models" / "diabetes.yaml")
    renamed = Contract.from_dict({**found.to_dict(), "name": MODEL})
    deployed.bench.push_contract(renamed, actor="user:test", reason="test")
    return renamed


def csv(rows: int = 3, header: tuple[str, ...] = HEADER) -> bytes:
    lines = [",".join(header)]
    for row in diabetes().usual[:rows]:
        lines.append(",".join(str(row.get(name, "1")) for name in header))
    return ("\n".join(lines) + "\n").encode()


def parquet(rows: int = 3) -> bytes:
    buffer = io.BytesIO()
    pl.DataFrame(diabetes().usual[:rows]).write_parquet(buffer)
    return buffer.getvalue()


#: name -> (file name, bytes, status, code among the reasons, or None)
CASES: dict[str, tuple[str, bytes, str, str | None]] = {
    "empty": ("a.csv", b"", "rejected", "empty"),
    "binary": ("a.csv", bytes(range(256)) * 40, "rejected", "not_a_table"),
    "truncated gzip": ("a.csv.gz", gzip.compress(csv(100))[:-20], "rejected", "truncated"),
    "truncated parquet": ("a.parquet", parquet(50)[:-30], "rejected", "truncated"),
    "duplicate header": ("a.csv", csv(header=(*HEADER, "age")), "rejected", None),
    "changed schema": ("a.csv", csv(header=("patient_id", "years", "weight")), "rejected", None),
    "another encoding": (
        "a.csv",
        csv().decode().replace("patient_id", "patiént_id").encode("latin-1"),
        "rejected",
        None,
    ),
    "a byte-order mark": ("a.csv", b"\xef\xbb\xbf" + csv(5), "accepted", None),
}


@pytest.mark.parametrize("name", CASES)
def test_every_file_ends_in_a_result(deployed: Deployed, contract: Contract, tmp_path: Path, name: str) -> None:
    file_name, body, status, code = CASES[name]
    path = tmp_path / file_name
    path.write_bytes(body)
    sent = deployed.bench.upload(MODEL, path)
    execution = deployed.bench.pipeline_of(sent)
    ended = deployed.bench.wait(execution, seconds=120)
    assert ended.status == "SUCCEEDED"
    result = deployed.bench.upload_result(execution)
    assert result is not None
    assert result["status"] == status, result
    if code:
        assert code in {reason["code"] for reason in result["reasons"]}
    # The object as it came is still there, and a rejected one lies in quarantine with its reason beside it.
    assert deployed.bench.data.get(sent.key) == body
    if status == "rejected":
        prefix = f"quarantine/{MODEL}/{execution.removeprefix('up-')}/"
        kept = {i.key.removeprefix(prefix) for i in deployed.bench.data.list(prefix)}
        assert "reason.json" in kept
        reason = json.loads(deployed.bench.data.get(prefix + "reason.json"))
        text = json.dumps(reason)
        assert "Traceback" not in text
        assert "/tmp" not in text


def test_a_model_without_a_contract_is_quarantined(deployed: Deployed, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(csv())
    execution = deployed.bench.pipeline_of(deployed.bench.upload("nobody-knows", path))
    ended = deployed.bench.wait(execution, seconds=120)
    assert ended.status == "SUCCEEDED"
    assert ended.output["outcome"] == "rejected"
    reasons = ended.output["ingest"]["reasons"]
    assert "no_contract" in {r["code"] for r in reasons}


def test_a_file_outside_a_models_folder_is_not_lost(deployed: Deployed) -> None:
    key = f"incoming/{uuid.uuid4().hex}.csv"
    client("s3").put_object(Bucket=deployed.bench.outputs["DataBucket"], Key=key, Body=csv())
    event: dict[str, Any] = {
        "source": "aws.s3",
        "detail-type": "Object Created",
        "detail": {
            "bucket": {"name": deployed.bench.outputs["DataBucket"]},
            "object": {"key": key, "size": len(csv()), "etag": "e"},
        },
    }
    started = deployed.bench.invoke("intake", event)["uploads"][0]
    ended = deployed.bench.wait(f"up-{started['upload_id']}", seconds=120)
    assert ended.output["outcome"] == "rejected"


def test_an_object_delivered_twice_has_one_effect(deployed: Deployed, contract: Contract, tmp_path: Path) -> None:
    # Invariant 2: the event that started the execution comes again, twice.
    path = tmp_path / "twice.csv"
    path.write_bytes(csv(20))
    sent = deployed.bench.upload(MODEL, path)
    execution = deployed.bench.pipeline_of(sent)
    deployed.bench.wait(execution, seconds=120)
    before = deployed.bench.registry.current_dataset(MODEL)
    entries = len(list(deployed.bench.ledger.entries(subject=f"upload/{execution.removeprefix('up-')}")))
    event = {
        "source": "aws.s3",
        "detail-type": "Object Created",
        "detail": {
            "bucket": {"name": sent.bucket},
            "object": {"key": sent.key, "size": path.stat().st_size, "etag": sent.etag},
        },
    }
    for _ in range(2):
        again = deployed.bench.invoke("intake", event)["uploads"][0]
        assert again["started"] is False
    assert deployed.bench.registry.current_dataset(MODEL) == before
    after = len(list(deployed.bench.ledger.entries(subject=f"upload/{execution.removeprefix('up-')}")))
    assert after == entries == 1
