"""The training container's contract, by running its entry point as SageMaker does: folders in, folders and an exit
code out; killed, and started again on what it left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlops.contract import Contract
from mlops.training import job as entry
from mlops.training import search as searching
from mlops.training.checkpoint import FILE, FileCheckpoint, Trial
from mlops.training.container import FAILURE_LENGTH, JobDescription, Layout
from mlops.training.dataset import prepare
from mlops.training.families import Candidate, candidates
from mlops.training.fit import fit
from mlops.training.progress import silent
from mlops.training.split import folds
from tests.unit.training import tables

ROOT = Path(__file__).parents[3]
CONTRACT = tables.contract("binary", tables.EVERYTHING, families=("forest", "boosting"))
ROWS = 300
DEADLINE = 120.0


def lay_out(root: Path, contract: Contract = CONTRACT, rows: int = ROWS, **config: Any) -> Layout:
    """What SageMaker puts before a training container."""
    layout = Layout(root)
    table = tables.table("binary", contract.features, rows)
    halves = {"p1": np.arange(rows // 2), "p2": np.arange(rows // 2, rows)}
    for part, index in halves.items():
        (layout.channel("dataset") / part).mkdir(parents=True)
        (layout.channel("dataset") / part / "columns.npz").write_bytes(table.take(index).save())
    described = JobDescription(contract, "d1", tuple(halves), "run-1", None, {"code": "c0ffee", "where": "sagemaker"})
    layout.channel("job").mkdir()
    (layout.channel("job") / "job.json").write_text(json.dumps(described.to_dict()))
    layout.config.mkdir()
    files: dict[str, Any] = {
        "hyperparameters.json": {"model": contract.name, "dataset_version": "d1", "run_id": "run-1"},
        "resourceconfig.json": {"current_host": "algo-1", "hosts": ["algo-1"], "network_interface_name": "eth0"},
        "inputdataconfig.json": {
            name: {"TrainingInputMode": "File", "S3DistributionType": "FullyReplicated"} for name in ("dataset", "job")
        },
    } | config
    for name, body in files.items():
        (layout.config / name).write_text(body if isinstance(body, str) else json.dumps(body))
    return layout


def start(layout: Layout) -> subprocess.Popen[str]:
    environment = {"PYTHONPATH": str(ROOT / "src"), "PATH": os.environ["PATH"]}
    command = [sys.executable, "-m", "mlops.training.job", "train", "--root", str(layout.root)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    text, _ = process.communicate(timeout=DEADLINE)
    return process.returncode, text


def interrupt(layout: Layout, sent: signal.Signals, trials: int) -> tuple[int, int]:
    """Kill a training once it has kept so many trials; (exit code, trials that it left)."""
    path, process, deadline = layout.checkpoints / FILE, start(layout), time.monotonic() + DEADLINE
    while not path.exists() or len(path.read_text().splitlines()) <= trials:
        assert process.poll() is None, f"the training ended before it could be interrupted: {finish(process)}"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(sent)
    code, _ = finish(process)
    return code, len(path.read_text().splitlines()) - 1


def artifacts(layout: Layout) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in layout.model.iterdir()}


def test_a_training_that_is_stopped_and_killed_goes_on_and_gives_the_model_of_an_uninterrupted_one(
    tmp_path: Path,
) -> None:
    layout = lay_out(tmp_path)
    code, kept = interrupt(layout, signal.SIGTERM, 2)
    assert code == entry.STOPPED, "128 + SIGTERM"
    assert not layout.model.exists(), "half a model is none"
    assert not layout.failure.exists(), "an interruption is no failure of the job"

    code, more = interrupt(layout, signal.SIGKILL, kept + 1)
    assert code == -signal.SIGKILL
    assert more > kept
    with (layout.checkpoints / FILE).open("a") as file:
        file.write('{"name": "forest-0", "ru')  # what a kill in the middle of a write leaves

    code, text = finish(start(layout))
    assert code == entry.DONE, text
    assert f"going on after {more} trials" in text
    made = artifacts(layout)
    assert json.loads(made["result.json"])["resumed_trials"] == more

    table = tables.table("binary", CONTRACT.features, ROWS)
    whole = fit(table, CONTRACT, dataset_version="d1")
    for name in ("model.onnx", "golden.json", "baseline.json", "parity.npz", "holdout.npz"):
        assert made[name] == whole.artifacts[name], name
    report, expected = json.loads(made["training.json"]), json.loads(whole.artifacts["training.json"])
    assert [t["name"] for t in report["leaderboard"]] == [t["name"] for t in expected["leaderboard"]]
    lineage = json.loads(made["manifest.json"])["lineage"]
    assert (lineage["code"], lineage["where"], lineage["parts"]) == ("c0ffee", "sagemaker", ["p1", "p2"])


def run(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    """In this process: nothing is killed here, so nothing has to be started."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    code = entry.main(["train", "--root", str(layout.root)])
    assert not layout.model.exists()
    return code, layout.failure.read_text()


