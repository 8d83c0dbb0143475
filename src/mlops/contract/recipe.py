"""The recipe that a contract names: a Python file in a person's folder, a digest in what is in force.

A contract's YAML names a file beside it (``training.recipe: churn.py``). When the contract is put in force the file
goes into the artifact bucket under its SHA-256, and the contract in force names that digest: the same contract always
means the same code, and another line of code is another contract, and so another version.
"""

from __future__ import annotations

import ast
import hashlib
from dataclasses import replace
from pathlib import Path

from mlops.contract.model import Contract
from mlops.errors import ContractError

PREFIX = "sha256:"
#: The function that a recipe defines, and what it may ask for by name.
FUNCTION = "estimator"
ARGUMENTS = ("task", "classes", "seed", "rows")
MAX_BYTES = 100_000


def digest(source: bytes) -> str:
    """How a contract in force names a recipe.

    >>> digest(b"")[:14]
    'sha256:e3b0c44'
    """
    return PREFIX + hashlib.sha256(source).hexdigest()


def resolve(contract: Contract, folder: Path) -> tuple[Contract, bytes | None]:
    """The contract with its recipe's digest, and the recipe; None where it has none or names a digest already.

    Parameters
    ----------
    folder : where the contract's file is.

    Raises
    ------
    ContractError
        when the file does not exist or is no recipe.
    """
    named = contract.training.recipe
    if named is None or named.startswith(PREFIX):
        return contract, None
    path = folder / named
    try:
        source = path.read_bytes()
    except OSError as error:
        raise ContractError(f"training.recipe: {path} cannot be read ({type(error).__name__})") from None
    check(source, named)
    return replace(contract, training=replace(contract.training, recipe=digest(source))), source


def check(source: bytes, name: str) -> None:
    """Whether a file can be a recipe, without running it.

    Raises
    ------
    ContractError
        saying what is wrong and in which line.
    """
    if len(source) > MAX_BYTES:
        raise ContractError(f"{name}: {len(source)} bytes is too large for a recipe (at most {MAX_BYTES})")
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        raise ContractError(f"{name}: line {line}: not valid Python: {getattr(error, 'msg', error)}") from None
    found = next((n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == FUNCTION), None)
    if found is None:
        raise ContractError(f"{name}: a recipe defines a function '{FUNCTION}' that returns an unfitted estimator")
    asked = [a.arg for a in (*found.args.posonlyargs, *found.args.args, *found.args.kwonlyargs)]
    unknown = [a for a in asked if a not in ARGUMENTS]
    if unknown:
        known = ", ".join(ARGUMENTS)
        raise ContractError(
            f"{name}: line {found.lineno}: '{FUNCTION}' asks for '{unknown[0]}'; it may ask for {known}"
        )
