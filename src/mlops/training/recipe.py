"""Running a user's recipe: the file's code becomes one candidate of the search.

A recipe is code and runs with the rights of whoever runs it; see docs/training.md for what that means.
"""

from __future__ import annotations

import inspect
import traceback
from typing import Any

from sklearn.base import BaseEstimator

from mlops.contract import Contract
from mlops.contract.recipe import FUNCTION, PREFIX, check, digest
from mlops.errors import ContractError
from mlops.training.dataset import NotTrainableError
from mlops.training.families import Candidate
from mlops.training.graph import ExportError
from mlops.training.supported import form_of

FILE = "recipe.py"
#: Parameters that would make a run depend on the machine, and what they are set to.
_FIXED = {"n_jobs": 1, "verbose": 0}


def candidate(source: bytes, contract: Contract, rows: int) -> Candidate:
    """The estimator that a recipe returns, seeded by the contract where the recipe has left that open.

    Parameters
    ----------
    source : the file whose digest the contract names.
    rows : how many rows it will be fitted on.

    Raises
    ------
    NotTrainableError
        when the file is another than the contract names, fails, or returns what cannot be exported exactly.
    """
    named = str(contract.training.recipe)
    if digest(source) != named:
        raise NotTrainableError(f"the recipe is not the file that the contract names ({named[:19]}…)")
    try:
        check(source, FILE)
    except ContractError as error:
        raise NotTrainableError(error.message) from error
    estimator = _run(source, contract, rows)
    if not isinstance(estimator, BaseEstimator):
        raise NotTrainableError(f"the recipe returned {type(estimator).__name__}, not a scikit-learn estimator")
    try:
        form_of(estimator, contract.task == "classification")
    except ExportError as error:
        raise NotTrainableError(f"the recipe's estimator: {error.message}") from error
    known = estimator.get_params(deep=False)
    changes = {k: v for k, v in _FIXED.items() if k in known}
    if known.get("random_state", 0) is None:
        changes["random_state"] = contract.training.seed
    estimator.set_params(**changes)
    return Candidate(type(estimator).__name__, "recipe", _written(estimator.get_params(deep=False)), estimator)


def needs_digest(contract: Contract) -> str:
    """The hexadecimal digest of the recipe that a contract in force names.

    Raises
    ------
    NotTrainableError
        when it names a file: it was put in force without its recipe.
    """
    named = str(contract.training.recipe)
    if not named.startswith(PREFIX):
        raise NotTrainableError(
            f"the contract names recipe '{named}', which is not in the stack; put it in force with `mlops push`"
        )
    return named.removeprefix(PREFIX)


def _run(source: bytes, contract: Contract, rows: int) -> Any:
    offered = {
        "task": contract.task,
        "classes": contract.target.classes,
        "seed": contract.training.seed,
        "rows": rows,
    }
    namespace: dict[str, Any] = {"__name__": "recipe"}
    try:
        exec(compile(source, FILE, "exec"), namespace)  # noqa: S102 - a recipe is code; docs/training.md says whose
        function = namespace[FUNCTION]
        asked = inspect.signature(function).parameters
        return function(**{k: v for k, v in offered.items() if k in asked})
    except Exception as error:  # a person's file may fail in any way; that is a result, with the line
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == FILE]
        where = f" in line {lines[-1]}" if lines else ""
        raise NotTrainableError(f"the recipe failed{where}: {type(error).__name__}: {error}") from error


def _written(parameters: dict[str, Any]) -> dict[str, Any]:
    """Parameters as lineage can hold them."""
    plain = (str, int, float, bool, type(None))
    return {k: v if isinstance(v, plain) else repr(v)[:200] for k, v in sorted(parameters.items())}
