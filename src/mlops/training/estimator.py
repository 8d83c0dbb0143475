"""A fitted pipeline as a function from the encoded matrix to scores, over all classes of the contract."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import Pipeline
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

from mlops.contract import Contract
from mlops.features.encoding import Matrix
from mlops.training.calibration import Calibrator
from mlops.training.dataset import NotTrainableError
from mlops.training.families import Candidate, build

FloatArray = npt.NDArray[np.float64]


@functools.cache
def _controller() -> Any:
    return ThreadpoolController()


def one_thread() -> Any:
    """A context in which OpenMP and BLAS use one thread: the same sums on every machine, and no spinning
    threads where a function has less than one processor."""
    return _controller().limit(limits=1)


class Answering(Protocol):
    """Whatever answers an encoded matrix: a fitted candidate, or a model of somebody's own."""

    def scores(self, matrix: Matrix) -> FloatArray:
        """Probabilities (rows, classes) or values (rows, 1); float64."""
        ...


@contextmanager
def _calm() -> Iterator[None]:
    """One thread, and no warning when scikit-learn's check for finite numbers adds up numbers near the limit of
    float32 of both signs: it then looks at each of them."""
    with one_thread(), np.errstate(invalid="ignore", over="ignore"):
        yield


@dataclass(frozen=True)
class Fitted:
    """A fitted candidate.

    Attributes
    ----------
    classes : number of the contract's classes; 0 for a regression.
    present : the classes that training rows had, ascending; a class that never occurred gets probability 0.
    calibrator : from margins to probabilities; None: the estimator's own probabilities.
    """

    candidate: Candidate
    pipeline: Pipeline
    classes: int
    present: tuple[int, ...]
    calibrator: Calibrator | None = None

    def scores(self, matrix: Matrix) -> FloatArray:
        """Probabilities (rows, classes) or values (rows, 1) of an encoded matrix; float64."""
        if not self.classes:
            with _calm():
                values: FloatArray = self.pipeline.predict(matrix).astype(np.float64).reshape(-1, 1)
                return values
        if self.calibrator is not None:
            return self.place(self.calibrator(self.margins(matrix)))
        with _calm():
            return self.place(self.pipeline.predict_proba(matrix))

    def margins(self, matrix: Matrix) -> FloatArray:
        """What a calibrator maps: decision values where the estimator has them, else probabilities; of the second
        class alone when there are two. Float64, shape (rows, 1) or (rows, present classes)."""
        with _calm():
            if hasattr(self.model, "decision_function"):
                found: FloatArray = self.pipeline.decision_function(matrix).astype(np.float64)
                return found.reshape(-1, 1) if found.ndim == 1 else found
            shares: FloatArray = self.pipeline.predict_proba(matrix)
            return shares[:, 1:] if len(self.present) == 2 else shares

    def place(self, probabilities: FloatArray) -> FloatArray:
        """Probabilities of the present classes among those of all classes; shape (rows, classes)."""
        result = np.zeros((len(probabilities), self.classes))
        result[:, list(self.present)] = probabilities
        return result

    def calibrated(self, calibrator: Calibrator | None) -> Fitted:
        return replace(self, calibrator=calibrator)

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
        try:
            pipeline.fit(matrix, target)
        except ValueError as error:  # scikit-learn's word for parameters or data that an estimator cannot take
            if candidate.prototype is None:
                raise
            first = (str(error).splitlines() or [""])[0]
            raise NotTrainableError(f"the recipe's {candidate.name} cannot be fitted: {first[:300]}") from error
    classification = contract.task == "classification"
    present = tuple(int(c) for c in pipeline.named_steps["model"].classes_) if classification else ()
    return Fitted(candidate, pipeline, len(contract.target.classes) if classification else 0, present)
