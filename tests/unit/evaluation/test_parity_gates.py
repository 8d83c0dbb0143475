from __future__ import annotations

import io

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from mlops.contract import Contract, Gates
from mlops.errors import MlopsError
from mlops.evaluation import gates, parity
from mlops.evaluation.compare import metric_interval, paired_gain
from mlops.evaluation.metrics import METRICS, Task
from mlops.evaluation.records import decode
from mlops.evaluation.robustness import probe, valid_answers
from mlops.evaluation.scoring import ModelRefusedError, OnnxScorer
from mlops.features.spec import Feature
from tests.unit.training import tables

BINARY = Task(2)
AUC, RMSE = METRICS["roc_auc"], METRICS["rmse"]


def pair(p: list[float]) -> np.ndarray:
    values = np.array(p)
    return np.stack([1 - values, values], axis=1)


def inputs(rows: int) -> np.ndarray:
    return np.arange(rows, dtype=np.float32).reshape(-1, 1)


def model(*, width: int = 2, output: str = "value", nodes: list[onnx.NodeProto] | None = None) -> bytes:
    """A regression that answers the sum of its inputs."""
    nodes = nodes or [helper.make_node("ReduceSum", ["input", "axes"], [output], keepdims=1)]
    graph = helper.make_graph(
        nodes,
        "sum",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["rows", width])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [helper.make_tensor("axes", TensorProto.INT64, [1], [1])],
    )
    body: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    ).SerializeToString()
    return body


# Parity ------------------------------------------------------------------------------------------


def test_equal_answers_pass() -> None:
    expected = pair([0.1, 0.9, 0.4])
    result = parity.compare(expected + 1e-7, inputs(3), expected, BINARY, 1e-5)
    assert result.passed
    assert "3 rows agree" in result.message


def test_a_row_beyond_the_tolerance_is_named() -> None:
    expected = pair([0.1, 0.9, 0.4, 0.2])
    answers = pair([0.1, 0.91, 0.4, 0.25])
    result = parity.compare(answers, inputs(4), expected, BINARY, 1e-5)
    assert not result.passed
    assert [d["row"] for d in result.differing] == [3, 1]
    assert result.differing[1]["inputs"] == [1.0]
    assert "2 of 4 rows differ" in result.message
    assert result.message.endswith("rows 3, 1")


def test_another_label_fails_even_within_the_tolerance() -> None:
    task = Task(2, threshold=0.5)
    result = parity.compare(pair([0.4999]), inputs(1), pair([0.5015]), task, 2e-3)
    assert result.passed  # a tie: the estimator's own answer lies within the tolerance of the threshold
    assert result.ties == 1
    result = parity.compare(pair([0.4999]), inputs(1), pair([0.5015]), task, 1e-3)
    assert not result.passed
    assert result.other_labels == 1


def test_a_multiclass_tie_is_counted_and_a_swap_is_not_allowed() -> None:
    tie = np.array([[0.4, 0.4, 0.2]])
    assert parity.compare(tie + np.array([[0, 1e-7, 0]]), inputs(1), tie, Task(3), 1e-5).ties == 1
    swapped = parity.compare(np.array([[0.3, 0.5, 0.2]]), inputs(1), np.array([[0.5, 0.3, 0.2]]), Task(3), 1e-5)
    assert (swapped.passed, swapped.other_labels) == (False, 1)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_answer_that_is_not_finite_differs(value: float) -> None:
    answers = pair([0.1, 0.2])
    answers[1] = value
    result = parity.compare(answers, inputs(2), pair([0.1, 0.2]), BINARY, 1e-5)
    assert not result.passed
    assert result.differing[0]["answered"] == [str(value).replace("nan", "NaN").replace("inf", "Infinity")] * 2


@given(st.integers(0, 2**32 - 1), st.floats(1e-6, 1e6))
def test_values_are_compared_relative_to_their_size(seed: int, scale: float) -> None:
    expected = np.random.default_rng(seed).normal(5, 2, size=(20, 1)) * scale
    assert parity.compare(expected * (1 + 1e-6), inputs(20), expected, Task(), 1e-5).passed
    assert not parity.compare(expected * (1 + 1e-3), inputs(20), expected, Task(), 1e-5).passed


@pytest.mark.parametrize("body", [b"", b"not an archive", b"PK\x03\x04"])
def test_a_version_without_a_readable_parity_set_is_refused(body: bytes) -> None:
    with pytest.raises(ModelRefusedError, match=r"parity.npz is not readable"):
        parity.load(body)


def test_an_empty_parity_set_proves_nothing() -> None:
    buffer = io.BytesIO()
    np.savez(buffer, inputs=np.empty((0, 3), np.float32), expected=np.empty((0, 2)))
    with pytest.raises(ModelRefusedError, match="at least one row"):
        parity.load(buffer.getvalue())


# The scorer --------------------------------------------------------------------------------------


