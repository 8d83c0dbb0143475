"""Following a run of batch scoring and fetching what it wrote, on moto."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from moto import mock_aws

from mlops.aws import clients, score_runs
from mlops.aws.objects import S3Objects
from mlops.aws.score_runs import Counts
from mlops.scoring.entities import Run, SourceObject

SOURCES = [SourceObject(f"scoring/x/{name}", 1, name * 8) for name in "abc"]
RUN = Run("r", "m", "v1", "data", "scoring/x/", "out", "scores/m/x/", {}, "user:ann", "why", objects=3)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Three objects, of which the first is scored and the second half-way; moto knows no Distributed Map."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    clients.client.cache_clear()
    counts = {"total": 3, "succeeded": 1, "failed": 0, "timedOut": 0, "aborted": 0}
    machine = SimpleNamespace(
        list_map_runs=lambda **_: {"mapRuns": [{"mapRunArn": "run"}]},
        describe_map_run=lambda **_: {"itemCounts": counts},
    )
    monkeypatch.setattr(score_runs, "client", lambda name: machine if name == "stepfunctions" else clients.client(name))
    with mock_aws():
        for bucket in ("data", "out"):
            boto3.client("s3").create_bucket(Bucket=bucket)
        data, out = S3Objects("data"), S3Objects("out")
        data.put(RUN.plan_key(), json.dumps(RUN.to_dict()).encode())
        data.put(RUN.items_key(), "\n".join(json.dumps(s.to_dict()) for s in SOURCES).encode())
        for source, prepared, scored in ((SOURCES[0], 2, 2), (SOURCES[1], 3, 1)):
            for i in range(prepared):
                data.put(RUN.chunk_key(source, i), b"")
            for i in range(scored):
                out.put(RUN.part_key(source, i), gzip.compress(f"{source.key} {i}\n".encode()))
        mark = {"key": SOURCES[0].key, "version": "v1", "parts": [RUN.part_key(SOURCES[0], i) for i in range(2)]}
        out.put(RUN.mark_key(SOURCES[0], 2, 0), json.dumps(mark).encode())
        yield SimpleNamespace(data=data, outputs={"ScoreArn": "arn:aws:states:::stateMachine:x-score"}, counts=counts)
    clients.client.cache_clear()


def test_progress_counts_files_and_of_few_their_chunks(bench: Any) -> None:
    assert score_runs.progress(bench, "r") == Counts(1, 3, 3, 5)
    bench.counts.update(total=5000, failed=2)
    assert score_runs.progress(bench, "r") == Counts(3, 5000)


def test_parts_come_back_as_one_file_and_nothing_unfinished_does(bench: Any, tmp_path: Path) -> None:
    summary = {"output": "s3://out/scores/m/x/", "source": "s3://data/scoring/x/", "version": "v1"}
    (path,) = score_runs.download(summary, tmp_path)
    assert path == tmp_path / "a.predictions.jsonl"
    assert path.read_text() == "scoring/x/a 0\nscoring/x/a 1\n"
    assert score_runs.download({**summary, "version": "v2"}, tmp_path) == []


@pytest.mark.parametrize("newest", [0, 1])
def test_of_an_object_that_changed_the_last_answers_come_back(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, newest: int
) -> None:
    out = S3Objects("out")
    changed = SourceObject(SOURCES[0].key, 1, "another")
    out.put(RUN.part_key(changed, 0), gzip.compress(b"changed\n"))
    mark = {"key": changed.key, "version": "v1", "parts": [RUN.part_key(changed, 0)]}
    out.put(RUN.mark_key(changed, 1, 0), json.dumps(mark).encode())
    marks = [RUN.mark_key(SOURCES[0], 2, 0), RUN.mark_key(changed, 1, 0)]
    times = {key: f"2026-11-2{6 if i == newest else 5}T00:00:00+00:00" for i, key in enumerate(marks)}
    listed = S3Objects.list
    monkeypatch.setattr(
        S3Objects, "list", lambda self, prefix: (replace(o, modified=times[o.key]) for o in listed(self, prefix))
    )
    summary = {"output": "s3://out/scores/m/x/", "source": "s3://data/scoring/x/", "version": "v1"}
    (path,) = score_runs.download(summary, tmp_path)
    assert path.read_text() == ["scoring/x/a 0\nscoring/x/a 1\n", "changed\n"][newest]
