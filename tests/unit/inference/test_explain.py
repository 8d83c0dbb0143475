"""Explanations: exact Shapley values, that add up to the answer, for the models that training exports."""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import math
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from onnx import helper, numpy_helper

from mlops.features.encoding import Matrix, encode, width
from mlops.features.spec import Feature
from mlops.inference.application import Application
from mlops.inference.explain import MAX_EXPLAINED
from mlops.inference.explainer import Explainer, NotExplainableError
from mlops.inference.onnxfile import UnreadableError, read
from mlops.manifest import Manifest
from mlops.training import families
from mlops.training.estimator import Fitted, fit_candidate
from mlops.training.export import to_onnx
from tests.unit.inference.small_models import (
    TUMOUR_RECORD,
    application,
    classifier,
    proxy_event,
    put_set,
    put_version,
    routes,
)
from tests.unit.training.tables import CLASSES, EVERYTHING, contract, table

SMALL: dict[str, dict[str, Any]] = {
    "forest": {"max_depth": 3},
    "boosting": {"max_iter": 3, "max_leaf_nodes": 6, "min_samples_leaf": 5},
    "linear": {},
}
CASES = [(task, family) for task in CLASSES for family in SMALL]
NAMES = [f"{task}-{family}" for task, family in CASES]


@functools.cache
def fitted(task: str, family: str) -> tuple[Fitted, Matrix, bytes]:
    """A small model of every kind of feature, some rows that it knows, and its file."""
    data = table(task, EVERYTHING)
    matrix = encode(EVERYTHING, data)
    trees, families.FOREST_TREES = families.FOREST_TREES, 3
    try:
        candidate = families.Candidate("small", family, SMALL[family])
        model = fit_candidate(contract(task, EVERYTHING), candidate, matrix, data["y"].values)
    finally:
        families.FOREST_TREES = trees
    return model, matrix, to_onnx(model, width(EVERYTHING))


def manifest(task: str, **changes: Any) -> Manifest:
    classes = CLASSES[task]
    values: dict[str, Any] = {
        "model": "example",
        "version": "aaaaaaaaaaaa",
        "task": "classification" if classes else "regression",
        "features": EVERYTHING,
        "target": "y",
        "classes": classes,
        "positive": "yes" if task == "binary" else None,
    }
    return Manifest(**{**values, **changes})


# The values ------------------------------------------------------------------------------------------


def expected_value(node: Any, row: Any, known: frozenset[int]) -> Any:
    """What a tree gives when only some columns are known: the definition, branch by branch."""
    if node["leaf"]:
        return node["value"]
    yes, no = node["yes"], node["no"]
    if node["column"] in known:
        value = row[node["column"]]
        goes_yes = node["missing_yes"] if math.isnan(value) else value <= node["threshold"]
        return expected_value(yes if goes_yes else no, row, known)
    whole = yes["cover"] + no["cover"]
    return sum(expected_value(side, row, known) * side["cover"] / whole for side in (yes, no))


def shapley(tree: Any, row: Any, columns: int) -> Any:
    """Shapley values by the definition: over all subsets of the columns that the tree asks."""
    used = sorted(asked(tree))
    result = np.zeros((columns, len(tree["value"])))
    for column in used:
        others = [c for c in used if c != column]
        for size in range(len(others) + 1):
            weight = math.factorial(size) * math.factorial(len(others) - size) / math.factorial(len(used))
            for subset in combinations(others, size):
                known = frozenset(subset)
                gain = expected_value(tree, row, known | {column}) - expected_value(tree, row, known)
                result[column] += weight * gain
    return result


def asked(node: Any) -> set[int]:
    return set() if node["leaf"] else {node["column"]} | asked(node["yes"]) | asked(node["no"])


def trees_of(model: Fitted) -> list[tuple[Any, int]]:
    """Trees of the estimator itself, never of the ONNX file, and the first score that each adds to."""
    if model.candidate.family == "forest":
        return [(_forest_tree(m.tree_, 0, model, len(model.model.estimators_)), 0) for m in model.model.estimators_]
    return [(_boosted(p.nodes, 0), i) for iteration in model.model._predictors for i, p in enumerate(iteration)]


