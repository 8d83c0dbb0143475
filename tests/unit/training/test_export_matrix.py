"""Every family, task and kind of feature: ONNX answers as the estimator on every edge that there is."""

from __future__ import annotations

import inspect
import re
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from mlops.contract import Target
from mlops.evaluation.parity import compare
from mlops.evaluation.scoring import OnnxScorer
from mlops.features.encoding import encode, missing_code, other_code
from mlops.inference.explainer import Explainer, NotExplainableError
from mlops.manifest import INPUT, Manifest
from mlops.training import parity
from mlops.training.calibration import fit_map
from mlops.training.dataset import prepare
from mlops.training.estimator import Fitted, fit_candidate
from mlops.training.export import thresholds, to_onnx
from mlops.training.families import Candidate, candidates
from mlops.training.graph import ExportError, floor32
from mlops.training.search import task_of
from mlops.training.supported import FORMS, form_of
from tests.unit.training import tables

FAMILIES = ("linear", "forest", "boosting")


def fitted_on(task: str, kind: str, family: str) -> tuple[Fitted, np.ndarray, object]:
    contract = tables.contract(task, tables.KINDS[kind], families=(family,))
    data = prepare(contract, tables.table(task, contract.features))
    return fit_candidate(contract, candidates(contract)[0], data.matrix, data.target), data.matrix, contract


def explain(fitted: Fitted, contract: Any, body: bytes, rows: np.ndarray, answers: np.ndarray) -> Explainer:
    """Explain rows; that raises unless the explained score leads to the answers."""
    classes = contract.target.classes
    manifest = Manifest("m", "v", contract.task, contract.features, "y", classes, contract.target.positive)
    explainer = Explainer(manifest, body)
    added = explainer.explain(rows, answers)
    assert added.shape == (len(rows), len(contract.features), len(explainer.base))
    assert np.isfinite(added).all()
    return explainer


def largest_difference(fitted: Fitted, rows: np.ndarray) -> float:
    scorer = OnnxScorer(to_onnx(fitted, rows.shape[1]), rows.shape[1], fitted.classes)
    expected, answers = fitted.scores(rows), scorer(rows)
    scale = 1.0 if fitted.classes else np.maximum(np.abs(expected), np.std(expected))
    return float(np.max(np.abs(answers - expected) / scale))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", tables.KINDS)
@pytest.mark.parametrize("task", tables.CLASSES)
def test_onnx_answers_as_the_estimator_on_the_parity_set(task: str, kind: str, family: str) -> None:
    fitted, matrix, contract = fitted_on(task, kind, family)

    rows = parity.parity_rows(contract.features, thresholds(fitted, parity.THRESHOLDS_PER_COLUMN), matrix, seed=3)
    scorer = OnnxScorer(to_onnx(fitted, matrix.shape[1]), matrix.shape[1], fitted.classes)
    result = compare(scorer(rows), rows, fitted.scores(rows), task_of(contract), tolerance=2e-6)

    assert result.passed, result.message
    assert result.rows > 200


@pytest.mark.parametrize("family", ["forest", "boosting"])
@pytest.mark.parametrize("task", tables.CLASSES)
def test_no_row_changes_sides_at_any_threshold(task: str, family: str) -> None:
    fitted, matrix, _ = fitted_on(task, "everything", family)
    rng = np.random.default_rng(1)

    rows = []
    for column, values in thresholds(fitted, limit=100_000):
        for near in (values, np.nextafter(values, np.float32(np.inf)), np.nextafter(values, np.float32(-np.inf))):
            block = matrix[rng.integers(0, len(matrix), len(near))].copy()
            block[:, column] = near
            rows.append(block)

    assert sum(map(len, rows)) > 300
    assert largest_difference(fitted, np.vstack(rows)) < 2e-6


def test_rounding_thresholds_to_nearest_would_be_seen() -> None:
    """The test above can fail: thresholds rounded upwards send rows that lie just above them to the left."""
    fitted, matrix, _ = fitted_on("regression", "dates", "forest")
    width = matrix.shape[1]
    model = onnx.load_from_string(to_onnx(fitted, width))
    (trees,) = (n for n in model.graph.node if n.op_type == "TreeEnsembleRegressor")
    (values,) = (a for a in trees.attribute if a.name == "nodes_values")
    exact = np.array(values.floats, dtype=np.float32)
    values.floats[:] = np.nextafter(exact, np.float32(np.inf)).tolist()

    rows = []
    for column, near in thresholds(fitted, limit=100_000):
        block = matrix[np.arange(len(near)) % len(matrix)].copy()
        block[:, column] = np.nextafter(near, np.float32(np.inf))
        rows.append(block)
    matrix = np.vstack(rows)
    answers = OnnxScorer(model.SerializeToString(), width, 0)(matrix)

    assert np.max(np.abs(answers - fitted.scores(matrix))) > 1e-3


