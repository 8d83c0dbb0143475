from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from mlops.contract import Contract
from mlops.evaluation.metrics import metric_for
from mlops.evaluation.records import decode
from mlops.features.columns import Columns, category_column
from mlops.features.encoding import encode
from mlops.manifest import Manifest
from mlops.statistics.baseline import Baseline
from mlops.training import search as searching
from mlops.training.dataset import prepare
from mlops.training.estimator import fit_candidate
from mlops.training.families import Candidate, candidates
from mlops.training.fit import Trained, fit, version_id
from mlops.training.golden import golden_table, pack
from mlops.training.importance import permutation_importance
from mlops.training.local import train_files
from mlops.training.progress import Progress, silent
from mlops.training.search import SearchResult, rungs, search, task_of
from mlops.training.split import folds
from tests.unit.training import tables

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


class Ticks:
    """A monotonic clock on which every look takes ``step`` seconds."""

    def __init__(self, step: float) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def trained(task: str = "binary", **training: object) -> tuple[Trained, Contract, Columns]:
    contract = tables.contract(task, tables.EVERYTHING, **training)
    table = tables.table(task, contract.features)
    return fit(table, contract, dataset_version="d1", now=lambda: NOW, seconds=Ticks(0.001)), contract, table


@pytest.fixture(scope="module")
def binary() -> tuple[Trained, Contract, Columns]:
    return trained()


def run_search(contract: Contract, table: Columns, **changes: object) -> SearchResult:
    data = prepare(contract, table)
    arguments = {"deadline": 1e9, "listen": silent, "clock": Ticks(0.01), **changes}
    return search(contract, data, folds(contract, data, "stratified"), candidates(contract), **arguments)  # type: ignore[arg-type]


def test_every_artifact_is_there_and_reads(binary: tuple[Trained, Contract, Columns]) -> None:
    result, contract, _ = binary
    assert set(result.artifacts) == {
        "model.onnx", "parity.npz", "golden.json", "holdout.npz", "trained_on.npy", "baseline.json", "training.json",
        "manifest.json",
    }  # fmt: skip
    manifest = Manifest.from_dict(json.loads(result.artifacts["manifest.json"]))
    assert manifest == result.manifest
    assert (manifest.task, manifest.classes, manifest.positive, manifest.threshold) == (
        "classification", ("no", "yes"), "yes", 0.5,
    )  # fmt: skip
    assert manifest.created_at == "2026-03-02T12:00:00+00:00"
    assert manifest.lineage["dataset_version"] == "d1"
    assert manifest.lineage["rows"] == {"train": 180, "holdout": 60, "dropped": 0}
    assert manifest.metrics["roc_auc"] > 0.9
    holdout = Columns.load(result.artifacts["holdout.npz"])
    assert holdout.rows == 60
    with np.load(io.BytesIO(result.artifacts["parity.npz"])) as archive:
        assert archive["inputs"].dtype == np.float32
        assert archive["expected"].dtype == np.float64
        assert archive["expected"].shape == (len(archive["inputs"]), 2)
    baseline = Baseline.from_dict(json.loads(result.artifacts["baseline.json"]))
    assert baseline.counts.rows == 240
    assert (baseline.model, baseline.version) == ("example", manifest.version)
    assert [a.name for a, _ in baseline.of("feature")] == [f.name for f in contract.features]
    assert baseline.importance == manifest.lineage["importance"]


def test_the_leaderboard_names_the_best_first(binary: tuple[Trained, Contract, Columns]) -> None:
    report = json.loads(binary[0].artifacts["training.json"])
    board = report["leaderboard"]
    assert board[0]["name"] == report["best"]["name"]
    assert board[0]["score"] == report["cross_validation"]["score"]
    assert {b["family"] for b in board} == {"linear", "forest", "boosting"}
    last = max(b["rung"] for b in board)
    assert {b["family"] for b in board if b["rung"] == last} == {"linear", "forest", "boosting"}


def test_the_same_rows_and_contract_give_the_same_version_and_files(binary: tuple[Trained, Contract, Columns]) -> None:
    first, contract, table = binary
    second = fit(table, contract, dataset_version="d1", now=lambda: NOW, seconds=Ticks(0.001))
    assert first.artifacts == second.artifacts


