"""A user's recipe: what it may be, what is said when it is not, and that it is the code that was named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mlops.contract import Contract
from mlops.contract.recipe import check, digest, resolve
from mlops.errors import ContractError
from mlops.training.dataset import NotTrainableError
from mlops.training.fit import fit
from mlops.training.local import train_files
from mlops.training.recipe import candidate
from tests.unit.training import tables

GOOD = """
from sklearn.linear_model import Lasso

def estimator(rows):
    return Lasso(alpha=rows / 1000)
"""


def named(source: str, task: str = "regression") -> Contract:
    contract = tables.contract(task, tables.NUMBERS)
    return replace(contract, training=replace(contract.training, recipe=digest(source.encode())))


def test_a_contract_in_force_names_the_digest(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(GOOD)
    contract = tables.contract("regression", tables.NUMBERS)
    contract = replace(contract, training=replace(contract.training, recipe="mine.py"))
    resolved, source = resolve(contract, tmp_path)
    assert source == GOOD.encode()
    assert resolved.training.recipe == digest(GOOD.encode())
    assert resolve(resolved, tmp_path) == (resolved, None)
    assert resolve(tables.contract("binary", tables.NUMBERS), tmp_path)[1] is None
    with pytest.raises(ContractError, match="cannot be read"):
        resolve(contract, tmp_path / "elsewhere")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def estimator(:\n", "line 1: not valid Python"),
        ("def model():\n    pass\n", "a recipe defines a function 'estimator'"),
        ("\ndef estimator(data):\n    pass\n", "line 2: 'estimator' asks for 'data'; it may ask for task, classes"),
        ("#" * 100_001, "too large for a recipe"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused_before_it_is_pushed(source: str, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        check(source.encode(), "mine.py")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def estimator():\n    return 1 / 0\n", "failed in line 2: ZeroDivisionError"),
        ("import no_such_module_anywhere\ndef estimator(): ...\n", "failed in line 1: ModuleNotFoundError"),
        ("def estimator():\n    return 7\n", "returned int, not a scikit-learn estimator"),
        (
            "from sklearn.svm import SVR\ndef estimator():\n    return SVR()\n",
            "SVR is not supported for regression; supported are BayesianRidge, DecisionTreeRegressor",
        ),
    ],
)
def test_a_recipe_that_gives_no_estimator_is_a_result_with_a_reason(source: str, message: str) -> None:
    with pytest.raises(NotTrainableError, match=message):
        candidate(source.encode(), named(source), 100)


def test_a_contract_with_a_recipe_is_never_trained_without_it() -> None:
    with pytest.raises(NotTrainableError, match="its source was not given"):
        fit(tables.table("regression", tables.NUMBERS), named(GOOD), dataset_version="d")


def test_parameters_that_cannot_be_fitted_are_a_result_too() -> None:
    source = GOOD.replace("rows / 1000", "-3.0")
    table = tables.table("regression", tables.NUMBERS)
    with pytest.raises(NotTrainableError, match="the recipe's Lasso cannot be fitted: The 'alpha' parameter"):
        fit(table, named(source), dataset_version="d", recipe=source.encode())


def test_a_recipe_is_told_what_it_asks_for_and_seeded() -> None:
    found = candidate(GOOD.encode(), named(GOOD), 250)
    assert (found.name, found.family, found.parameters["alpha"]) == ("Lasso", "recipe", 0.25)
    forest = "from sklearn.ensemble import RandomForestRegressor as R\ndef estimator():\n    return R(7, n_jobs=-1)\n"
    parameters = candidate(forest.encode(), named(forest), 9).parameters
    assert (parameters["random_state"], parameters["n_jobs"]) == (7, 1)


def test_a_recipe_trains_on_a_laptop_as_in_the_function(tmp_path: Path) -> None:
    table = tables.table("regression", tables.NUMBERS)
    first = train_files(table, named(GOOD), tmp_path, recipe=GOOD.encode())
    other = GOOD.replace("1000", "10")
    second = train_files(table, named(other), tmp_path, recipe=other.encode())
    folder = tmp_path / first.manifest.version
    assert (folder / "recipe.py").read_text() == GOOD
    assert first.manifest.version != second.manifest.version
    assert first.explanation.startswith("recipe chosen from 1 candidates")
