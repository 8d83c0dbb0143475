"""A contract's cross-column rules on a batch of rows."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import polars as pl

from mlops.contract import Contract, Rule
from mlops.contract.expressions import ExpressionError, Node, columns_of, parse
from mlops.features.spec import Severity

CODE = "broken_rule"


@dataclass(frozen=True, slots=True)
class RowRule:
    """One rule, ready for batches. ``broken`` is true where a row breaks it."""

    text: str
    message: str
    severity: Severity
    max_share: float
    broken: pl.Expr


def row_rules(contract: Contract, today: float) -> list[RowRule]:
    """The contract's rules; ``today`` in days since 1970-01-01."""
    columns = columns_of(contract)
    found = []
    for rule in contract.rules:
        node = parse(rule.expression, columns)
        says = rule.message or f"the row breaks the rule: {rule.expression}"
        broken = ~_expression(node, today)
        found.append(RowRule(rule.expression, says, rule.severity, rule.max_share, broken))
    return found


def try_out(rule: Rule, contract: Contract) -> None:
    """Apply a rule to no rows.

    Raises
    ------
    ExpressionError
        when it cannot be applied, such as a regular expression that this engine lacks.
    """
    types = {"number": pl.Float64, "text": pl.String, "truth": pl.Boolean, "date": pl.Float64}
    empty = pl.DataFrame(schema={name: types[kind] for name, kind in columns_of(contract).items()})
    try:
        broken_rows(row_rules(replace(contract, rules=(rule,)), 0.0), empty)
    except pl.exceptions.PolarsError as error:
        raise ExpressionError(f"cannot be applied: {str(error).splitlines()[0]}") from None


def broken_rows(rules: Sequence[RowRule], values: pl.DataFrame) -> pl.DataFrame:
    """One boolean column a rule, in their order; a rule that is neither true nor false is kept."""
    return values.select(r.broken.fill_null(value=False).alias(str(i)) for i, r in enumerate(rules))


def _expression(node: Node, today: float) -> pl.Expr:
    parts = [_expression(p, today) if isinstance(p, Node) else p for p in node.parts]
    built: pl.Expr = pl.lit(today) if node.op == "today" else _BUILD[node.op](*parts)
    return built


_BUILD: Mapping[str, Callable[..., pl.Expr]] = {
    "column": pl.col,
    "value": pl.lit,
    "and": lambda *parts: pl.all_horizontal(parts),
    "or": lambda *parts: pl.any_horizontal(parts),
    "not": operator.inv,
    "negative": operator.neg,
    "abs": abs,
    "len": lambda text: text.str.len_chars().cast(pl.Float64),
    "missing": lambda column: column.is_null(),
    "matches": lambda text, pattern: text.str.contains(f"^(?:{pattern})$"),
    "in": lambda left, values: left.is_in(list(values)),
    "not in": lambda left, values: ~left.is_in(list(values)),
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "%": operator.mod,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