@given(
    threshold=st.floats(allow_nan=False, width=64),
    value=st.floats(allow_nan=False, width=32),
)
@example(threshold=-3.402823364973241e38, value=0.0)  # just below the least finite float32
def test_floor32_decides_as_the_float64_threshold(threshold: float, value: float) -> None:
    rounded = floor32(threshold)
    with np.errstate(over="ignore"):
        above = np.nextafter(rounded, np.float32(np.inf))
    for x in (np.float32(value), rounded, above):
        assert (np.float64(x) <= threshold) == (x <= rounded)


SMALL: dict[str, dict[str, object]] = {
    "RandomForest": {"n_estimators": 12},
    "ExtraTrees": {"n_estimators": 12},
    "GradientBoosting": {"n_estimators": 12},
    "HistGradientBoosting": {"max_iter": 12},
    "DecisionTree": {"max_depth": 7},
    "MLP": {"hidden_layer_sizes": (5, 4), "max_iter": 15},
    "SGDClassifier": {"loss": "log_loss"},
    "QuantileRegressor": {"solver": "highs"},
}


def variants() -> list[tuple[str, Any]]:
    """Every supported estimator, some with settings that take another way through the exporter."""
    result = []
    for kind in FORMS:
        known = inspect.signature(kind).parameters
        small = next((v for k, v in SMALL.items() if kind.__name__.startswith(k)), {})
        seed = {"random_state": 0} if "random_state" in known else {}
        result.append((kind.__name__, kind(**small, **seed)))
    for name in ("HistGradientBoostingClassifier", "HistGradientBoostingRegressor"):
        part = FORMS_BY_NAME[name](max_iter=12, max_features=0.5, random_state=0)  # as the family's candidates have it
        result.append((f"{name}-features", part))
    poisson = {"max_iter": 12, "loss": "poisson", "random_state": 0}
    result.append(("HistGradientBoostingRegressor-poisson", FORMS_BY_NAME["HistGradientBoostingRegressor"](**poisson)))
    for name, loss in (("absolute", "absolute_error"), ("quantile", "quantile")):
        boosted = FORMS_BY_NAME["GradientBoostingRegressor"](n_estimators=12, loss=loss, random_state=0)
        result.append((f"GradientBoostingRegressor-{name}", boosted))
    for activation in ("tanh", "logistic", "identity"):
        network = FORMS_BY_NAME["MLPClassifier"]((4,), activation=activation, max_iter=15, random_state=0)
        result.append((f"MLPClassifier-{activation}", network))
    return result


FORMS_BY_NAME: dict[str, Any] = {kind.__name__: kind for kind in FORMS}
CASES = [
    pytest.param(task, estimator, id=f"{name}-{task}")
    for name, estimator in variants()
    for task in tables.CLASSES
    if hasattr(estimator, "predict_proba") == (task != "regression")
]


@pytest.mark.parametrize(("task", "estimator"), CASES)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_every_supported_estimator_agrees_on_every_edge(task: str, estimator: Any) -> None:
    contract = tables.contract(task, tables.EVERYTHING)
    data = prepare(contract, tables.table(task, contract.features, rows=160))
    target = np.abs(data.target) / 1000 + 0.01 if task == "regression" else data.target
    fitted = fit_candidate(contract, Candidate("recipe", "recipe", prototype=estimator), data.matrix, target)

    rows = parity.parity_rows(contract.features, thresholds(fitted, parity.THRESHOLDS_PER_COLUMN), data.matrix, seed=3)
    body = to_onnx(fitted, data.matrix.shape[1])
    scorer = OnnxScorer(body, data.matrix.shape[1], fitted.classes)
    answers = scorer(rows)
    result = compare(answers, rows, fitted.scores(rows), task_of(contract), tolerance=2e-6)

    assert result.passed, result.message
    some = np.linspace(0, len(rows) - 1, 15).astype(int)
    if type(estimator).__name__.startswith("MLP"):
        with pytest.raises(NotExplainableError, match="one linear model"):
            explain(fitted, contract, body, rows[some], answers[some])
    else:
        assert not explain(fitted, contract, body, rows[some], answers[some]).is_calibrated