def _forest_tree(tree: Any, at: int, model: Fitted, trees: int) -> Any:
    value = tree.value[at, 0]
    if model.classes:
        value = value / value.sum()
        value = value[1:] if len(value) == 2 else value
    node = {"leaf": tree.children_left[at] < 0, "value": value / trees, "cover": tree.weighted_n_node_samples[at]}
    if not node["leaf"]:
        node |= {"column": tree.feature[at], "threshold": tree.threshold[at]}
        node["missing_yes"] = bool(tree.missing_go_to_left[at])
        node["yes"] = _forest_tree(tree, tree.children_left[at], model, trees)
        node["no"] = _forest_tree(tree, tree.children_right[at], model, trees)
    return node


def _boosted(nodes: Any, at: int) -> Any:
    one = nodes[at]
    node = {"leaf": bool(one["is_leaf"]), "value": np.array([one["value"]]), "cover": float(one["count"])}
    if not node["leaf"]:
        node |= {"column": int(one["feature_idx"]), "threshold": one["num_threshold"]}
        node["missing_yes"] = bool(one["missing_go_to_left"])
        node["yes"], node["no"] = _boosted(nodes, one["left"]), _boosted(nodes, one["right"])
    return node


def by_feature(design: Any, model: Fitted) -> Any:
    """Design columns (first axis) added up to the features they come from."""
    names = [f.name for f in EVERYTHING]
    result = np.zeros((len(names), *design.shape[1:]))
    for column, source in enumerate(model.pipeline.named_steps["design"].columns):
        result[names.index(source.feature)] += design[column]
    return result


@pytest.mark.parametrize(("task", "family"), [c for c in CASES if c[1] != "linear"], ids=str)
def test_trees_are_explained_by_their_shapley_values(task: str, family: str) -> None:
    model, matrix, body = fitted(task, family)
    rows = matrix[:6]
    design = model.pipeline.named_steps["design"].transform(rows)
    explainer = Explainer(manifest(task), body)
    added = explainer.explain(rows, model.scores(rows).tolist())
    for row, found in zip(design, added, strict=True):
        expected = np.zeros((design.shape[1], found.shape[1]))
        for tree, first in trees_of(model):
            values = shapley(tree, row, design.shape[1])
            expected[:, first : first + values.shape[1]] += values
        # the file has float32 leaves
        np.testing.assert_allclose(found, by_feature(expected, model), atol=2e-7 * max(1.0, np.abs(expected).max()))


@pytest.mark.parametrize("task", CLASSES)
def test_linear_models_are_explained_by_weight_times_distance_from_the_mean(task: str) -> None:
    model, matrix, body = fitted(task, "linear")
    explainer = Explainer(manifest(task), body)
    added = explainer.explain(matrix, model.scores(matrix).tolist())
    step = model.pipeline.named_steps["design"]
    weights = np.atleast_2d(model.model.coef_)
    # LinearDesign has numbers, then indicators, then one-hot columns
    sources = model.pipeline.named_steps["design"].columns
    numbers = [s.feature for s in sources if s.level is None]
    owners = (
        numbers + [numbers[i] for i in step.indicator_positions()] + [s.feature for s in sources if s.level is not None]
    )
    centred = step.transform(matrix) - step.transform(matrix).mean(axis=0)
    for position, feature in enumerate(EVERYTHING):
        mine = [i for i, owner in enumerate(owners) if owner == feature.name]
        np.testing.assert_allclose(added[:, position], centred[:, mine] @ weights[:, mine].T, atol=1e-9)
    np.testing.assert_allclose(added.mean(axis=0), 0.0, atol=1e-9)


REFERENCES = sorted(Path(__file__).with_name("explained").glob("*.json"))


@pytest.mark.parametrize("path", REFERENCES, ids=lambda p: p.stem)
def test_values_are_those_of_the_shap_package(path: Path) -> None:
    """Files that ``python -m benchmarks.explain --write`` made with the shap package."""
    case = json.loads(path.read_text())
    described = Manifest.from_dict(case["manifest"])
    matrix = np.array(case["rows"], np.float32)
    explainer = Explainer(described, base64.b64decode(case["onnx"]))
    added = explainer.explain(matrix, case["answers"])
    np.testing.assert_allclose(added, np.array(case["contributions"]), rtol=1e-5, atol=2e-6)
    np.testing.assert_allclose(explainer.base, case["base"], rtol=1e-5, atol=2e-6)


def test_there_are_references() -> None:
    assert len(REFERENCES) == 6


# They add up -----------------------------------------------------------------------------------------