def test_scores_come_in_chunks_but_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlops.evaluation.scoring.CHUNK", 3)
    matrix = np.arange(14, dtype=np.float32).reshape(7, 2)
    assert OnnxScorer(model(), 2, 0)(matrix).tolist() == matrix.sum(axis=1, keepdims=True).tolist()
    assert OnnxScorer(model(), 2, 0)(matrix[:0]).shape == (0, 1)


@pytest.mark.parametrize(
    ("body", "width", "classes", "message"),
    [
        (b"not a model", 2, 0, "does not load"),
        (model(width=3), 2, 0, r"takes shape .*; the contract's features encode to \(rows, 2\)"),
        (model(output="score"), 2, 0, "must give an output 'value'; it gives score"),
        (model(), 2, 2, "must give an output 'probabilities'"),
    ],
)
def test_a_model_that_does_not_fit_is_refused(body: bytes, width: int, classes: int, message: str) -> None:
    with pytest.raises(ModelRefusedError, match=message):
        OnnxScorer(body, width, classes)


def test_a_model_that_answers_another_shape_is_refused() -> None:
    wide = model(output="probabilities")
    with pytest.raises(ModelRefusedError, match=r"answers shape \(4, 1\) for 4 rows; expected \(rows, 3\)"):
        OnnxScorer(wide, 2, 3)(np.zeros((4, 2), np.float32))


def test_a_model_that_fails_on_rows_is_refused() -> None:
    nodes = [
        helper.make_node("Reshape", ["input", "axes"], ["flat"]),
        helper.make_node("Identity", ["flat"], ["value"]),
    ]
    with pytest.raises(ModelRefusedError, match="fails on valid rows"):
        OnnxScorer(model(nodes=nodes), 2, 0)(np.zeros((4, 2), np.float32))


# Intervals ---------------------------------------------------------------------------------------


def test_the_interval_of_an_accuracy_is_the_binomial_one() -> None:
    rng = np.random.default_rng(0)
    actual = np.ones(400, dtype=int)
    scores = pair(np.where(rng.random(400) < 0.8, 0.9, 0.1).tolist())
    found = metric_interval(actual, scores, METRICS["accuracy"], BINARY, seed=1)
    width = 1.96 * np.sqrt(found.value * (1 - found.value) / 400)
    assert found.low == pytest.approx(found.value - width, abs=0.01)
    assert found.high == pytest.approx(found.value + width, abs=0.01)


def test_pairing_cancels_what_is_hard_for_both() -> None:
    rng = np.random.default_rng(0)
    actual = rng.normal(size=300)
    noise = rng.normal(size=300)
    old, new = (actual + noise)[:, None], (actual + 0.95 * noise)[:, None]
    gain = paired_gain(actual, new, old, RMSE, Task(), seed=1)
    alone = metric_interval(actual, new, RMSE, Task(), seed=1)
    assert gain.low > 0
    assert gain.high - gain.low < (alone.high - alone.low) / 5


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    inside = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        actual = rng.normal(size=150)
        found = metric_interval(actual, np.zeros((150, 1)), RMSE, Task(), seed=seed, resamples=150)
        inside += found.low <= 1.0 <= found.high
    assert 50 <= inside <= 60


def test_an_undefined_metric_has_no_width() -> None:
    actual = np.array([0] * 50 + [1])
    found = metric_interval(actual[:50], pair([0.5] * 50), AUC, BINARY, seed=1)
    assert np.isnan(found.value)
    assert found.resamples == 0


# Gates -------------------------------------------------------------------------------------------


def contract(**values: object) -> Contract:
    base = tables.contract("binary", tables.NUMBERS)
    return type(base)(**{**base.__dict__, "gates": Gates(**values)})  # type: ignore[arg-type]


def test_the_contracts_bounds() -> None:
    rules = contract(minimum={"roc_auc": 0.8, "f1": 0.9}, maximum={"brier": 0.2})
    checks = gates.bound_checks(rules, {"roc_auc": 0.85, "f1": 0.7, "brier": 0.2})
    assert [(c.name, c.passed) for c in checks] == [
        ("minimum:roc_auc", True),
        ("minimum:f1", False),
        ("maximum:brier", True),
    ]
    assert "F1 is 0.7; the contract asks for at least 0.9" in checks[1].message


def test_a_bound_on_a_metric_that_is_unknown_or_undefined_fails() -> None:
    rules = contract(minimum={"rmse": 1, "roc_auc": 0.5})
    unknown, undefined = gates.bound_checks(rules, {})
    assert not unknown.passed
    assert "'rmse' is no classification metric" in unknown.message
    assert not undefined.passed
    assert "not defined" in undefined.message


def test_size() -> None:
    assert gates.size_check(contract(max_model_bytes=10), 10).passed
    assert not gates.size_check(contract(max_model_bytes=10), 11).passed


def test_shuffled_labels_do_not_beat_the_trivial_answer() -> None:
    failures = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        actual = rng.integers(0, 2, 120)
        noise = pair(rng.random(120).tolist())
        failures += not gates.trivial_check(actual, noise, [0.5, 0.5], AUC, BINARY, seed=1).passed
    assert failures == 20


