"""A folder of files on the deployed stack is one upload, and has the version that one file with all rows has."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import boto3

from local.demo import samples
from mlops.aws import bulk_runs
from mlops.contract import Contract
from mlops.contract.source import load
from mlops.data.intake import upload_id
from tests.cloudformation import ROOT
from tests.e2e.conftest import Deployed


def contract(name: str) -> Contract:
    """No training is launched: it is not what is tested."""
    known = Contract.from_dict({**load(ROOT / "models" / "breast-cancer.yaml").to_dict(), "name": name})
    return replace(known, training=replace(known.training, min_rows=1_000_000))


def test_eight_files_are_one_upload(deployed: Deployed, tmp_path: Path) -> None:
    bench, many, one = deployed.bench, "in-many-files", "in-one-file"
    for name in (many, one):
        bench.push_contract(contract(name), actor="user:test", reason="tests")
    rows, folder = samples.breast_cancer().usual, tmp_path / "history"
    folder.mkdir()
    for i in range(6):
        samples.write_csv(folder / f"2025-{i + 1:02d}.csv", rows[i::6])
    packed = folder / "2025-02.csv"
    (folder / "2025-02.csv.gz").write_bytes(gzip.compress(packed.read_bytes()))
    packed.unlink()
    (folder / "2025-01 (copy).csv").write_bytes((folder / "2025-01.csv").read_bytes())
    (folder / "broken.csv").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    single = bench.upload(one, samples.write_csv(tmp_path / "all.csv", rows))

    where = bulk_runs.place(bench, many, str(folder))
    prefix = bulk_runs.send(bench, many, where, bulk_runs.files(where))
    runs = [_run(deployed, many, prefix) for _ in range(2)]
    result = runs[0]
    assert runs[1] == result, "the same files are the same upload"
    copies = len(rows[0::6])
    assert result["files"] == {"total": 8, "accepted": 7, "partial": 0, "rejected": 1, "failed": 0}
    assert result["rows"] == {
        "read": len(rows) + copies, "accepted": len(rows), "quarantined": copies, "new": len(rows),
    }  # fmt: skip
    assert [(f["key"].rsplit("/", 1)[-1], f["code"]) for f in result["failures"]] == [("broken.csv", "not_a_table")]

    # One decision, and none for any file by itself.
    ended = bench.wait(f"up-{result['upload_id']}", seconds=60)
    assert (ended.output["outcome"], ended.output["drift"]["status"]) == ("not_launched", "no_champion")
    lines = json.loads(bench.data.get(result["report_key"].replace(".html", ".json")))["files"]
    for line in lines:
        for version in (line["version_id"], ""):
            assert bench.execution(f"up-{upload_id(bench.data.bucket, line['key'], version, '')}") is None
    entries = list(bench.ledger.entries(subject=f"upload/{result['upload_id']}"))
    assert [(e.action, e.actor) for e in entries] == [("upload.partial", "user:test")]

    alone = bench.wait(bench.pipeline_of(single), seconds=60)
    assert alone.output["ingest"]["dataset_version"] == result["dataset_version"]
    current = bench.registry.current_dataset(many)
    assert current is not None
    assert (current.version, current.rows, len(current.parts)) == (result["dataset_version"], len(rows), 1)

    # Files of another bucket are copied by the caller's rights; what the stack has already adds nothing.
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket=f"{bench.stack}-elsewhere")
    s3.upload_file(str(folder / "2025-03.csv"), f"{bench.stack}-elsewhere", "y/2025-03.csv")
    there = bulk_runs.place(bench, many, f"s3://{bench.stack}-elsewhere/y/")
    again = _run(deployed, many, bulk_runs.send(bench, many, there, bulk_runs.files(there)))
    assert (again["status"], again["dataset_version"]) == ("duplicate", current.version)


def _run(deployed: Deployed, model: str, prefix: str):
    name = bulk_runs.start(deployed.bench, model, prefix, actor="user:test", reason="a folder")
    ended = deployed.bench.wait(name, "BulkArn", seconds=120)
    assert ended.status == "SUCCEEDED", ended
    return ended.output