def test_the_version_depends_on_data_and_contract() -> None:
    contract = tables.contract("binary", tables.NUMBERS)
    versions = {
        version_id(contract, "d1"),
        version_id(contract, "d2"),
        version_id(replace(contract, name="other"), "d1"),
        version_id(tables.contract("binary", tables.NUMBERS, seed=8), "d1"),
    }
    assert len(versions) == 4
    assert all(len(v) == 12 and int(v, 16) >= 0 for v in versions)


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_other_tasks_train(task: str) -> None:
    result, contract, table = trained(task, families=("linear", "boosting"))
    manifest = result.manifest
    assert manifest.positive is None
    assert json.loads(result.artifacts["baseline.json"])["rows"] == 240
    if task == "regression":
        assert manifest.value_range is not None
        values = table["y"].values
        assert values.min() <= manifest.value_range[0] < manifest.value_range[1] <= values.max()
        assert manifest.metrics["r2"] > 0.8
    else:
        assert manifest.classes == contract.target.classes
        assert manifest.metrics["log_loss"] < 0.7


def test_golden_records_are_requests_whose_answers_are_the_estimators() -> None:
    contract = tables.contract("binary", tables.EVERYTHING)
    table = tables.table("binary", contract.features)
    data = prepare(contract, table)
    fitted = fit_candidate(contract, candidates(contract)[0], data.matrix, data.target)

    body = json.loads(pack(contract, fitted, golden_table(contract, table, seed=1)))

    assert len(body["records"]) == len(body["expected"]) == 20
    assert isinstance(body["records"][0]["d"], str)
    assert isinstance(body["records"][0]["f"], bool)
    assert all(any(r[f.name] is None for r in body["records"]) for f in contract.features if f.nullable)
    decoded = encode(contract.features, decode(contract.features, body["records"]))
    assert np.array_equal(fitted.scores(decoded), np.array(body["expected"]))


def test_golden_records_hold_no_personal_data() -> None:
    features = (tables.NUMBERS[0], *(replace(f, pii="pseudonymise") for f in tables.CATEGORIES[1:]))
    contract = tables.contract("binary", (replace(features[0], pii="drop"), *features[1:], tables.NUMBERS[1]))
    table = tables.table("binary", contract.features)
    golden = golden_table(contract, table, seed=1)

    for name in ("a", "g"):
        assert len(set(golden[name].values.tolist())) == 1
    assert len(set(golden["b"].values.tolist())) > 1


def test_importance_finds_the_feature_that_matters() -> None:
    contract = tables.contract("binary", tables.NUMBERS)
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(400, 2)).astype(np.float32)
    target = (matrix[:, 1] > 0).astype(int)
    fitted = fit_candidate(contract, candidates(contract)[0], matrix, target)
    metric, task = metric_for("roc_auc", "classification"), task_of(contract)
    found = permutation_importance(contract.features, fitted, matrix, target, metric, task=task, seed=1)
    assert found["b"] > 0.9
    assert sum(found.values()) == pytest.approx(1)


def test_more_rows_give_more_rungs() -> None:
    assert rungs(500, 3) == ((500, 3),)
    assert rungs(40_000, 3) == ((2000, 1), (8000, 1), (40_000, 1), (40_000, 3))
    assert rungs(500, 1) == ((500, 1),)


def test_small_rungs_use_few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "FIRST_ROWS", 40)
    contract = tables.contract("binary", tables.NUMBERS, families=("linear",))
    result = run_search(contract, tables.table("binary", contract.features))
    assert [r for r, _ in result.rungs] == [40, 240, 240]
    survivors = [sum(t.rung == i for t in result.trials) for i in range(3)]
    assert survivors == [5, 2, 1]


def test_one_of_each_family_outlives_the_first_rung_and_large_models_all_that_have_few_rows() -> None:
    names = ["linear-1", "linear-0", "linear-2", "forest-0", "boosting-1", "boosting-2", "forest-1"]
    ranked = [Candidate(n, n.split("-")[0], hungry=n == "boosting-2") for n in names]

    def left(*, first: bool, thinned: bool) -> list[str]:
        return [c.name for c in searching._survivors(ranked, first=first, thinned=thinned)]

    assert left(first=True, thinned=True) == [*names[:3], "forest-0", "boosting-1", "boosting-2"]
    assert left(first=False, thinned=True) == [*names[:3], "boosting-2"]
    assert left(first=False, thinned=False) == names[:3]
    hungry = [c for c in candidates(tables.contract("binary", tables.NUMBERS)) if c.hungry]
    assert [c.parameters["max_iter"] for c in hungry] == [300]