def test_a_model_with_skill_beats_the_trivial_answer() -> None:
    rng = np.random.default_rng(0)
    actual = rng.normal(100, 10, 80)
    scores = (actual + rng.normal(0, 8, 80))[:, None]
    assert gates.trivial_check(actual, scores, 100.0, RMSE, Task(), seed=1).passed
    assert not gates.trivial_check(actual, np.full((80, 1), 100.0), 100.0, RMSE, Task(), seed=1).passed


def test_skill_does_not_excuse_being_worse_on_the_contracts_own_metric() -> None:
    rng = np.random.default_rng(0)
    actual = rng.integers(0, 2, 200)
    sure = pair(np.where((actual == 1) ^ (rng.random(200) < 0.25), 1 - 1e-9, 1e-9).tolist())
    check = gates.trivial_check(actual, sure, [0.5, 0.5], METRICS["log_loss"], BINARY, seed=1)
    assert not check.passed
    assert "but log loss is" in check.message
    assert gates.trivial_check(actual, sure, [0.5, 0.5], METRICS["calibration_error"], BINARY, seed=1).passed


def champion_case(worse: float, rows: int = 400) -> gates.Check:
    rng = np.random.default_rng(0)
    actual = rng.normal(100, 10, rows)
    champion = (actual + rng.normal(0, 5, rows))[:, None]
    challenger = actual[:, None] + (champion - actual[:, None]) * (1 + worse)
    return gates.champion_check(actual, challenger, champion, RMSE, Task(), margin=0.02, seed=1)[0]


def test_against_the_champion() -> None:
    assert champion_case(-0.1).passed
    assert champion_case(0.01).passed
    much = champion_case(0.10)
    assert not much.passed
    assert "worse than the champion's" in much.message


def test_a_loss_that_the_rows_cannot_tell_from_chance_passes_with_a_note() -> None:
    rng = np.random.default_rng(3)
    actual = rng.normal(size=12)
    old, new = (actual[:, None] + rng.normal(0, 1, (12, 1)) for _ in range(2))
    if RMSE.compute(actual, new, Task()) < RMSE.compute(actual, old, Task()):
        old, new = new, old
    check, gain = gates.champion_check(actual, new, old, RMSE, Task(), margin=0.0, seed=1)
    assert gain.value < 0 < gain.high
    assert check.passed
    assert "cannot tell it from chance" in check.message


def test_decisions() -> None:
    good = gates.Check("parity", True, 0.0, 1.0, "fine")
    bad = gates.Check("minimum:f1", False, 0.0, 1.0, "too low")
    ask = gates.Check("no_worse_on_champion_rows", False, 0.0, 1.0, "lost on old rows", "ask")
    told = gates.Check("latency", False, 0.0, 1.0, "slow", "report")
    assert gates.decide(contract(), [good, told]) == ("accepted", [])
    assert gates.decide(contract(), [good, bad, ask]) == ("rejected", ["too low"])
    assert gates.decide(contract(), [good, ask]) == ("needs_approval", ["lost on old rows"])
    assert gates.decide(contract(approval=True), [good])[0] == "needs_approval"
    assert gates.decide(contract(approval=True), [bad])[0] == "rejected"


# Robustness --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "good"),
    [([0.5, 0.5], True), ([0.5, 0.4], False), ([1.2, -0.2], False), ([np.nan, 1.0], False), ([np.inf, 0.0], False)],
)
def test_valid_answers(row: list[float], good: bool) -> None:
    assert valid_answers(np.array([row]), BINARY).tolist() == [good]


def test_a_model_that_cannot_take_what_the_contract_allows_fails() -> None:
    features = (Feature("a", "number"), Feature("b", "number", nullable=True))
    findings = probe(OnnxScorer(model(), 2, 0), features, np.ones((5, 2), np.float32), Task(), seed=1)
    check = gates.robustness_check(findings)
    assert not check.passed
    assert "answers are not valid with 'b' missing" in check.message


def test_every_allowed_change_is_probed() -> None:
    class Zero:
        def __call__(self, matrix: np.ndarray) -> np.ndarray:
            return np.zeros((len(matrix), 1))

    rows = np.ones((5, 13), np.float32)
    cases = {f.case for f in probe(Zero(), tables.EVERYTHING, rows, Task(), seed=1)}  # type: ignore[arg-type]
    nullable = [f.name for f in tables.EVERYTHING if f.nullable]
    assert {f"'{n}' missing" for n in nullable} <= cases
    assert {"'c' an unknown or rare level", "every nullable feature missing"} <= cases
    assert not any("'d' missing" in c for c in cases)


def test_golden_records_of_the_wrong_type_are_named() -> None:
    with pytest.raises(MlopsError, match="golden record 1: feature 'a' is not a number"):
        decode((Feature("a", "number"),), [{"a": 1}, {"a": "x"}])
