"""Batch scoring on the deployed stack: files of three kinds, broken ones among them, scored by what serves."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from local.demo import samples
from mlops.aws import score_runs
from mlops.aws.score_runs import Counts
from mlops.capture import columns
from mlops.objects import batch_captures
from tests.e2e.conftest import Deployed
from tests.e2e.models import MODEL, serving


def test_files_get_the_answers_of_the_api(deployed: Deployed, tmp_path: Path) -> None:
    bench = deployed.bench
    version = serving(deployed, tmp_path)
    rows = samples.breast_cancer().usual[:30]
    folder = tmp_path / "march"
    folder.mkdir()
    frame = pl.DataFrame(rows).drop("diagnosis")
    frame.write_csv(folder / "a.csv")
    frame.write_parquet(folder / "b.parquet")
    broken = [json.dumps({**r, "mean radius": "wide"} if i == 7 else r) for i, r in enumerate(frame.to_dicts())]
    (folder / "c.jsonl").write_text("\n".join(broken) + "\n")
    (folder / "d.csv").write_text("weight,height\n1,2\n")

    source = score_runs.send(bench, folder)
    ended = [_run(deployed, source, run) for run in range(2)]
    first, second = (e.output for e in ended)
    assert first["version"] == version
    assert first["objects"] == {"scored": 3, "skipped": 0, "failed": 1, "ignored": 0}
    assert first["rows"] == {"scored": 89, "errors": 1}
    assert [(f["key"].rsplit("/", 1)[-1], f["code"]) for f in first["failures"]] == [("d.csv", "missing_columns")]
    assert second["objects"] == {"scored": 0, "skipped": 3, "failed": 1, "ignored": 0}
    assert score_runs.progress(bench, ended[0].name) == Counts(4, 4, 3, 3)

    files = {p.name: p.read_text().splitlines() for p in score_runs.download(first, tmp_path / "out")}
    answers = bench.predict(MODEL, frame.to_dicts(), bench.token(subject="e2e")).body["predictions"]
    for name in ("a.csv", "b.parquet", "c.jsonl"):
        found = [json.loads(line) for line in files[f"{name}.predictions.jsonl"]]
        assert [line["row"] for line in found] == list(range(1, 31))
        assert [line["key"] for line in found] == [{"patient_id": str(r["patient_id"])} for r in frame.to_dicts()]
        for i, (line, answer) in enumerate(zip(found, answers, strict=True)):
            if name == "c.jsonl" and i == 7:
                assert line["error"]["details"][0]["field"] == "mean radius"
            else:
                assert line["probabilities"] == pytest.approx(answer["probabilities"], abs=1e-6)
    captured = columns.read(bench.data, batch_captures(MODEL), now() - timedelta(hours=2), now())
    ids = [identity for block in captured for identity in block.ids if block.champion == version]
    told = [json.loads(line) for lines in files.values() for line in lines]
    assert sorted(ids) == sorted(line["id"] for line in told if "id" in line)
    assert len(ids) == 89

    entry = next(
        e for e in bench.ledger.entries(subject=f"model/{MODEL}/{version}") if e.id == f"score/{ended[0].name}"
    )
    assert (entry.action, entry.outcome) == ("score.finished", "partial")


def now() -> datetime:
    return datetime.now(UTC)


def _run(deployed: Deployed, source: str, number: int):
    run_id = score_runs.start(deployed.bench, MODEL, source, actor="user:e2e", reason=f"run {number}", capture=True)
    ended = deployed.bench.wait(run_id, "ScoreArn", seconds=120)
    assert ended.status == "SUCCEEDED", ended
    return ended