def test_a_deadline_keeps_the_best_so_far_and_says_so() -> None:
    contract = tables.contract("binary", tables.NUMBERS)
    table = tables.table("binary", contract.features)
    nothing = run_search(contract, table, deadline=0.0)
    assert (len(nothing.trials), nothing.best.name, nothing.stopped) == (1, "linear-0", "time budget")

    some = run_search(contract, table, deadline=0.35)
    best = max(some.trials, key=lambda t: t.score)
    assert 1 < len(some.trials) < len(candidates(contract))
    assert some.stopped == "time budget"
    assert some.best == best.candidate


def test_the_search_leaves_time_for_the_winner_before_the_process_ends() -> None:
    contract = tables.contract("binary", tables.NUMBERS)
    table = tables.table("binary", contract.features)
    whole = run_search(contract, table)
    ended = run_search(contract, table, must_end=0.35)
    assert whole.stopped is None
    assert ended.stopped == "time limit"
    assert 1 < len(ended.trials) < len(whole.trials)
    # a trial takes 0.01 s here; the winner needs its three folds and all rows, and as much again
    assert sum(t.seconds for t in ended.trials) + 2 * 4 * 0.01 / 3 <= 0.35


def test_a_listener_can_stop_the_search() -> None:
    contract = tables.contract("binary", tables.NUMBERS)
    seen: list[Progress] = []

    def listen(progress: Progress) -> bool:
        seen.append(progress)
        return len(seen) < 3

    result = run_search(contract, tables.table("binary", contract.features), listen=listen)
    assert (len(result.trials), result.stopped) == (3, "asked to stop")
    assert seen[-1].best == result.best.name
    assert seen[-1].score == result.score


def test_progress_rises_to_one_hundred() -> None:
    seen: list[Progress] = []
    contract = tables.contract("regression", tables.NUMBERS, families=("linear",))
    fit(tables.table("regression", contract.features), contract, dataset_version="d", listen=seen.append)
    percents = [p.percent for p in seen]
    assert percents == sorted(percents)
    assert percents[-1] == 100
    assert [p.stage for p in seen][-3:] == ["fitting", "exporting", "done"]


def test_candidates_are_the_same_for_a_seed_and_begin_with_every_default() -> None:
    contract = tables.contract("binary", tables.NUMBERS)
    names = [c.name for c in candidates(contract)]
    assert names[:3] == ["linear-0", "forest-0", "boosting-0"]
    assert candidates(contract) == candidates(contract)
    assert candidates(contract) != candidates(tables.contract("binary", tables.NUMBERS, seed=8))
    keys = [(c.family, json.dumps(dict(c.parameters), sort_keys=True)) for c in candidates(contract)]
    assert len(keys) == len(set(keys))


def test_a_class_missing_from_training_is_explained() -> None:
    contract = tables.contract("binary", tables.NUMBERS, families=("linear",))
    contract = Contract.from_dict(contract.to_dict() | {"target": {"name": "y", "classes": ["no", "yes", "maybe"]}})
    result = fit(tables.table("binary", contract.features), contract, dataset_version="d")
    assert "no training row has 'maybe', so it is never answered" in result.explanation


def test_training_on_a_laptop_writes_the_same_folder(tmp_path: Path) -> None:
    contract = tables.contract("regression", tables.MISSING, families=("linear",))
    table = tables.table("regression", contract.features)
    first = train_files(table, contract, tmp_path)
    again = train_files(table, contract, tmp_path)
    changed = train_files(table.take(np.arange(200)), contract, tmp_path)

    folder = tmp_path / first.manifest.version
    assert {p.name for p in folder.iterdir()} == set(first.artifacts)
    assert (folder / "model.onnx").read_bytes() == first.artifacts["model.onnx"]
    assert first.manifest.version == again.manifest.version != changed.manifest.version


def test_a_rare_class_that_no_fold_can_learn_is_not_trainable() -> None:
    contract = tables.contract("binary", tables.NUMBERS)
    table = tables.table("binary", contract.features)
    labels = category_column("y", ["yes"] * 2 + ["no"] * (table.rows - 2))
    with pytest.raises(Exception, match="no fold of the cross-validation has two classes both") as error:
        fit(Columns((*table.columns[:-1], labels)), contract, dataset_version="d")
    assert getattr(error.value, "code", "") == "not_trainable"