@pytest.mark.parametrize("kind", ["sigmoid", "isotonic"])
@pytest.mark.parametrize("name", ["LogisticRegression", "RandomForestClassifier", "HistGradientBoostingClassifier"])
@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_a_calibration_map_is_exact_in_the_graph(task: str, name: str, kind: str) -> None:
    contract = tables.contract(task, tables.EVERYTHING)
    data = prepare(contract, tables.table(task, contract.features))
    matrix, estimator = data.matrix, next(e for n, e in variants() if n == name)
    candidate = Candidate("recipe", "recipe", prototype=estimator)
    fitted = fit_candidate(contract, candidate, matrix, data.target)
    unsure = fit_candidate(contract, candidate, matrix[::2], data.target[::2])
    calibrator = fit_map(unsure.margins(matrix[1::2]), data.target[1::2], kind)
    assert calibrator is not None
    mapped = fitted.calibrated(calibrator)

    rows = parity.parity_rows(contract.features, thresholds(fitted, parity.THRESHOLDS_PER_COLUMN), matrix, seed=3)  # type: ignore[attr-defined]
    body = to_onnx(mapped, matrix.shape[1])
    answers = OnnxScorer(body, matrix.shape[1], fitted.classes)(rows)
    result = compare(answers, rows, mapped.scores(rows), task_of(contract), tolerance=5e-6)  # type: ignore[arg-type]

    assert result.passed, result.message
    assert explain(mapped, contract, body, rows[:20], answers[:20]).is_calibrated
    assert np.abs(mapped.scores(rows) - fitted.scores(rows)).max() > 0.005


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (
            KNeighborsClassifier(),
            "KNeighborsClassifier is not supported for classification; supported are DecisionTree",
        ),
        (Ridge(), "Ridge is not supported for classification"),
        (make_pipeline(StandardScaler(), LogisticRegression()), "return the estimator alone"),
        (SGDClassifier(loss="hinge"), "loss='log_loss' only"),
        (LogisticRegression(solver="liblinear"), "use another solver"),
        (DecisionTreeClassifier(splitter="random"), "use 'best'"),
        (GradientBoostingClassifier(loss="exponential"), "use loss='log_loss'"),
        (GradientBoostingClassifier(init=LogisticRegression()), "must start from a constant"),
        (HistGradientBoostingClassifier(categorical_features=[0]), "categories come one-hot"),
    ],
    ids=lambda v: type(v).__name__ if not isinstance(v, str) else v[:12],
)
def test_what_cannot_be_exported_exactly_is_refused_with_what_can(estimator: Any, message: str) -> None:
    with pytest.raises(ExportError, match=re.escape(message)):
        form_of(estimator, classification=True)


def test_a_subclass_is_not_its_parent() -> None:
    class Twice(Ridge):
        def predict(self, X: Any) -> Any:
            return 2 * super().predict(X)

    with pytest.raises(ExportError, match="Twice is not supported for regression; supported are BayesianRidge"):
        form_of(Twice(), classification=False)


def test_a_feature_far_from_zero_does_not_lose_precision_in_a_linear_model() -> None:
    rng = np.random.default_rng(2)
    contract = tables.contract("regression", tables.NUMBERS, families=("linear",))
    matrix = np.stack([16_000_000 + rng.integers(0, 8, 300), rng.normal(size=300)], axis=1).astype(np.float32)
    target = (matrix[:, 0] - 16_000_000) * 3.0
    fitted = fit_candidate(contract, candidates(contract)[0], matrix, target)

    assert largest_difference(fitted, matrix) < 1e-6


def test_a_class_without_training_rows_gets_probability_zero() -> None:
    for family in FAMILIES:
        contract = tables.contract("multiclass", tables.NUMBERS, families=(family,))
        data = prepare(contract, tables.table("multiclass", contract.features))
        some = data.target != 1
        fitted = fit_candidate(contract, candidates(contract)[0], data.matrix[some], data.target[some])
        answers = OnnxScorer(to_onnx(fitted, 2), 2, 3)(data.matrix)

        assert fitted.present == (0, 2)
        assert np.all(answers[:, 1] == 0)
        assert np.allclose(answers.sum(axis=1), 1, atol=1e-6)
        assert np.max(np.abs(answers - fitted.scores(data.matrix))) < 2e-6


