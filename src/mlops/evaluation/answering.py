"""Whether answers are such that somebody can rely on them, which a file from elsewhere does not promise.

A model has to answer a row the same twice, and alone as in a batch. Its columns have to be the contract's classes in
the contract's order. And where its author has told what some rows are answered, that is what it has to answer. Each
refusal names rows and differences.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mlops.contract import Contract
from mlops.evaluation import parity
from mlops.evaluation.compare import paired_gain
from mlops.evaluation.gates import Check, finite_check
from mlops.evaluation.metrics import METRICS, Task, labels
from mlops.evaluation.scoring import ModelRefusedError, OnnxScorer
from mlops.features.encoding import Matrix
from mlops.inference.onnxfile import UnreadableError, read
from mlops.manifest import PROBABILITIES

FloatArray = npt.NDArray[np.float64]

#: Rows that are asked for one by one.
ALONE_ROWS = 128
#: Rows that a refusal names.
NAMED = 3
#: How sure another order of the columns must be the better one.
ORDER_CONFIDENCE = 0.99
#: Operations that leave the order of columns as it is.
_KEEPS_ORDER = frozenset({"Identity", "Cast", "Normalizer", "Softmax"})
_KEYS = ("given_inputs", "given_scores", "given_labels", "given_rows")


@dataclass(frozen=True, slots=True)
class Given:
    """Rows with the answers that the author of a model tells.

    Attributes
    ----------
    inputs : float32, shape (rows, width).
    scores : shape (rows, classes) or (rows, 1); NaN where nothing was told.
    labels : position of the class, -1 where none was told; shape (rows,).
    rows : each one's row in the author's file.
    tolerance : absolute for probabilities, for values relative as in :mod:`mlops.evaluation.parity`.
    """

    inputs: Matrix
    scores: FloatArray
    labels: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    tolerance: float

    def arrays(self) -> dict[str, Any]:
        """As ``parity.npz`` keeps them."""
        values = (self.inputs, self.scores, self.labels, self.rows)
        return {**dict(zip(_KEYS, values, strict=True)), "given_tolerance": np.float64(self.tolerance)}

    def digest(self) -> str:
        """Of all that is told, so that other golden rows are another version."""
        return hashlib.sha256(b"".join(np.asarray(a).tobytes() for a in self.arrays().values())).hexdigest()

    @classmethod
    def load(cls, body: bytes) -> Given | None:
        """Of a ``parity.npz``; None where its author told nothing."""
        try:
            with np.load(io.BytesIO(body), allow_pickle=False) as archive:
                if _KEYS[0] not in archive:
                    return None
                inputs, scores, labelled, rows = (archive[key] for key in _KEYS)
                return cls(inputs, scores, labelled, rows, float(archive["given_tolerance"]))
        except parity.UNREADABLE as error:
            raise ModelRefusedError("the golden rows in parity.npz are not readable") from error


def answer_checks(
    scorer: OnnxScorer,
    held_out: tuple[Matrix, FloatArray],
    edges: tuple[Matrix, FloatArray],
    task: Task,
    tolerance: float,
    given: Given | None,
    contract: Contract,
) -> list[Check]:
    """``valid_answers``, ``repeatable``, ``alone_as_in_batch``, and ``golden_rows`` where there are some.

    Parameters
    ----------
    held_out, edges : rows and the answers that a batch of them got.
    tolerance : for a row alone; a second answer must be the same to the bit.
    """
    parts = [("held-out", *held_out), ("edge", *edges)]
    again = [(name, scores, scorer(matrix), np.arange(len(matrix))) for name, matrix, scores in parts]
    alone = []
    for name, matrix, scores in parts:
        chosen = np.unique(np.linspace(0, len(matrix) - 1, min(ALONE_ROWS, len(matrix))).round().astype(int))
        alone.append((name, scores[chosen], np.concatenate([scorer(matrix[i : i + 1]) for i in chosen]), chosen))
    checks = [
        finite_check(held_out[1], edges[1], task),
        _same("repeatable", again, 0.0, task, "are answered the same when asked again"),
        _same("alone_as_in_batch", alone, tolerance, task, "are answered alone as in a batch"),
    ]
    return checks if given is None else [*checks, given_check(scorer, given, task, contract.target.classes)]


def _same(
    name: str,
    parts: Sequence[tuple[str, FloatArray, FloatArray, npt.NDArray[Any]]],
    tolerance: float,
    task: Task,
    claim: str,
) -> Check:
    count, largest, named = 0, 0.0, list[str]()
    for kind, first, second, rows in parts:
        gap = _gap(second, first, task)
        bad = np.flatnonzero(gap > tolerance)
        count, largest = count + len(bad), max(largest, float(gap.max(initial=0.0)))
        named += [f"{kind} row {rows[i]}: {_text(first[i])}, then {_text(second[i])}" for i in bad[:NAMED]]
    total = sum(len(rows) for *_, rows in parts)
    text = f"{total - count} of {total} rows {claim} (largest difference {largest:.1e}, allowed {tolerance:.1e})"
    text += "; " + "; ".join(named[:NAMED]) if named else ""
    return Check(name, count == 0, largest if np.isfinite(largest) else None, tolerance, text)


def given_check(scorer: OnnxScorer, given: Given, task: Task, classes: Sequence[str] = ()) -> Check:
    """``golden_rows``: what the author says of these rows is what the model answers."""
    answers = scorer(given.inputs)
    if answers.shape != given.scores.shape:
        raise ModelRefusedError(f"the model answers shape {answers.shape}; its golden rows tell {given.scores.shape}")
    told = np.isfinite(given.scores)
    gap = _gap(np.where(told, answers, 0.0), np.where(told, given.scores, 0.0), task)
    other = np.zeros(len(gap), dtype=bool)
    if task.classes:
        answered = labels(answers, task)
        other = (given.labels >= 0) & (answered != given.labels)
    bad = np.flatnonzero((gap > given.tolerance) | other)
    named = []
    for i in bad[:NAMED]:
        if gap[i] > given.tolerance:
            was, what = _text(given.scores[i]), f"{_text(answers[i])} (difference {gap[i]:.1e})"
        else:
            was, what = f"'{classes[given.labels[i]]}'", f"'{classes[answered[i]]}' {_text(answers[i])}"
        named.append(f"row {given.rows[i]}: expected {was}, answered {what}")
    largest = float(gap.max(initial=0.0))
    text = (
        f"{len(gap) - len(bad)} of {len(gap)} golden rows are answered as their author says "
        f"(largest difference {largest:.1e}, allowed {given.tolerance:.1e})"
    )
    text += "; " + "; ".join(named) if named else ""
    return Check("golden_rows", not len(bad), largest if np.isfinite(largest) else None, given.tolerance, text)


def order_check(
    model: bytes, actual: npt.NDArray[Any], scores: FloatArray, task: Task, contract: Contract, seed: int
) -> Check:
    """``class_order``: by the names that the file itself gives its columns, where it does, and by the held-out rows."""
    declared, classes = declared_classes(model), contract.target.classes
    if declared is not None and sorted(declared) == sorted(classes) and declared != list(classes):
        text = f"the file says that its columns are {declared}; the contract's classes are {list(classes)}"
        return Check("class_order", False, None, None, text)
    order = _better_order(actual, scores, task, seed)
    if order is not None:
        pairs = ", ".join(f"column {j} tells '{classes[c]}'" for c, j in enumerate(order) if c != j)
        text = f"the held-out rows surely fit another order of the columns: {pairs}; the contract's is {list(classes)}"
        return Check("class_order", False, None, None, text)
    if declared == list(classes):
        return Check("class_order", True, None, None, f"the file names its columns {declared}, as the contract does")
    return Check("class_order", True, None, None, "no other order of the columns fits the held-out rows surely better")


def declared_classes(model: bytes) -> list[str] | None:
    """The texts that the node which gives the probabilities calls its columns; None where there are none.

    What comes between that node and the output must leave the columns where they are, or the names say nothing.
    """
    try:
        graph = read(model)
    except UnreadableError:
        return None
    by_output = {name: node for node in graph.nodes for name in node.outputs}
    node = by_output.get(PROBABILITIES)
    while node is not None and node.operator in _KEEPS_ORDER:
        node = by_output.get(node.inputs[0])
    names = None if node is None else node.attributes.get("classlabels_strings")
    return None if not names else [bytes(name).decode(errors="replace") for name in names]


def _better_order(actual: npt.NDArray[Any], scores: FloatArray, task: Task, seed: int) -> list[int] | None:
    """For each class the column that tells it best, where these are all the columns in another order, and the log
    loss is surely smaller so."""
    count, auc = task.classes, METRICS["roc_auc"]
    order = list(range(count))
    for c in range(count):
        mine = (actual == c).astype(np.int64)
        if 0 < mine.sum() < len(mine):
            told = [
                auc.compute(mine, np.column_stack([1 - scores[:, j], scores[:, j]]), Task(2, 1)) for j in range(count)
            ]
            order[c] = c if told[c] == max(told) else int(np.argmax(told))
    if order == list(range(count)) or sorted(order) != list(range(count)):
        return None
    gain = paired_gain(
        actual, scores[:, order], scores, METRICS["log_loss"], task, seed=seed, confidence=ORDER_CONFIDENCE
    )
    return order if gain.low > 0 else None


def _gap(answers: FloatArray, expected: FloatArray, task: Task) -> FloatArray:
    """The largest difference of each row; 0 for answers that are the same, be they no numbers."""
    with np.errstate(invalid="ignore", over="ignore"):
        gap = np.abs(answers - expected)
    gap = np.where((answers == expected) | (np.isnan(answers) & np.isnan(expected)), 0.0, gap)
    gap = np.where(np.isfinite(gap), gap, np.inf)
    result: FloatArray = gap.max(axis=1) / (1.0 if task.classes else parity.scale(expected[:, 0]))
    return result


def _text(answer: FloatArray) -> str:
    return "[" + ", ".join("not told" if np.isnan(v) else f"{v:.7g}" for v in answer) + "]"
