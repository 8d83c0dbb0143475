"""One version's ONNX graph, taken apart so that its score can be shared out among the features.

Exact Shapley values (for trees :mod:`mlops.inference.trees`; for a linear model weight times distance from the mean of
training, the features taken as independent), computed from the ONNX file that serves and nothing else.

The graph is taken apart in three. *Before* the ensemble or the matrix product, every column may depend on one encoded
column only, so what it adds belongs to that column's feature. *The core* gives the score that is explained. *After* it
come a link, absent classes, a calibration: whatever is done to the score. What is after is computed again from the
explained score and must give the answer of the session; so nothing is explained that is not what answered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import orjson

from mlops.features.layout import offsets, width
from mlops.inference.onnxfile import Array, Graph, Node, UnreadableError, read
from mlops.inference.trees import Trees, UnknownTreesError
from mlops.manifest import EXPECTED, INPUT, PROBABILITIES, VALUE, Manifest

if TYPE_CHECKING:
    from mlops.features.encoding import Matrix

FloatArray = npt.NDArray[np.float64]

#: How far what is computed again may be from the answer: float32 sums in another order.
TOLERANCE = 1e-4

_TYPES = {1: np.float32, 7: np.int64, 9: np.bool_, 11: np.float64}
#: What a model does to its score without changing what the score means.
_PLAIN = {"Sigmoid", "Softmax", "Exp", "Sub", "Concat", "Cast", "MatMul", "ReduceSum", "Div", "Identity"}
_BY_COLUMN: Mapping[str, Any] = {
    "Add": np.add,
    "And": np.logical_and,
    "Div": np.divide,
    "Equal": np.equal,
    "Exp": np.exp,
    "Identity": lambda x: x,
    "IsNaN": np.isnan,
    "Max": np.maximum,
    "Min": np.minimum,
    "Mul": np.multiply,
    "Or": np.logical_or,
    "Sub": np.subtract,
    "Where": np.where,
}


class NotExplainableError(ValueError):
    """A graph that this does not know; the message says what of it."""


class Explainer:
    """One version, taken apart.

    Attributes
    ----------
    space : what the explained score is: ``log_odds`` (of one of two classes), ``margin`` (of one of more, before the
        margins become shares), ``probability``, ``value``, or ``log`` (its logarithm).
    is_calibrated : whether the model changes the score by more than its link before it answers.
    base : float64, (scores,): the average score.
    work : steps for one row.
    """

    def __init__(self, manifest: Manifest, body: bytes) -> None:
        """Read the file.

        Raises
        ------
        NotExplainableError
            when the graph is not one of those that training exports.
        """
        try:
            graph = read(body)
            self._take_apart(manifest, graph)
        except (UnreadableError, UnknownTreesError) as error:
            raise NotExplainableError(str(error)) from error

    def _take_apart(self, manifest: Manifest, graph: Graph) -> None:
        self._output = PROBABILITIES if manifest.task == "classification" else VALUE
        self._constants = graph.constants
        nodes = _leading_to(graph, self._output)
        products = [n for n in nodes if n.operator == "Gemm"]
        cores = [n for n in nodes if n.operator == "TreeEnsembleRegressor"] or products[:1]
        # only a linear model says what its inputs are on average; with another product behind it, it is a network
        if len(cores) != 1 or (cores == products[:1] and len(products) > 1 and EXPECTED not in graph.properties):
            raise NotExplainableError("its answer does not come from one tree ensemble or one linear model")
        self._core = cores[0]
        before = _leading_to(graph, self._core.inputs[0])
        self._before, self._after = before, [n for n in nodes if n not in before and n is not self._core]
        starts = offsets(manifest.features)
        self._width = len(manifest.features)
        columns = _origins(before, graph, self._core.inputs[0], width(manifest.features))
        owner = np.searchsorted(starts, columns, side="right").astype(np.int64) - 1
        self._trees: Trees | None = None
        if self._core.operator == "Gemm":
            self._linear(graph, owner)
        else:
            self._trees = Trees(self._core.attributes, owner, self._width)
            self.base, self.work = self._trees.base, self._trees.work
        self._meaning(manifest)

    def _linear(self, graph: Graph, owner: npt.NDArray[np.int64]) -> None:
        if EXPECTED not in graph.properties:
            raise NotExplainableError("its file does not say what its inputs were on average in training")
        if set(self._core.attributes) or len(self._core.inputs) != 3:
            raise NotExplainableError("its linear model is written in an unknown form")
        weights = np.asarray(self._constant(self._core.inputs[1]), np.float64)
        means = np.array(orjson.loads(graph.properties[EXPECTED]), np.float64)
        if weights.ndim != 2 or means.shape != weights.shape[:1] or len(owner) != len(weights):
            raise NotExplainableError("its linear model is written in an unknown form")
        self._weights, self._means = weights, means
        self._belongs = (owner == np.arange(self._width)[:, None]).astype(np.float64)  # (features, design columns)
        self.base = means @ weights + np.asarray(self._constant(self._core.inputs[2]), np.float64)
        self.work = weights.size

    def _meaning(self, manifest: Manifest) -> None:
        operators = {n.operator for n in self._after}
        self.is_calibrated = not operators <= _PLAIN
        if manifest.task != "classification":
            self.space = "log" if "Exp" in operators else "value"
        elif self._trees is not None and self._core.attributes.get("aggregate_function") == b"AVERAGE":
            self.space = "probability"
        elif self.is_calibrated or operators & {"Sigmoid", "Softmax"}:
            self.space = "log_odds" if len(self.base) == 1 else "margin"
        else:
            raise NotExplainableError("its scores become probabilities in an unknown way")
        self._present = list(range(len(manifest.classes)))
        last = self._after[-1] if self._after else None
        if last is not None and last.operator == "MatMul":  # places the classes that training had among all
            self._present = self._constant(last.inputs[1]).argmax(axis=1).tolist()
        if manifest.task == "classification" and len(self._present) != max(2, len(self.base)):
            raise NotExplainableError("its scores do not belong to classes one by one")

    def _constant(self, name: str) -> Array:
        value = self._constants.get(name)
        if value is None or not value.size:
            raise NotExplainableError("its graph computes what should be constant")
        return value

    def explain(self, matrix: Matrix, answers: Sequence[Sequence[float]]) -> FloatArray:
        """What each feature adds to each score; float64, (rows, features, scores).

        Parameters
        ----------
        matrix : encoded rows.
        answers : what the session gave for them.

        Raises
        ------
        NotExplainableError
            when what was explained does not lead to ``answers``.
        """
        values: dict[str, Array] = {**self._constants, INPUT: matrix}
        _compute(self._before, values)
        design = values[self._core.inputs[0]]
        if self._trees is not None:
            added = self._trees.contributions(design)
            kind: Any = np.float32
        else:
            added = self._belongs @ ((design - self._means)[:, :, None] * self._weights)
            kind = self._weights.dtype
        scores = added.sum(axis=1) + self.base
        values = {**self._constants, self._core.outputs[0]: scores.astype(kind)}
        _compute(self._after, values)
        found, given = values[self._output], np.asarray(answers, np.float64)
        if found.shape != given.shape or (np.abs(found - given) > TOLERANCE * np.maximum(1.0, np.abs(given))).any():
            raise NotExplainableError("what its graph was understood to compute is not what it answers")
        return added

    def score_of(self, index: int) -> tuple[int, float]:
        """Which score speaks of the class at ``index`` (0 for a value), and its sign."""
        if self.space in ("value", "log"):
            return 0, 1.0
        if len(self.base) == 1:
            return 0, 1.0 if index == self._present[1] else -1.0
        return self._present.index(index), 1.0


# Parts of a graph ----------------------------------------------------------------------------------


def _leading_to(graph: Graph, name: str) -> list[Node]:
    """The nodes that ``name`` is computed by, in order."""
    wanted, nodes = {name}, []
    for node in reversed(graph.nodes):
        if wanted & set(node.outputs):
            wanted |= set(node.inputs)
            nodes.append(node)
    return nodes[::-1]


def _origins(nodes: Sequence[Node], graph: Graph, result: str, columns: int) -> list[int]:
    """For every column of ``result``: the one of the encoded ``columns`` that it depends on."""
    origins = {INPUT: list(range(columns))}
    for node in nodes:
        moving = [origins[n] for n in node.inputs if n in origins]
        constant = [graph.constants[n] for n in node.inputs if n in graph.constants]
        unknown = NotExplainableError(f"its graph prepares values by the operation '{node.operator[:40]}'")
        if not moving or len(moving) + len(constant) != len(node.inputs):
            raise unknown
        by_column = node.attributes.get("axis") == 1
        if node.operator == "Gather" and by_column and len(moving) == 1:
            found = [moving[0][i] for i in constant[0].tolist()]
        elif node.operator == "Concat" and by_column and not constant:
            found = [column for part in moving for column in part]
        elif node.operator in _BY_COLUMN or node.operator == "Cast":
            found = moving[0]
            if any(m != found for m in moving) or any(c.size not in (1, len(found)) for c in constant):
                raise unknown
        else:
            raise unknown
        origins[node.outputs[0]] = found
    return origins[result]


def _compute(nodes: Sequence[Node], values: dict[str, Array]) -> None:
    """Compute nodes one after another with numpy."""
    for node in nodes:
        try:
            inputs = [values[n] for n in node.inputs if n]
        except KeyError:
            raise NotExplainableError("its graph goes round its ensemble or linear model") from None
        values[node.outputs[0]] = _operation(node, inputs)


def _operation(node: Node, inputs: Sequence[Array]) -> Array:
    operator, axis = node.operator, node.attributes.get("axis", -1)
    if operator in _BY_COLUMN:
        result = _BY_COLUMN[operator](*inputs)
    elif operator == "Gather":
        result = np.take(inputs[0], inputs[1], axis=node.attributes.get("axis", 0))
    elif operator == "Concat":
        result = np.concatenate(inputs, axis=axis)
    elif operator == "Cast" and node.attributes.get("to") in _TYPES:
        result = inputs[0].astype(_TYPES[node.attributes["to"]])
    elif operator == "MatMul":
        result = inputs[0] @ inputs[1]
    elif operator == "Gemm" and not node.attributes:
        result = inputs[0] @ inputs[1] + inputs[2]
    elif operator == "ReduceSum":
        result = inputs[0].sum(axis=tuple(inputs[1].tolist()), keepdims=bool(node.attributes.get("keepdims", 1)))
    elif operator == "Sigmoid":
        with np.errstate(over="ignore"):
            result = 1 / (1 + np.exp(-inputs[0]))
    elif operator == "Softmax":
        raised = np.exp(inputs[0] - inputs[0].max(axis=axis, keepdims=True))
        result = raised / raised.sum(axis=axis, keepdims=True)
    else:
        raise NotExplainableError(f"its graph has the operation '{operator[:40]}'")
    return np.asarray(result)
