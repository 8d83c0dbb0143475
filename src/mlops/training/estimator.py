"""A fitted pipeline as a function from the encoded matrix to scores, over all classes of the contract."""

from __future__ import annotations

import functools
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import Pipeline
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

from mlops.contract import Contract
from mlops.features.encoding import Matrix
from mlops.training.families import Candidate, build

FloatArray = npt.NDArray[np.float64]


@functools.cache
def _controller() -> Any:
    return ThreadpoolController()


def one_thread() -> Any:
    """A context in which OpenMP and BLAS use one thread: the same sums on every machine, and no spinning
    threads where a function has less than one processor."""
    return _controller().limit(limits=1)


@dataclass(frozen=True)
class Fitted:
    """A fitted candidate.

    Attributes
    ----------
    classes : number of the contract's classes; 0 for a regression.
    present : the classes that training rows had, ascending; a class that never occurred gets probability 0.
    """

    candidate: Candidate
    pipeline: Pipeline
    classes: int
    present: tuple[int, ...]

    def scores(self, matrix: Matrix) -> FloatArray:
        """Probabilities (rows, classes) or values (rows, 1) of an encoded matrix; float64."""
        with one_thread():
            if not self.classes:
                values: FloatArray = self.pipeline.predict(matrix).astype(np.float64).reshape(-1, 1)
                return values
            result = np.zeros((len(matrix), self.classes))
            result[:, list(self.present)] = self.pipeline.predict_proba(matrix)
            return result

    @property
    def model(self) -> Any:
        """The last step: the scikit-learn estimator itself."""
        return self.pipeline.named_steps["model"]


def fit_candidate(contract: Contract, candidate: Candidate, matrix: Matrix, target: npt.NDArray[Any]) -> Fitted:
    """Fit one candidate on one thread, so that the same rows give the same model on every machine size.

    A linear model that has not converged after its iterations is used as it is: the search judges it by its
    score, not by its gradient.
    """
    pipeline = build(contract, candidate, len(target))
    with one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        pipeline.fit(matrix, target)
    classification = contract.task == "classification"
    present = tuple(int(c) for c in pipeline.named_steps["model"].classes_) if classification else ()
    return Fitted(candidate, pipeline, len(contract.target.classes) if classification else 0, present)
