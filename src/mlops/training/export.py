"""A fitted pipeline as ONNX, exact to float32 rounding, with no node that the answer does not need.

The graph is built directly instead of by a general converter, for three reasons. *Thresholds*: ``x <= t``
with x a float32 and t a float64 holds exactly when ``x <= floor32(t)``, where ``floor32(t)`` is the largest
float32 not above t; with that no row can fall on the other side of a split. *Categories*: a split on a
one-hot column tests a 0/1 column that the graph appends for just the levels that some tree asks for
(an equality test inside the tree would be smaller, but onnxruntime 1.31 answers wrongly when a
multi-target ensemble chains such nodes). *Linear models* are scaled and summed in float64, where a large
mean cannot cancel the value. A calibration map is part of the graph, in float64 as well.

What explanations need (:mod:`mlops.inference.explain`) lies in the file too, where onnxruntime does not look at it: the
training rows that reached each node as the ensemble's ``nodes_hitrates``, the means of a linear model's inputs as a
property.

Operators: https://onnx.ai/onnx/operators (opset 17; ai.onnx.ml 3, TreeEnsembleRegressor).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper
from sklearn.neural_network import MLPClassifier, MLPRegressor

from mlops.features.encoding import Matrix
from mlops.manifest import EXPECTED, INPUT, PROBABILITIES, VALUE
from mlops.training.calibration import Calibrator
from mlops.training.design import FilledDesign, LinearDesign, Source, TreeDesign
from mlops.training.estimator import Fitted
from mlops.training.graph import ExportError, Graph, floor32
from mlops.training.trees import Link, Tree, is_tree_model, splits, trees_of

OPSET = 17
ML_OPSET = 3
IR_VERSION = 8


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
    graph = Graph()
    if is_tree_model(fitted.model):
        _trees(graph, fitted, width)
    else:
        _dense(graph, fitted)
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
    helper.set_model_props(model, graph.properties)
    onnx.checker.check_model(model)
    body: bytes = model.SerializeToString(deterministic=True)
    return body


# Linear models and networks ----------------------------------------------------------------------

_ACTIVATIONS = {"relu": "Relu", "tanh": "Tanh", "logistic": "Sigmoid"}
_NETWORK_LINKS: dict[str, Link] = {"identity": "value", "logistic": "sigmoid", "softmax": "softmax"}


def _dense(graph: Graph, fitted: Fitted) -> None:
    model = fitted.model
    joined, count = _design(graph, fitted.pipeline.named_steps["design"])
    if isinstance(model, MLPClassifier | MLPRegressor):
        layers = list(zip(model.coefs_, model.intercepts_, strict=True))
        if model.activation not in (*_ACTIVATIONS, "identity") or model.out_activation_ not in _NETWORK_LINKS:
            raise ExportError(f"a network with '{model.activation}' and '{model.out_activation_}' has no exact form")
        link = _NETWORK_LINKS[model.out_activation_]
    else:
        weights = np.atleast_2d(model.coef_).astype(np.float64)
        bias = np.broadcast_to(np.asarray(model.intercept_, dtype=np.float64), (len(weights),))
        layers = [(weights.T, bias)]
        link = _linear_link(fitted, len(weights))
    if count != len(layers[0][0]):
        raise ExportError(f"the model has {len(layers[0][0])} weights for {count} design columns")
    if len(layers) == 1:
        graph.properties[EXPECTED] = json.dumps(fitted.pipeline.named_steps["design"].expected_.tolist())
    raw = joined
    for number, (weights, bias) in enumerate(layers):
        if number and model.activation != "identity":
            raw = graph.add(_ACTIVATIONS[model.activation], [raw])
        raw = graph.add("Gemm", [raw, graph.constant(weights, np.float64), graph.constant(bias, np.float64)])
    _answer(graph, fitted, raw, link, double=True)


def _linear_link(fitted: Fitted, outputs: int) -> Link:
    name = type(fitted.model).__name__
    if not fitted.classes:
        return "exp" if name in ("PoissonRegressor", "GammaRegressor") else "value"
    if outputs == 1:
        return "sigmoid"
    return "one_against_rest" if name == "SGDClassifier" else "softmax"


def _design(graph: Graph, design: LinearDesign) -> tuple[str, int]:
    """The design matrix in float64, and how many columns it has."""
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
    return (pieces[0] if len(pieces) == 1 else graph.add("Concat", pieces, axis=1)), count


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
    "hitrates",
)
_TARGET_ATTRIBUTES = ("treeids", "nodeids", "ids", "weights")
#: In place of a category's level: the column that marks missing values.
_MARK = -1


@dataclass
class _Ensemble:
    """Attributes of a TreeEnsembleRegressor, collected tree by tree."""

    sources: tuple[Source, ...]
    width: int
    trees: int = 0
    appended: dict[tuple[int, int], int] = field(default_factory=dict)  # (encoded column, level) -> position
    nodes: dict[str, list[Any]] = field(default_factory=lambda: {k: [] for k in _NODE_ATTRIBUTES})
    targets: dict[str, list[Any]] = field(default_factory=lambda: {k: [] for k in _TARGET_ATTRIBUTES})

    def add(self, tree: Tree) -> None:
        leaf, number = tree.leaf, len(tree.leaf)
        place = np.zeros(len(self.sources), dtype=np.int64)
        for used in np.unique(tree.feature[~leaf]):
            place[used] = self._place(self.sources[used])
        self.nodes["treeids"] += [self.trees] * number
        self.nodes["nodeids"] += range(number)
        self.nodes["featureids"] += np.where(leaf, 0, place[np.where(leaf, 0, tree.feature)]).tolist()
        self.nodes["values"] += np.where(leaf, 0, floor32(tree.threshold)).tolist()
        self.nodes["modes"] += np.where(leaf, "LEAF", "BRANCH_LEQ").tolist()
        self.nodes["truenodeids"] += np.where(leaf, 0, tree.left).tolist()
        self.nodes["falsenodeids"] += np.where(leaf, 0, tree.right).tolist()
        self.nodes["missing_value_tracks_true"] += (tree.missing_left & ~leaf).astype(np.int64).tolist()
        self.nodes["hitrates"] += tree.cover.tolist()
        leaves = np.flatnonzero(leaf)
        for target in range(tree.values.shape[1]):
            self.targets["treeids"] += [self.trees] * len(leaves)
            self.targets["nodeids"] += leaves.tolist()
            self.targets["ids"] += [tree.first_target + target] * len(leaves)
            self.targets["weights"] += tree.values[leaves, target].tolist()
        self.trees += 1

    def _place(self, source: Source) -> int:
        """Where a design column lies in the input, or behind it among the columns that the graph appends."""
        if source.level is None and not source.marks:
            return source.encoded
        key = (source.encoded, _MARK if source.level is None else source.level)
        return self.width + self.appended.setdefault(key, len(self.appended))

    def input(self, graph: Graph, fill: npt.NDArray[np.float32] | None) -> str:
        """The tensor that the trees read; call when every tree is added. ``fill``: in place of missing values."""
        source = INPUT
        if fill is not None:
            missing = graph.add("IsNaN", [INPUT])
            source = graph.add("Where", [missing, graph.constant(fill, np.float32), INPUT])
        if not self.appended:
            return source
        columns, levels = zip(*self.appended, strict=True)
        codes = graph.add("Gather", [INPUT, graph.constant(columns, np.int64)], axis=1)
        equal = graph.add("Equal", [codes, graph.constant(levels, np.float32)])
        if _MARK in levels:
            marks = graph.constant([level == _MARK for level in levels], np.bool_)
            equal = graph.add("Or", [equal, graph.add("And", [graph.add("IsNaN", [codes]), marks])])
        return graph.add("Concat", [source, graph.add("Cast", [equal], to=TensorProto.FLOAT)], axis=1)

    def attributes(self, targets: int, aggregate: str) -> dict[str, Any]:
        result = {f"nodes_{k}": v for k, v in self.nodes.items()}
        result |= {f"target_{k}": v for k, v in self.targets.items()}
        return {**result, "n_targets": targets, "aggregate_function": aggregate, "post_transform": "NONE"}


def _trees(graph: Graph, fitted: Fitted, width: int) -> None:
    found = trees_of(fitted.model, len(fitted.present))
    design: TreeDesign | FilledDesign = fitted.pipeline.named_steps["design"]
    filled = isinstance(design, FilledDesign)
    ensemble = _Ensemble(design.columns_ if filled else design.columns, width)
    for tree in found.trees:
        ensemble.add(tree)
    # a sum of whole leaves divided once is exact where the estimator's mean is: a tie stays a tie
    attributes = ensemble.attributes(found.targets, "AVERAGE" if found.averaged else "SUM")
    if any(found.base):
        attributes["base_values"] = list(found.base)
    source = ensemble.input(graph, design.fill_ if filled else None)
    last = "" if fitted.calibrator else _end(fitted, found.link, found.targets)
    raw = graph.add("TreeEnsembleRegressor", [source], last, **attributes)
    _answer(graph, fitted, raw, found.link, double=False)


# Common endings ----------------------------------------------------------------------------------


def _end(fitted: Fitted, link: Link, targets: int) -> str:
    """The output's name when the trees' sum is the answer itself, else none."""
    if link == "value":
        return VALUE
    return PROBABILITIES if link == "shares" and targets == fitted.classes == len(fitted.present) else ""


def _answer(graph: Graph, fitted: Fitted, raw: str, link: Link, *, double: bool) -> None:
    """From the last sum to the output. ``double``: whether the sum is in float64."""
    if not fitted.classes:
        if link == "exp":
            raw = graph.add("Exp", [raw], "" if double else VALUE)
        if double:
            graph.add("Cast", [raw], VALUE, to=TensorProto.FLOAT)
        return
    if raw == PROBABILITIES:
        return
    kind = np.float64 if double else np.float32
    binary = len(fitted.present) == 2
    if fitted.calibrator is not None:
        scores = _calibrate(graph, fitted.calibrator, raw if double else _to(graph, raw, TensorProto.DOUBLE))
        double, kind = True, np.float64
    elif link == "sigmoid":
        scores = graph.add("Sigmoid", [raw])
    elif link == "softmax":
        scores = graph.add("Softmax", [raw], "" if double else _last(fitted), axis=1)
    elif link == "one_against_rest":
        scores = _shares(graph, graph.add("Sigmoid", [raw]))
    else:
        scores = raw
    if binary:
        negative = graph.add("Sub", [graph.constant([[1.0]], kind), scores])
        scores = graph.add("Concat", [negative, scores], "" if double else _last(fitted), axis=1)
    if double:
        scores = graph.add("Cast", [scores], _last(fitted), to=TensorProto.FLOAT)
    _spread(graph, fitted, scores)


def _to(graph: Graph, tensor: str, kind: int) -> str:
    return graph.add("Cast", [tensor], to=kind)


def _calibrate(graph: Graph, calibrator: Calibrator, margins: str) -> str:
    """The calibrated probability of the second class, or of every present class when there are more."""
    curves = calibrator.curves
    if calibrator.kind == "sigmoid":
        scaled = graph.add("Mul", [margins, graph.constant([c.slope for c in curves], np.float64)])
        values = graph.add(
            "Sigmoid", [graph.add("Add", [scaled, graph.constant([c.offset for c in curves], np.float64)])]
        )
    else:
        pieces = [_line(graph, margins, i, curve.x, curve.y) for i, curve in enumerate(curves)]
        values = pieces[0] if len(pieces) == 1 else graph.add("Concat", pieces, axis=1)
    return values if len(curves) == 1 else _shares(graph, values)


def _line(graph: Graph, margins: str, column: int, x: tuple[float, ...], y: tuple[float, ...]) -> str:
    """A line through points, level outside, as a sum of its pieces: each rises while the margin crosses it."""
    margin = graph.add("Gather", [margins, graph.constant([column], np.int64)], axis=1)
    low, high = np.array(x[:-1]), np.array(x[1:])
    inside = graph.add("Max", [margin, graph.constant(low, np.float64)])
    inside = graph.add("Min", [inside, graph.constant(high, np.float64)])
    crossed = graph.add("Sub", [inside, graph.constant(low, np.float64)])
    slopes = (np.diff(y) / (high - low)).reshape(-1, 1)
    return graph.add("Gemm", [crossed, graph.constant(slopes, np.float64), graph.constant([y[0]], np.float64)])


def _shares(graph: Graph, values: str) -> str:
    total = graph.add("ReduceSum", [values, graph.constant([1], np.int64)], keepdims=1)
    return graph.add("Div", [values, total])


def _last(fitted: Fitted) -> str:
    """Name of the tensor over the present classes: the output itself when none is absent."""
    return PROBABILITIES if len(fitted.present) == fitted.classes else "present"


def _spread(graph: Graph, fitted: Fitted, scores: str) -> None:
    """Probability 0 for the classes that training rows never had."""
    if scores == PROBABILITIES:
        return
    place = np.zeros((len(fitted.present), fitted.classes), dtype=np.float32)
    place[np.arange(len(fitted.present)), list(fitted.present)] = 1.0
    graph.add("MatMul", [scores, graph.constant(place, np.float32)], PROBABILITIES)


def thresholds(fitted: Fitted, limit: int = 40) -> list[tuple[int, Matrix]]:
    """Split points of a tree model, per column of the encoded matrix: (column, float32 values, the largest
    float32 not above each threshold). At most ``limit`` a column, evenly over its range; [] without trees."""
    if not is_tree_model(fitted.model):
        return []
    found: dict[int, list[npt.NDArray[np.float64]]] = {}
    design: TreeDesign | FilledDesign = fitted.pipeline.named_steps["design"]
    columns = design.columns_ if isinstance(design, FilledDesign) else design.columns
    for feature, threshold in splits(fitted.model):
        for i, source in enumerate(columns):
            if source.level is None and not source.marks:
                found.setdefault(source.encoded, []).append(threshold[feature == i])
    result = []
    for column, parts in sorted(found.items()):
        values = np.unique(floor32(np.concatenate(parts)))
        values = values[np.isfinite(values)]
        if len(values) > limit:
            values = values[np.linspace(0, len(values) - 1, limit).round().astype(int)]
        if len(values):
            result.append((column, values))
    return result
