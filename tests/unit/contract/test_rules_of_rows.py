"""Rules over columns: read, checked by place and token, and applied as they say, also where values are missing."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.contract import Contract, Rule, Target
from mlops.contract.expressions import ExpressionError, columns_of, parse
from mlops.contract.source import InvalidContractError, dump, load_text
from mlops.data.row_rules import broken_rows, row_rules
from mlops.features.spec import Feature

CONTRACT = Contract(
    "clinic",
    "classification",
    Target("ill", ("no", "yes")),
    (
        Feature("age", "integer"),
        Feature("weight in kg", "number", nullable=True),
        Feature("plan", "category", categories=("basic", "pro")),
        Feature("smokes", "boolean"),
        Feature("admitted", "date"),
        Feature("left", "date", nullable=True),
    ),
    key=("patient",),
)
ROW: dict[str, Any] = {
    "age": 41.0, "weight in kg": None, "plan": "pro", "smokes": True, "admitted": 20000.0, "left": 20003.5,
    "ill": "no", "patient": "P-17",
}  # fmt: skip
SCHEMA = {k: pl.String if isinstance(v, str) else pl.Boolean if v is True else pl.Float64 for k, v in ROW.items()}


def broken(expression: str, **changes: Any) -> bool:
    rules = row_rules(replace(CONTRACT, rules=(Rule(expression),)), today=20010.0)
    return bool(broken_rows(rules, pl.DataFrame([ROW | changes], schema=SCHEMA))["0"][0])


@pytest.mark.parametrize(
    "expression",
    [
        "left >= admitted",
        "0 <= age < 42",
        "left - admitted <= 3.5 and admitted + 1 < left",
        "plan != 'basic' or age > 100",
        "plan in ('pro', 'team') and not plan not in ['pro']",
        "smokes",
        "smokes == True",
        "col('weight in kg') > 1000",  # it is missing, so the rule says nothing
        "missing(col('weight in kg'))",
        "abs(-age) == 82 / 2 and age % 2 == 1 and len(plan) == 3",
        r"matches(patient, '[A-Z]-\\d+')",
        "admitted >= date('2024-10-04') and admitted <= today()",
    ],
)
def test_true_rules(expression: str) -> None:
    assert not broken(expression)


@pytest.mark.parametrize(
    ("expression", "changes"),
    [
        ("left >= admitted", {"left": 19999.0}),
        ("plan != 'pro' or age >= 50", {}),
        ("not smokes", {}),
        ("missing(left) == smokes", {}),
        ("matches(patient, 'P')", {}),  # the whole text must match
        ("age > 50 and col('weight in kg') > 3", {}),  # one false is enough
        ("today() - admitted < 5", {}),
    ],
)
def test_broken_rules(expression: str, changes: dict[str, Any]) -> None:
    assert broken(expression, **changes)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("agee > 3", "at character 1: 'agee' is no column of the contract (did you mean 'age'?)"),
        ("age >", "at character 6: invalid syntax"),
        ("age > 'x'", "at character 7: a number cannot be compared with a text"),
        ("age + plan > 3", "a number + a text has no meaning"),
        ("age", "gives a number, not true or false"),
        ("__import__('os').system('x')", "is no function; there are abs, col"),
        ("age.real > 1", "is not allowed in a rule"),
        ("[a for a in (1, 2)] == 1", "is not allowed in a rule"),
        ("age ** 99 > 1", "allowed between numbers are + - * / %"),
        ("left is None", "use == and !=, not 'is'"),
        ("left == None", "for missing use missing"),
        ("age in (1, age)", "'in' needs values in brackets"),
        ("matches(plan, '(')", "is no regular expression"),
        ("matches(plan, '(?=a)b')", "is no regular expression"),
        ("len(plan, 2) > 1", "len takes 1 value"),
        ("date('1.2.2026') < admitted", "is no ISO 8601 date"),
        ("smokes and 1", "'1' is a number where true or false is needed"),
        ("-" * 60 + "age > 1", "is nested too deep"),
    ],
)
def test_mistakes_name_the_token(expression: str, message: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse(expression, columns_of(CONTRACT))
    assert message in str(caught.value)


@given(st.text("()[]'\"abcdef .,<>=!+-*/%0123456789\n\\ageplnsmok", max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_text_is_a_rule_or_a_named_mistake(text: str) -> None:
    with contextlib.suppress(ExpressionError):
        assert parse(text, columns_of(CONTRACT)).kind == "truth"


def test_rules_in_a_contract_are_checked_by_line_and_written_back() -> None:
    rules = (
        Rule("left >= admitted", "reject", 0.1, "left before they came"),
        Rule("plan != 'pro' or age > 17", "warn"),
    )
    contract = replace(CONTRACT, rules=rules)
    text = dump(contract)
    assert load_text(text) == contract
    spoiled = text.replace("left >= admitted", "lft >= admitted")
    with pytest.raises(InvalidContractError) as caught:
        load_text(spoiled)
    (problem,) = caught.value.problems
    assert problem.field == "rules[0].expression"
    assert "lft" in spoiled.splitlines()[problem.line - 1]
    assert "did you mean 'left'?" in problem.message
    with pytest.raises(InvalidContractError, match="cannot be applied"):
        load_text(text.replace("left >= admitted", r"matches(plan, '\\Z')"))
