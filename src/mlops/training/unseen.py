"""Answers to training rows by models that had not seen them: what calibration, threshold, intervals and the baseline
are made of. (A forest's answers on its own training rows are far too sure.)"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mlops.contract import Contract
from mlops.training.dataset import Dataset
from mlops.training.estimator import Fitted, fit_candidate
from mlops.training.families import Candidate
from mlops.training.split import Index

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Unseen:
    """Attributes
    ----------
    scores : float64, shape (rows, classes) or (rows, 1), the folds' models' own; for rows that no fold tests (the
        oldest of a split by time) those of the first fold's model, which may have seen them.
    margins : float64, shape (rows, curves); see :meth:`Fitted.margins`. NaN in rows that do not count.
    fold : int64, shape (rows,): which fold's model answered; -1 where none tested the row, or where a fold's
        training rows lacked a class.
    """

    scores: FloatArray
    margins: FloatArray
    fold: npt.NDArray[np.int64]

    @property
    def counts(self) -> npt.NDArray[np.bool_]:
        """Rows whose answer is by a model that had not seen them."""
        known: npt.NDArray[np.bool_] = self.fold >= 0
        return known

    def answers(self, fitted: Fitted) -> FloatArray:
        """Scores through the calibrator of ``fitted``, where it has one."""
        if fitted.calibrator is None:
            return self.scores
        scores = self.scores.copy()
        scores[self.counts] = fitted.place(fitted.calibrator(self.margins[self.counts]))
        return scores


def cross_answers(
    contract: Contract,
    candidate: Candidate,
    part: Dataset,
    folds: Sequence[tuple[Index, Index]],
    present: Sequence[int],
) -> Unseen:
    """Fit ``candidate`` on each fold's training rows and answer the others.

    Parameters
    ----------
    part : the rows to train on.
    present : the classes of the final model; () for a regression.
    """
    classes = len(contract.target.classes) if contract.task == "classification" else 1
    curves = 1 if len(present) <= 2 else len(present)
    scores = np.zeros((part.rows, classes))
    margins = np.full((part.rows, curves), np.nan)
    fold = np.full(part.rows, -1, dtype=np.int64)
    first: Fitted | None = None
    tested = np.zeros(part.rows, dtype=bool)
    for number, (seen, unseen) in enumerate(folds):
        model = fit_candidate(contract, candidate, part.matrix[seen], part.target[seen])
        first = first or model
        scores[unseen] = model.scores(part.matrix[unseen])
        tested[unseen] = True
        if model.present == tuple(present):
            fold[unseen] = number
            if present:
                margins[unseen] = model.margins(part.matrix[unseen])
    if first is not None and not tested.all():
        scores[~tested] = first.scores(part.matrix[~tested])
    return Unseen(scores, margins, fold)