def values_of(feature: Feature) -> st.SearchStrategy[Any]:
    kinds: dict[str, st.SearchStrategy[Any]] = {
        "number": st.floats(-1e6, 1e6, width=32),
        "integer": st.integers(-(10**6), 10**6),
        "boolean": st.booleans(),
        "date": st.dates().map(str),
        "category": st.sampled_from([*feature.categories, *(["?"] if feature.on_unknown == "other" else [])]),
    }
    return kinds[feature.type] | st.none() if feature.nullable else kinds[feature.type]


RECORDS = st.lists(st.fixed_dictionaries({f.name: values_of(f) for f in EVERYTHING}), min_size=1, max_size=4)


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> Application:
    """A model of every task and family."""
    folder = tmp_path_factory.mktemp("explained")
    for task, family in CASES:
        name = f"{task}-{family}"
        graph = onnx.load_from_string(fitted(task, family)[2])
        put_version(folder, manifest(task, model=name), graph=lambda columns, outputs, graph=graph: graph)
    put_set(folder, dict.fromkeys(NAMES, ("aaaaaaaaaaaa", None)))
    return application(folder)


def ask(app: Application, body: Any, path: str = "/predict", status: int = 200) -> dict[str, Any]:
    response = app.handle(proxy_event("POST", path, body), None)
    assert response["statusCode"] == status, response["body"]
    answer: dict[str, Any] = json.loads(response["body"])
    return answer


@given(st.sampled_from(NAMES), RECORDS)
@settings(max_examples=120, deadline=None)
def test_contributions_add_up_to_the_answer(every: Application, name: str, records: list[dict[str, Any]]) -> None:
    answer = ask(every, {"model": name, "records": records, "explain": True})
    for prediction in answer["predictions"]:
        explanation = prediction["explanation"]
        assert list(explanation["contributions"]) == [f.name for f in EVERYTHING]
        total = explanation["base"] + sum(explanation["contributions"].values())
        assert explanation["score"] == pytest.approx(total)
        if explanation["space"] == "value":
            assert prediction["value"] == pytest.approx(total, rel=1e-4, abs=1e-4)
        elif explanation["space"] == "probability":
            assert prediction["probabilities"][explanation["of"]] == pytest.approx(total, abs=1e-5)
        elif explanation["space"] == "log_odds":
            assert prediction["probabilities"][explanation["of"]] == pytest.approx(1 / (1 + np.exp(-total)), abs=1e-5)
        else:
            assert (explanation["space"], explanation["of"]) == ("margin", prediction["label"])


def test_margins_of_all_classes_give_the_probabilities() -> None:
    model, matrix, body = fitted("multiclass", "boosting")
    scores = model.scores(matrix)
    explainer = Explainer(manifest("multiclass"), body)
    margins = explainer.base + explainer.explain(matrix, scores.tolist()).sum(axis=1)
    raised = np.exp(margins)
    np.testing.assert_allclose(raised / raised.sum(axis=1, keepdims=True), scores, atol=1e-6)


@pytest.mark.parametrize("family", ["forest", "linear"])
def test_the_negative_class_mirrors_the_positive_one(tmp_path: Path, family: str) -> None:
    graph = onnx.load_from_string(fitted("binary", family)[2])
    for name, positive in (("as-is", "yes"), ("mirrored", "no")):
        put_version(tmp_path, manifest("binary", model=name, positive=positive), graph=lambda *_: graph)
    put_set(tmp_path, {"as-is": ("aaaaaaaaaaaa", None), "mirrored": ("aaaaaaaaaaaa", None)})
    app = application(tmp_path)
    record = {f.name: None if f.nullable else RECORD_VALUES[f.type] for f in EVERYTHING}
    first, second = (
        ask(app, {"model": name, "records": [record], "explain": True})["predictions"][0]
        for name in ("as-is", "mirrored")
    )
    assert (first["explanation"]["of"], second["explanation"]["of"]) == ("yes", "no")
    for name, value in first["explanation"]["contributions"].items():
        assert second["explanation"]["contributions"][name] == pytest.approx(-value)
    whole = 1.0 if family == "forest" else 0.0
    assert first["explanation"]["score"] + second["explanation"]["score"] == pytest.approx(whole)


RECORD_VALUES = {"number": 3.5, "integer": 4, "boolean": True, "date": "2026-01-31", "category": "x"}


