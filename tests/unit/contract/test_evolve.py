"""A file that no longer keeps its contract gives a contract that it keeps, change by change."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from mlops.contract import Contract, Target
from mlops.contract.evolve import propose, written_diff
from mlops.contract.source import dump, load_text
from mlops.data.local import check_file
from mlops.errors import ContractError
from mlops.features.spec import Feature

CONTRACT = Contract(
    "shop",
    "classification",
    Target("bought", ("no", "yes"), "yes"),
    (
        Feature("age", "integer", minimum=0, maximum=120, description="in years"),
        Feature("income", "number", minimum=0),
        Feature("plan", "category", categories=("basic", "pro")),
        Feature("active", "boolean"),
    ),
    ignore=("comment",),
)


def table(**changes: Any) -> pl.DataFrame:
    rng = np.random.default_rng(7)
    columns: dict[str, Any] = {
        "age": rng.integers(18, 90, 300),
        "income": np.round(rng.uniform(100, 9000, 300), 2),
        "plan": rng.choice(["basic", "pro"], 300),
        "active": rng.choice(["yes", "no"], 300),
        "bought": rng.choice(["no", "yes"], 300),
    }
    return pl.DataFrame({k: v for k, v in (columns | changes).items() if v is not None})


CASES: dict[str, tuple[dict[str, Any], list[tuple[str, str]]]] = {
    "nothing": ({}, []),
    "a new column": ({"visits": np.arange(300) % 50}, [("added", "visits")]),
    "a new column of no use": ({"source": ["web"] * 300}, [("ignored", "source")]),
    "a column is gone": ({"active": None}, [("removed", "active")]),
    "a column was renamed": ({"income": None, "Income_": np.linspace(1, 9, 300)}, [("renamed", "income")]),
    "a wider range": ({"age": [130] * 3 + [40, 41, 42] * 99}, [("range", "age")]),
    "missing values": ({"income": [None, 5.5, 7.25] * 100}, [("missing", "income")]),
    "a new category": ({"plan": ["basic", "pro", "team"] * 100}, [("categories", "plan")]),
    "another type": ({"age": ["young", "old", "very old"] * 100}, [("type", "age")]),
    "whole numbers get fractions": ({"age": np.linspace(1, 90, 300)}, [("type", "age")]),
    "a new class": ({"bought": ["no", "yes", "later"] * 100}, [("classes", "bought")]),
    "some spoiled cells": ({"age": ["x"] + ["40", "50", "60"] * 99 + ["40", "50"]}, []),
}


@pytest.mark.parametrize(("changes", "expected"), CASES.values(), ids=CASES.keys())
def test_a_file_keeps_what_is_proposed_for_it(
    changes: dict[str, Any], expected: list[tuple[str, str]], tmp_path: Path
) -> None:
    path = tmp_path / "rows.csv"
    table(**changes).write_csv(path)
    proposal = propose(CONTRACT, path)
    assert [(c.kind, c.column) for c in proposal.changes] == expected
    assert (proposal.contract == CONTRACT) == (not expected)
    assert bool(written_diff(CONTRACT, proposal.contract)) == bool(expected)
    assert load_text(dump(proposal.contract)) == proposal.contract
    assert proposal.breaking == any(kind in ("added", "removed", "renamed", "type") for kind, _ in expected)
    kept = check_file(path, proposal.contract)
    spoiled = [(r["code"], r["count"]) for r in kept["reasons"] if r["code"] != "duplicate_row"]
    assert spoiled == ([("wrong_type", 1)] if changes.get("age", [0])[0] == "x" else [])
    assert propose(proposal.contract, path).changes == ()


def test_what_a_person_wrote_stays(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    personal = replace(CONTRACT.features[2], pii="pseudonymise", severity="warn")
    contract = replace(CONTRACT, features=(*CONTRACT.features[:2], personal, CONTRACT.features[3]))
    table(age=["a", "b"] * 150, plan=["Ada", "basic"] * 150).write_csv(path)
    proposal = propose(contract, path)
    age, plan = proposal.contract.features[0], proposal.contract.features[2]
    assert (age.type, age.description) == ("category", "in years")
    assert (plan.pii, plan.severity, plan.categories) == ("pseudonymise", "warn", ("basic", "pro", "Ada"))
    assert not any("Ada" in c.message for c in proposal.changes)


def test_without_the_target_nothing_can_be_proposed(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    table(bought=None).write_csv(path)
    with pytest.raises(ContractError, match="no column 'bought'"):
        propose(CONTRACT, path)
