"""A fitted pipeline as ONNX, exact to float32 rounding, with no node that the answer does not need.

The graph is built directly instead of by a general converter, for three reasons. *Thresholds*: ``x <= t``
with x a float32 and t a float64 holds exactly when ``x <= floor32(t)``, where ``floor32(t)`` is the largest
float32 not above t; with that no row can fall on the other side of a split. *Categories*: a split on a
one-hot column tests a 0/1 column that the graph appends for just the levels that some tree asks for
(an equality test inside the tree would be smaller, but onnxruntime 1.31 answers wrongly when a
multi-target ensemble chains such nodes). *Linear models* are scaled and summed in float64, where a large
mean cannot cancel the value.

Operators: https://onnx.ai/onnx/operators (opset 17; ai.onnx.ml 3, TreeEnsembleRegressor).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.linear_model import LogisticRegression, Ridge

from mlops.errors import MlopsError
from mlops.features.encoding import Matrix
from mlops.manifest import INPUT, PROBABILITIES, VALUE
from mlops.training.design import LinearDesign, Source
from mlops.training.estimator import Fitted
from mlops.training.families import design_sources

OPSET = 17
ML_OPSET = 3
IR_VERSION = 8


class ExportError(MlopsError):
    """A model that cannot be written as ONNX without changing its answers."""

    code = "not_exportable"


def floor32(values: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """The largest float32 that is not above each float64 (infinities stay).

    >>> float(floor32(0.1)), float(floor32(0.5))
    (0.09999999403953552, 0.5)
    """
    exact = np.asarray(values, dtype=np.float64)
    # Below the least finite float32 the answer is minus infinity, which is no mistake here.
    with np.errstate(over="ignore"):
        rounded = exact.astype(np.float32)
        above = rounded.astype(np.float64) > exact
        result: npt.NDArray[np.float32] = np.where(above, np.nextafter(rounded, np.float32(-np.inf)), rounded)
    return result


def to_onnx(fitted: Fitted, width: int, *, name: str = "model") -> bytes:
    """The ONNX file of a fitted candidate.

    Parameters
    ----------
    width : columns of the encoded matrix.
    name : the graph's name.

    Raises
    ------
    ExportError
        for an estimator or a split that has no exact ONNX form.
    """
    graph = _Graph()
    kind = fitted.candidate.family
    if kind == "linear":
        _linear(graph, fitted)
    elif kind == "forest":
        _forest(graph, fitted, width)
    elif kind == "boosting":
        _boosting(graph, fitted, width)
    else:
        raise ExportError(f"family '{kind}' has no ONNX form")
    columns, output = (fitted.classes, PROBABILITIES) if fitted.classes else (1, VALUE)
    proto = helper.make_graph(
        graph.nodes,
        name,
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["rows", width])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["rows", columns])],
        graph.initializers,
    )
    model = helper.make_model(
        proto,
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)],
        producer_name="serverless-mlops",
        ir_version=IR_VERSION,
    )
    onnx.checker.check_model(model)
    body: bytes = model.SerializeToString(deterministic=True)
    return body


@dataclass
class _Graph:
    nodes: list[Any] = field(default_factory=list)
    initializers: list[Any] = field(default_factory=list)

    def add(self, operator: str, inputs: Sequence[str], output: str = "", **attributes: Any) -> str:
        output = output or f"t{len(self.nodes)}"
        domain = "ai.onnx.ml" if operator.startswith("Tree") else ""
        self.nodes.append(helper.make_node(operator, list(inputs), [output], domain=domain, **attributes))
        return output

    def constant(self, values: npt.ArrayLike, dtype: Any) -> str:
        name = f"c{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(values, dtype=dtype), name))
        return name


# Linear ------------------------------------------------------------------------------------------


def _linear(graph: _Graph, fitted: Fitted) -> None:
    design: LinearDesign = fitted.pipeline.named_steps["design"]
    model: LogisticRegression | Ridge = fitted.model
    weights = np.atleast_2d(model.coef_).astype(np.float64)
    bias = np.broadcast_to(np.asarray(model.intercept_, dtype=np.float64), (len(weights),))
    pieces = []
    numbers = design.number_columns()
    count = len(numbers)
    if numbers:
        values = graph.add("Gather", [INPUT, graph.constant(numbers, np.int64)], axis=1)
        missing = graph.add("IsNaN", [values])
        values = graph.add("Where", [missing, graph.constant(design.median_, np.float32), values])
        values = graph.add("Max", [values, graph.constant(design.low_, np.float32)])
        values = graph.add("Min", [values, graph.constant(design.high_, np.float32)])
        values = graph.add("Cast", [values], to=TensorProto.DOUBLE)
        values = graph.add("Sub", [values, graph.constant(design.mean_, np.float64)])
        values = graph.add("Div", [values, graph.constant(design.scale_, np.float64)])
        pieces.append(values)
        indicators = design.indicator_positions()
        if indicators:
            flags = graph.add("Gather", [missing, graph.constant(indicators, np.int64)], axis=1)
            pieces.append(graph.add("Cast", [flags], to=TensorProto.DOUBLE))
            count += len(indicators)
    one_hot = design.one_hot()
    if one_hot:
        codes = graph.add("Gather", [INPUT, graph.constant([c for c, _ in one_hot], np.int64)], axis=1)
        equal = graph.add("Equal", [codes, graph.constant([v for _, v in one_hot], np.float32)])
        pieces.append(graph.add("Cast", [equal], to=TensorProto.DOUBLE))
        count += len(one_hot)
    if count != weights.shape[1]:
        raise ExportError(f"the linear model has {weights.shape[1]} weights for {count} design columns")
    joined = pieces[0] if len(pieces) == 1 else graph.add("Concat", pieces, axis=1)
    raw = graph.add("Gemm", [joined, graph.constant(weights.T, np.float64), graph.constant(bias, np.float64)])
    if not fitted.classes:
        graph.add("Cast", [raw], VALUE, to=TensorProto.FLOAT)
        return
    if len(weights) == 1:
        positive = graph.add("Sigmoid", [raw])
        negative = graph.add("Sub", [graph.constant([[1.0]], np.float64), positive])
        scores = graph.add("Concat", [negative, positive], axis=1)
    else:
        scores = graph.add("Softmax", [raw], axis=1)
    scores = graph.add("Cast", [scores], _last(fitted), to=TensorProto.FLOAT)
    _spread(graph, fitted, scores)


# Trees -------------------------------------------------------------------------------------------

_NODE_ATTRIBUTES = (
    "treeids",
    "nodeids",
    "featureids",
    "values",
    "modes",
    "truenodeids",
    "falsenodeids",
    "missing_value_tracks_true",
)
_TARGET_ATTRIBUTES = ("treeids", "nodeids", "ids", "weights")


@dataclass
class _Ensemble:
    """Attributes of a TreeEnsembleRegressor, collected tree by tree."""

    sources: tuple[Source, ...]
    width: int
    trees: int = 0
    one_hot: dict[tuple[int, int], int] = field(default_factory=dict)  # (encoded column, level) -> position
    nodes: dict[str, list[Any]] = field(default_factory=lambda: {k: [] for k in _NODE_ATTRIBUTES})
    targets: dict[str, list[Any]] = field(default_factory=lambda: {k: [] for k in _TARGET_ATTRIBUTES})

    def add(
        self,
        *,
        feature: npt.NDArray[np.int64],
        threshold: npt.NDArray[np.float64],
        left: npt.NDArray[np.int64],
        right: npt.NDArray[np.int64],
        missing_left: npt.NDArray[np.bool_],
        leaf: npt.NDArray[np.bool_],
        values: npt.NDArray[np.float64],
        first_target: int,
    ) -> None:
        """One tree; all arrays have shape (nodes,), ``values`` (nodes, targets)."""
        number = len(leaf)
        place = np.zeros(len(self.sources), dtype=np.int64)
        for used in np.unique(feature[~leaf]):
            place[used] = self._place(self.sources[used])
        self.nodes["treeids"] += [self.trees] * number
        self.nodes["nodeids"] += range(number)
        self.nodes["featureids"] += np.where(leaf, 0, place[np.where(leaf, 0, feature)]).tolist()
        self.nodes["values"] += np.where(leaf, 0, floor32(threshold)).tolist()
        self.nodes["modes"] += np.where(leaf, "LEAF", "BRANCH_LEQ").tolist()
        self.nodes["truenodeids"] += np.where(leaf, 0, left).tolist()
        self.nodes["falsenodeids"] += np.where(leaf, 0, right).tolist()
        self.nodes["missing_value_tracks_true"] += (missing_left & ~leaf).astype(np.int64).tolist()
        leaves = np.flatnonzero(leaf)
        for target in range(values.shape[1]):
            self.targets["treeids"] += [self.trees] * len(leaves)
            self.targets["nodeids"] += leaves.tolist()
            self.targets["ids"] += [first_target + target] * len(leaves)
            self.targets["weights"] += values[leaves, target].tolist()
        self.trees += 1

    def _place(self, source: Source) -> int:
        """Where a design column lies in the input, or behind it among the one-hot columns."""
        if source.level is None:
            return source.encoded
        return self.width + self.one_hot.setdefault((source.encoded, source.level), len(self.one_hot))

    def input(self, graph: _Graph) -> str:
        """The tensor that the trees read; call when every tree is added."""
        if not self.one_hot:
            return INPUT
        columns, levels = zip(*self.one_hot, strict=True)
        codes = graph.add("Gather", [INPUT, graph.constant(columns, np.int64)], axis=1)
        equal = graph.add("Equal", [codes, graph.constant(levels, np.float32)])
        return graph.add("Concat", [INPUT, graph.add("Cast", [equal], to=TensorProto.FLOAT)], axis=1)

    def attributes(self, targets: int, aggregate: str) -> dict[str, Any]:
        result = {f"nodes_{k}": v for k, v in self.nodes.items()}
        result |= {f"target_{k}": v for k, v in self.targets.items()}
        return {**result, "n_targets": targets, "aggregate_function": aggregate, "post_transform": "NONE"}


def _forest(graph: _Graph, fitted: Fitted, width: int) -> None:
    ensemble = _Ensemble(design_sources(fitted.pipeline), width)
    binary = len(fitted.present) == 2
    for member in fitted.model.estimators_:
        tree = member.tree_
        values = tree.value[:, 0, :]
        if fitted.classes:
            values = values / values.sum(axis=1, keepdims=True)
            values = values[:, 1:] if binary else values
        ensemble.add(
            feature=tree.feature.astype(np.int64),
            threshold=tree.threshold,
            left=tree.children_left,
            right=tree.children_right,
            missing_left=tree.missing_go_to_left.astype(bool),
            leaf=tree.children_left < 0,
            values=values,
            first_target=0,
        )
    targets = (1 if binary else len(fitted.present)) if fitted.classes else 1
    # a sum of whole leaves divided once is exact where the estimator's mean is: a tie stays a tie
    attributes = ensemble.attributes(targets, "AVERAGE")
    source = ensemble.input(graph)
    if not fitted.classes:
        graph.add("TreeEnsembleRegressor", [source], VALUE, **attributes)
        return
    if binary:
        _complement(graph, fitted, graph.add("TreeEnsembleRegressor", [source], **attributes))
        return
    _spread(graph, fitted, graph.add("TreeEnsembleRegressor", [source], _last(fitted), **attributes))


def _boosting(graph: _Graph, fitted: Fitted, width: int) -> None:
    model = fitted.model
    ensemble = _Ensemble(design_sources(fitted.pipeline), width)
    for iteration in model._predictors:
        for target, predictor in enumerate(iteration):
            nodes = predictor.nodes
            leaf = nodes["is_leaf"].astype(bool)
            if np.any(nodes["is_categorical"].astype(bool) & ~leaf):
                raise ExportError("a boosted tree splits by sets of categories; categories must be one-hot")
            ensemble.add(
                feature=nodes["feature_idx"].astype(np.int64),
                threshold=nodes["num_threshold"],
                left=nodes["left"].astype(np.int64),
                right=nodes["right"].astype(np.int64),
                missing_left=nodes["missing_go_to_left"].astype(bool),
                leaf=leaf,
                values=nodes["value"].reshape(-1, 1),
                first_target=target,
            )
    base = np.asarray(model._baseline_prediction, dtype=np.float64).ravel()
    attributes = ensemble.attributes(len(base), "SUM") | {"base_values": base.tolist()}
    source = ensemble.input(graph)
    if not fitted.classes:
        graph.add("TreeEnsembleRegressor", [source], VALUE, **attributes)
        return
    raw = graph.add("TreeEnsembleRegressor", [source], **attributes)
    if len(base) == 1:
        _complement(graph, fitted, graph.add("Sigmoid", [raw]))
        return
    _spread(graph, fitted, graph.add("Softmax", [raw], _last(fitted), axis=1))


# Common endings ----------------------------------------------------------------------------------


def _last(fitted: Fitted) -> str:
    """Name of the tensor over the present classes: the output itself when none is absent."""
    return PROBABILITIES if len(fitted.present) == fitted.classes else "present"


def _complement(graph: _Graph, fitted: Fitted, positive: str) -> None:
    negative = graph.add("Sub", [graph.constant([[1.0]], np.float32), positive])
    scores = graph.add("Concat", [negative, positive], _last(fitted), axis=1)
    _spread(graph, fitted, scores)


def _spread(graph: _Graph, fitted: Fitted, scores: str) -> None:
    """Probability 0 for the classes that training rows never had."""
    if scores == PROBABILITIES:
        return
    place = np.zeros((len(fitted.present), fitted.classes), dtype=np.float32)
    place[np.arange(len(fitted.present)), list(fitted.present)] = 1.0
    graph.add("MatMul", [scores, graph.constant(place, np.float32)], PROBABILITIES)


def thresholds(fitted: Fitted, limit: int = 40) -> list[tuple[int, Matrix]]:
    """Split points of a tree model, per column of the encoded matrix: (column, float32 values, the largest
    float32 not above each threshold). At most ``limit`` a column, evenly over its range; [] for linear."""
    found: dict[int, list[npt.NDArray[np.float64]]] = {}
    if fitted.candidate.family == "linear":
        return []
    columns = design_sources(fitted.pipeline)
    if fitted.candidate.family == "forest":
        pairs = [(m.tree_.feature, m.tree_.threshold, m.tree_.children_left >= 0) for m in fitted.model.estimators_]
    else:
        every = [p.nodes for iteration in fitted.model._predictors for p in iteration]
        pairs = [(n["feature_idx"], n["num_threshold"], n["is_leaf"] == 0) for n in every]
    for feature, threshold, inner in pairs:
        for i, source in enumerate(columns):
            if source.level is None:
                found.setdefault(source.encoded, []).append(threshold[inner & (feature == i)])
    result = []
    for column, parts in sorted(found.items()):
        values = np.unique(floor32(np.concatenate(parts)))
        values = values[np.isfinite(values)]
        if len(values) > limit:
            values = values[np.linspace(0, len(values) - 1, limit).round().astype(int)]
        if len(values):
            result.append((column, values))
    return result