def test_a_class_that_training_never_had_gets_no_share() -> None:
    data = table("multiclass", EVERYTHING)
    matrix, labels = encode(EVERYTHING, data), data["y"].values
    for family in ("boosting", "linear"):
        model = fit_candidate(
            contract("multiclass", EVERYTHING),
            families.Candidate("small", family, SMALL[family]),
            matrix[labels != 1],
            labels[labels != 1],
        )
        explainer = Explainer(manifest("multiclass"), to_onnx(model, width(EVERYTHING)))
        added = explainer.explain(matrix[:5], model.scores(matrix[:5]).tolist())
        assert added.shape == (5, len(EVERYTHING), 1)
        assert [explainer.score_of(i) for i in (0, 2)] == [(0, -1.0), (0, 1.0)]


# Answers ---------------------------------------------------------------------------------------------


@pytest.fixture
def tumours(tmp_path: Path) -> Path:
    """Two versions that can be explained: another sort of model each."""
    features = classifier().features
    rows = np.random.default_rng(5).normal(20, 8, (150, 3)).astype(np.float32)
    actual = (rows[:, 0] + rows[:, 1] > 40).astype(np.int64)
    for version, family in (("aaaaaaaaaaaa", "boosting"), ("cccccccccccc", "linear")):
        candidate = families.Candidate("small", family, SMALL[family])
        model = fit_candidate(contract("binary", features), candidate, rows, actual)
        graph = onnx.load_from_string(to_onnx(model, 3))
        put_version(tmp_path, classifier(version=version), graph=lambda columns, outputs, graph=graph: graph)
    put_set(tmp_path, {"tumour": ("aaaaaaaaaaaa", "cccccccccccc")})
    return tmp_path


def test_every_record_is_explained_by_the_version_that_answers_it(tumours: Path) -> None:
    app = application(tumours, routes=routes(0.5))
    records = [{**TUMOUR_RECORD, "radius": float(i)} for i in range(30)]
    answer = ask(app, {"model": "tumour", "records": records, "explain": True})
    assert {p.get("version") for p in answer["predictions"]} == {None, "cccccccccccc"}
    alone = application(tumours)
    for record, prediction in zip(records, answer["predictions"], strict=True):
        version = prediction.get("version", "aaaaaaaaaaaa")
        tensors = [{"name": n, "shape": [1], "datatype": "FP64", "data": [v]} for n, v in record.items()]
        body = {"inputs": tensors, "parameters": {"explain": True}}
        other = ask(alone, body, f"/v2/models/tumour/versions/{version}/infer")
        contributions = next(o for o in other["outputs"] if o["name"] == "contributions")
        assert contributions["data"] == list(prediction["explanation"]["contributions"].values())


def test_the_v2_protocol_answers_with_more_tensors(tumours: Path) -> None:
    app = application(tumours)
    packed = {"name": "x", "shape": [2, 3], "datatype": "FP64", "data": [20.0, 10.0, 1.0, 3.0, 4.0, 5.0]}
    answer = ask(app, {"inputs": [packed], "parameters": {"explain": True}}, "/v2/models/tumour/infer")
    outputs = {o["name"]: o for o in answer["outputs"]}
    assert list(outputs) == ["label", "probabilities", "contributions", "base", "explained"]
    assert answer["parameters"]["explanation_space"] == "log_odds"
    assert (outputs["contributions"]["shape"], outputs["base"]["shape"]) == ([2, 3], [2])
    assert outputs["explained"]["data"] == ["malignant"] * 2
    scores = np.array(outputs["contributions"]["data"]).reshape(2, 3).sum(axis=1) + outputs["base"]["data"]
    malignant = np.array(outputs["probabilities"]["data"]).reshape(2, 2)[:, 1]
    np.testing.assert_allclose(1 / (1 + np.exp(-scores)), malignant, atol=1e-6)
    only = {"inputs": [packed], "parameters": {"explain": True}, "outputs": [{"name": "contributions"}]}
    assert ask(app, only, "/v2/models/tumour/infer")["outputs"] == [outputs["contributions"]]
    unasked = ask(app, {"inputs": [packed], "outputs": [{"name": "base"}]}, "/v2/models/tumour/infer", status=400)
    assert "label or probabilities" in unasked["error"]


def test_partial_answers_explain_what_was_scored(tumours: Path) -> None:
    body = {"model": "tumour", "records": [{"radius": "x"}, TUMOUR_RECORD], "partial": True, "explain": True}
    wrong, right = ask(application(tumours), body)["predictions"]
    assert "error" in wrong
    assert "explanation" not in wrong
    assert right["explanation"]["contributions"]