def test_four_classes_with_absent_ones_keep_their_places() -> None:
    contract = tables.contract("multiclass", tables.CATEGORIES)
    contract = type(contract).from_dict(contract.to_dict() | {"target": {"name": "y", "classes": ["u", *"lmhz"]}})
    rng = np.random.default_rng(0)
    matrix = encode(contract.features, tables.table("multiclass", tables.CATEGORIES))
    target = rng.integers(1, 4, len(matrix))
    for candidate in candidates(contract, per_family=1):
        fitted = fit_candidate(contract, candidate, matrix, target)
        answers = OnnxScorer(to_onnx(fitted, 3), 3, 5)(matrix)
        assert np.all(answers[:, [0, 4]] == 0)
        assert np.max(np.abs(answers - fitted.scores(matrix))) < 2e-6


@pytest.mark.parametrize("family", FAMILIES)
def test_the_graph_has_one_input_one_output_and_no_label(family: str) -> None:
    fitted, matrix, _ = fitted_on("binary", "everything", family)
    graph = onnx.load_from_string(to_onnx(fitted, matrix.shape[1])).graph

    assert [i.name for i in graph.input] == [INPUT]
    assert [o.name for o in graph.output] == ["probabilities"]
    assert not {"ZipMap", "ArgMax", "Identity", "Reshape"} & {n.op_type for n in graph.node}


def test_a_tree_model_of_numbers_is_one_node_for_a_regression() -> None:
    fitted, _, _ = fitted_on("regression", "numbers", "boosting")
    graph = onnx.load_from_string(to_onnx(fitted, 2)).graph
    assert [n.op_type for n in graph.node] == ["TreeEnsembleRegressor"]


def test_the_same_fit_gives_the_same_bytes() -> None:
    for family in FAMILIES:
        first, matrix, _ = fitted_on("binary", "everything", family)
        second, _, _ = fitted_on("binary", "everything", family)
        assert to_onnx(first, matrix.shape[1]) == to_onnx(second, matrix.shape[1])


def test_the_parity_set_holds_every_edge() -> None:
    fitted, matrix, contract = fitted_on("binary", "everything", "forest")
    rows = parity.parity_rows(contract.features, thresholds(fitted, parity.THRESHOLDS_PER_COLUMN), matrix, seed=3)
    levels = set(rows[:, 2].tolist())
    category = contract.features[2]

    assert levels >= {0.0, 1.0, 2.0, 3.0, missing_code(category), other_code(category)}
    numeric = [i for i in range(rows.shape[1]) if i not in (2, 3)]
    assert all(np.isnan(rows[:, i]).any() for i in numeric)
    assert np.isnan(rows[:, numeric]).all(axis=1).any()
    assert np.abs(rows[:, 0][np.isfinite(rows[:, 0])]).max() == np.finfo(np.float32).max
    for column, values in thresholds(fitted, parity.THRESHOLDS_PER_COLUMN):
        assert np.isin(values, rows[:, column]).all()
        assert np.isin(np.nextafter(values, np.float32(np.inf)), rows[:, column]).all()


def test_contract_bounds_and_their_neighbours_are_in_the_parity_set() -> None:
    fitted, matrix, contract = fitted_on("binary", "numbers", "linear")
    rows = parity.parity_rows(contract.features, thresholds(fitted, parity.THRESHOLDS_PER_COLUMN), matrix, seed=3)
    assert {-1000.0, 1000.0, float(np.nextafter(np.float32(1000), np.float32(np.inf)))} <= set(rows[:, 0].tolist())


def test_an_unknown_family_is_refused() -> None:
    contract = tables.contract("binary", tables.NUMBERS, families=("forest", "oracle"))
    with pytest.raises(Exception, match="unknown family 'oracle'; known families are linear, forest, boosting"):
        candidates(contract)


def test_class_weights_reach_every_family() -> None:
    contract = tables.contract("binary", tables.NUMBERS, class_weight="balanced")
    assert contract.target == Target("y", ("no", "yes"), "yes")
    data = prepare(contract, tables.table("binary", contract.features))
    rare = (data.target == 0) | (np.arange(data.rows) % 20 == 0)
    plain = tables.contract("binary", tables.NUMBERS)
    for family in FAMILIES:
        name = Candidate("x", family, candidates(contract)[FAMILIES.index(family)].parameters)
        weighted = fit_candidate(contract, name, data.matrix[rare], data.target[rare]).scores(data.matrix)
        unweighted = fit_candidate(plain, name, data.matrix[rare], data.target[rare]).scores(data.matrix)
        assert weighted[:, 1].mean() > unweighted[:, 1].mean()