def test_rows_that_give_no_model_have_an_exit_code_of_their_own(tmp_path: Path, monkeypatch: Any) -> None:
    code, text = run(lay_out(tmp_path, rows=20), monkeypatch)
    assert code == entry.BAD_DATA
    assert text.startswith("not_trainable: 20 rows with a target")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"inputdataconfig.json": {"job": {}}}, "no channel 'dataset'"),
        ({"resourceconfig.json": {"hosts": ["algo-1", "algo-2"]}}, "2 machines"),
        ({"hyperparameters.json": {"dataset_version": "other"}}, "hyperparameter dataset_version is 'other'"),
        ({"hyperparameters.json": "{"}, "hyperparameters.json is not JSON"),
    ],
)
def test_a_job_that_was_started_wrongly_says_how(
    config: dict[str, Any], words: str, tmp_path: Path, monkeypatch: Any
) -> None:
    code, text = run(lay_out(tmp_path, **config), monkeypatch)
    assert code == entry.BAD_JOB
    assert text.startswith("job: ")
    assert words in text


def test_a_part_that_did_not_arrive_is_never_trained_without(tmp_path: Path, monkeypatch: Any) -> None:
    layout = lay_out(tmp_path)
    (layout.channel("dataset") / "p2" / "columns.npz").unlink()
    assert run(layout, monkeypatch) == (entry.BAD_JOB, "job: channel 'dataset' lacks part p2")


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        (MemoryError(), entry.NO_MEMORY, "memory: "),
        (RuntimeError("row 7 of Ada Lovelace " + "x" * 2000), entry.FAULT, "code: RuntimeError at "),
    ],
)
def test_faults_are_told_apart_and_tell_no_data(
    fault: Exception, code: int, words: str, tmp_path: Path, monkeypatch: Any
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise fault

    monkeypatch.setattr(entry, "fit", broken)
    found, text = run(lay_out(tmp_path), monkeypatch)
    assert found == code
    assert text.startswith(words)
    assert "Ada" not in text
    assert len(text) <= FAILURE_LENGTH


@pytest.mark.parametrize("body", ["", "[]", '{"schema": "other"}', '{"schema": "mlops.training-job.v1"}'])
def test_a_description_that_is_none_is_refused(body: str, tmp_path: Path, monkeypatch: Any) -> None:
    layout = lay_out(tmp_path)
    (layout.channel("job") / "job.json").write_text(body)
    assert run(layout, monkeypatch)[0] == entry.BAD_JOB


def test_trials_of_another_training_are_not_used(tmp_path: Path) -> None:
    candidate = Candidate("c", "linear")
    FileCheckpoint(tmp_path, "one").keep(Trial(candidate, 0, 10, 1, float("nan"), 0.5))
    assert FileCheckpoint(tmp_path, "other").recall(candidate, 0) is None
    kept = FileCheckpoint(tmp_path, "other")
    kept.keep(Trial(candidate, 1, 10, 1, 0.1 + 0.2, 0.5))
    again = FileCheckpoint(tmp_path, "other").recall(candidate, 1)
    assert again is not None
    assert again.score == 0.1 + 0.2, "to the last bit"


def test_seconds_that_were_spent_before_count_towards_the_budget(monkeypatch: Any) -> None:
    """Each trial takes a second; a budget of four is enough for four, however often the search is interrupted."""
    contract = tables.contract("binary", tables.NUMBERS, families=("linear",))
    data = prepare(contract, tables.table("binary", tables.NUMBERS, 120))
    now = [0.0]

    def score(*_: Any, **__: Any) -> float:
        now[0] += 1
        return 1 / now[0]

    monkeypatch.setattr(searching, "_score", score)

    def searched() -> searching.SearchResult:
        now[0] = 0.0
        return searching.search(
            contract, data, folds(contract, data, "stratified"), candidates(contract), deadline=4.5,
            listen=silent, clock=lambda: now[0], checkpoint=FileCheckpoint(tmp, "k"),
        )  # fmt: skip

    with tempfile.TemporaryDirectory() as name:
        tmp = Path(name)
        first, again = searched(), searched()
    assert first.stopped == again.stopped == "time budget"
    assert (again.best, again.score, again.trials) == (first.best, first.score, first.trials)
    assert len(first.trials) == 4