def test_the_document_describes_explanations(tumours: Path) -> None:
    app = application(tumours)
    body = {"model": "tumour", "records": [TUMOUR_RECORD], "explain": True}
    schemas = json.loads(app.handle(proxy_event("GET", "/openapi.json"), None)["body"])["components"]["schemas"]
    root = {"components": {"schemas": schemas}}
    Draft202012Validator({**root, "$ref": "#/components/schemas/PredictRequest"}).validate(body)
    answer = ask(app, body)
    validator = Draft202012Validator({**root, "$ref": "#/components/schemas/Prediction"})
    validator.validate(answer)
    del answer["predictions"][0]["explanation"]["base"]
    assert not validator.is_valid(answer)


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"explain": 1}, 400, "invalid_request"),
        ({"records": [TUMOUR_RECORD] * (MAX_EXPLAINED + 1)}, 413, "batch_too_large"),
        ({"records": []}, 400, "empty_batch"),
        ({"records": [{}]}, 422, "invalid_records"),
    ],
)
def test_requests_that_are_refused(tumours: Path, changes: dict[str, Any], status: int, code: str) -> None:
    body = {"model": "tumour", "records": [TUMOUR_RECORD], "explain": True, **changes}
    assert ask(application(tumours), body, status=status)["error"]["code"] == code


def test_parameters_of_the_v2_protocol_are_checked(tumours: Path) -> None:
    packed = {"name": "x", "shape": [1, 3], "datatype": "FP64", "data": [1.0, 2.0, 3.0]}
    body = {"inputs": [packed], "parameters": {"explain": "yes"}}
    assert "explain" in ask(application(tumours), body, "/v2/models/tumour/infer", status=400)["error"]
    many = {**packed, "shape": [101, 3], "data": [1.0] * 303}
    body = {"inputs": [many], "parameters": {"explain": True}}
    assert "101 records" in ask(application(tumours), body, "/v2/models/tumour/infer", status=413)["error"]


def test_trees_too_large_for_so_many_records(tumours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlops.inference.explain.MAX_WORK", 500)
    body = {"model": "tumour", "records": [TUMOUR_RECORD] * 50, "explain": True}
    assert "records explained" in ask(application(tumours), body, status=413)["error"]["message"]


# Graphs of others ------------------------------------------------------------------------------------


def test_a_graph_of_others_is_refused_with_the_reason(models: Path) -> None:
    body = {"model": "tumour", "records": [TUMOUR_RECORD]}
    error = ask(application(models), {**body, "explain": True}, status=422)["error"]
    assert error["code"] == "not_explainable"
    assert "average in training" in error["message"]
    assert ask(application(models), body)["predictions"]


def change_covers(graph: onnx.ModelProto) -> None:
    (node,) = (n for n in graph.graph.node if n.op_type == "TreeEnsembleRegressor")
    (rates,) = (a for a in node.attribute if a.name == "nodes_hitrates")
    rates.floats[:] = [1.0] * len(rates.floats)


def drop_covers(graph: onnx.ModelProto) -> None:
    (node,) = (n for n in graph.graph.node if n.op_type == "TreeEnsembleRegressor")
    kept = [a for a in node.attribute if a.name != "nodes_hitrates"]
    del node.attribute[:]
    node.attribute.extend(kept)


def other_comparison(graph: onnx.ModelProto) -> None:
    (node,) = (n for n in graph.graph.node if n.op_type == "TreeEnsembleRegressor")
    (modes,) = (a for a in node.attribute if a.name == "nodes_modes")
    modes.strings[:] = [b"BRANCH_LT" if m == b"BRANCH_LEQ" else m for m in modes.strings]


def two_cores(graph: onnx.ModelProto) -> None:
    (node,) = (n for n in graph.graph.node if n.op_type == "TreeEnsembleRegressor")
    node.output[0] = "first"
    other = onnx.NodeProto()
    other.CopyFrom(node)
    other.output[0] = "second"
    graph.graph.node.extend([other, helper.make_node("Add", ["first", "second"], ["value"])])


def mixed_columns(graph: onnx.ModelProto) -> None:
    (node,) = (n for n in graph.graph.node if n.op_type == "TreeEnsembleRegressor")
    turned = helper.make_node("MatMul", [node.input[0], "turn"], ["turned"])
    node.input[0] = "turned"
    at = list(graph.graph.node).index(node)
    graph.graph.node.insert(at, turned)
    graph.graph.initializer.append(numpy_helper.from_array(np.eye(30, dtype=np.float32), "turn"))


def unknown_end(graph: onnx.ModelProto) -> None:
    (node,) = (n for n in graph.graph.node if n.op_type == "TreeEnsembleRegressor")
    node.output[0] = "raw"
    graph.graph.node.append(helper.make_node("Erf", ["raw"], ["value"]))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (change_covers, "training rows reached"),
        (drop_covers, "training rows reached"),
        (other_comparison, "less or equal"),
        (two_cores, "one tree ensemble"),
        (mixed_columns, "'MatMul'"),
        (unknown_end, "'Erf'"),
    ],
)
def test_what_is_not_known_is_refused(change: Any, reason: str) -> None:
    model, matrix, body = fitted("regression", "boosting")
    graph = onnx.load_from_string(body)
    change(graph)
    with pytest.raises(NotExplainableError, match=reason):
        Explainer(manifest("regression"), graph.SerializeToString()).explain(matrix[:2], model.scores(matrix[:2]))


def test_answers_that_the_explained_score_does_not_lead_to_are_refused() -> None:
    model, matrix, body = fitted("binary", "boosting")
    wrong = model.scores(matrix[:2]) + np.array([[0.01, -0.01]])
    with pytest.raises(NotExplainableError, match="understood"):
        Explainer(manifest("binary"), body).explain(matrix[:2], wrong.tolist())


def test_a_score_that_is_changed_afterwards_is_called_calibrated() -> None:
    """Platt's rule between the boosted score and its link."""
    model, matrix, body = fitted("binary", "boosting")
    graph = onnx.load_from_string(body)
    (core,) = (n for n in graph.graph.node if n.op_type == "TreeEnsembleRegressor")
    (link,) = (n for n in graph.graph.node if n.op_type == "Sigmoid")
    at = list(graph.graph.node).index(link)
    graph.graph.node.insert(at, helper.make_node("Mul", [core.output[0], "slope"], ["scaled"]))
    link.input[0] = "scaled"
    graph.graph.initializer.append(numpy_helper.from_array(np.array([[0.5]], np.float32), "slope"))
    plain, calibrated = Explainer(manifest("binary"), body), Explainer(manifest("binary"), graph.SerializeToString())
    assert (plain.is_calibrated, calibrated.is_calibrated) == (False, True)
    scores = model.scores(matrix[:3])
    odds = np.sqrt(scores[:, 1] / scores[:, 0])  # half the log-odds
    answers = np.stack([1 / (1 + odds), odds / (1 + odds)], axis=1)
    np.testing.assert_array_equal(
        plain.explain(matrix[:3], scores.tolist()), calibrated.explain(matrix[:3], answers.tolist())
    )


# The file --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("task", "family"), CASES, ids=NAMES)
def test_a_file_is_read_as_the_onnx_package_reads_it(task: str, family: str) -> None:
    body = fitted(task, family)[2]
    known, found = onnx.load_from_string(body), read(body)
    assert {p.key: p.value for p in known.metadata_props} == found.properties
    assert {t.name for t in known.graph.initializer} == set(found.constants)
    for tensor in known.graph.initializer:
        np.testing.assert_array_equal(numpy_helper.to_array(tensor), found.constants[tensor.name])
    for a, b in zip(known.graph.node, found.nodes, strict=True):
        assert (a.op_type, a.domain, list(a.input), list(a.output)) == (b.operator, b.domain, b.inputs, b.outputs)
        for attribute in a.attribute:
            expected, value = helper.get_attribute_value(attribute), b.attributes[attribute.name]
            if isinstance(value, np.ndarray):
                np.testing.assert_array_equal(np.array(expected, value.dtype), value)
            else:
                assert expected == value


@given(st.integers(min_value=0), st.binary(min_size=1, max_size=4), st.booleans())
@settings(max_examples=150, deadline=None)
def test_a_damaged_file_is_refused_or_read_and_nothing_else(at: int, damage: bytes, is_cut: bool) -> None:
    body = fitted("binary", "boosting")[2]
    at %= len(body)
    damaged = body[:at] + damage + (b"" if is_cut else body[at + len(damage) :])
    with contextlib.suppress(UnreadableError):
        read(damaged)
