"""The small language of a contract's rules: parsed, checked and given types, never executed.

A rule is one expression that is true for a sound row, such as ``discharged >= admitted`` or
``plan != 'pro' or seats >= 1``. It has the syntax of Python and a part of its grammar:

==============  ====================================================================================
columns         ``age``; ``col('mean radius')`` where the name is no plain word
values          numbers, texts in quotes, ``True``, ``False``, ``date('2026-03-01')``, ``today()``
arithmetic      ``+ - * / %`` of numbers; the difference of two dates is days; a date plus days is a date
comparison      ``== != < <= > >=`` of two things of one kind; ``in (…)`` and ``not in (…)`` with values
logic           ``and``, ``or``, ``not``
functions       ``abs(n)``, ``len(text)``, ``matches(text, r'regular expression')``, ``missing(column)``
==============  ====================================================================================

A comparison with a missing value is neither true nor false, and a rule that is neither is kept.
"""

from __future__ import annotations

import ast
import difflib
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mlops.contract.model import Contract
from mlops.features.parse import parse_date

Kind = Literal["number", "text", "truth", "date"]

_KINDS: Mapping[str, Kind] = {
    "number": "number",
    "integer": "number",
    "boolean": "truth",
    "category": "text",
    "date": "date",
}
_WORDS = {"number": "a number", "text": "a text", "truth": "true or false", "date": "a date"}
_COMPARISONS: Mapping[type, str] = {
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.In: "in",
    ast.NotIn: "not in",
}  # fmt: skip
_ARITHMETIC: Mapping[type, str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Mod: "%"}
_FUNCTIONS = ("abs", "col", "date", "len", "matches", "missing", "today")
_MAX_LENGTH = 1_000
_MAX_DEPTH = 40


class ExpressionError(ValueError):
    """A rule that is none; the message says what is wrong, with the place of the token, counted from 1."""


@dataclass(frozen=True, slots=True)
class Node:
    """One step of a rule.

    Attributes
    ----------
    op : ``column``, ``value``, ``today``, an operator, or a function's name.
    kind : what it gives.
    parts : what it is made of: nodes; for ``column`` the name, for ``value`` the value, for ``in`` a node and values.
    """

    op: str
    kind: Kind
    parts: tuple[Any, ...] = ()


def columns_of(contract: Contract) -> dict[str, Kind]:
    """The columns that a rule can speak of."""
    found: dict[str, Kind] = {f.name: _KINDS[f.type] for f in contract.described}
    found[contract.target.name] = "text" if contract.task == "classification" else "number"
    found |= dict.fromkeys(contract.key, "text")
    return found | ({contract.timestamp: "date"} if contract.timestamp else {})


def parse(text: str, columns: Mapping[str, Kind]) -> Node:
    """The rule as a tree.

    Raises
    ------
    ExpressionError
        for anything but a rule on these columns.
    """
    if len(text) > _MAX_LENGTH:
        raise ExpressionError(f"has {len(text)} characters; at most {_MAX_LENGTH}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of '\\d' in a text that is not raw
            tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise ExpressionError(f"at character {error.offset or len(text) + 1}: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError):
        raise ExpressionError("is no expression") from None
    node = _Parser(columns).node(tree, 0)
    if node.kind != "truth":
        raise ExpressionError(f"gives {_WORDS[node.kind]}, not true or false; compare it with something")
    return node


class _Parser:
    def __init__(self, columns: Mapping[str, Kind]) -> None:
        self._columns = columns

    def node(self, tree: ast.expr, depth: int) -> Node:
        if depth > _MAX_DEPTH:
            raise _error(tree, "is nested too deep")
        method = getattr(self, f"_{type(tree).__name__.lower()}", None)
        if method is None:
            raise _error(tree, f"'{ast.unparse(tree)[:40]}' is not allowed in a rule")
        found: Node = method(tree, depth + 1)
        return found

    def _of(self, kind: Kind, tree: ast.expr, depth: int) -> Node:
        node = self.node(tree, depth)
        if node.kind != kind:
            raise _error(tree, f"'{ast.unparse(tree)[:40]}' is {_WORDS[node.kind]} where {_WORDS[kind]} is needed")
        return node

    def _name(self, tree: ast.Name, _: int) -> Node:
        return self._column(tree, tree.id)

    def _column(self, tree: ast.expr, name: str) -> Node:
        if name not in self._columns:
            close = difflib.get_close_matches(name, self._columns, n=1)
            hint = f" (did you mean '{close[0]}'?)" if close else ""
            raise _error(tree, f"'{name}' is no column of the contract{hint}")
        return Node("column", self._columns[name], (name,))

    def _constant(self, tree: ast.Constant, _: int) -> Node:
        match tree.value:
            case bool():
                return Node("value", "truth", (tree.value,))
            case int() | float():
                return Node("value", "number", (float(tree.value),))
            case str():
                return Node("value", "text", (tree.value,))
        raise _error(tree, f"'{ast.unparse(tree)[:40]}' is no number, text, True or False; for missing use missing(…)")

    def _boolop(self, tree: ast.BoolOp, depth: int) -> Node:
        op = "and" if isinstance(tree.op, ast.And) else "or"
        return Node(op, "truth", tuple(self._of("truth", v, depth) for v in tree.values))

    def _unaryop(self, tree: ast.UnaryOp, depth: int) -> Node:
        if isinstance(tree.op, ast.Not):
            return Node("not", "truth", (self._of("truth", tree.operand, depth),))
        if isinstance(tree.op, ast.USub):
            return Node("negative", "number", (self._of("number", tree.operand, depth),))
        raise _error(tree, "only 'not' and '-' stand before a value")

    def _binop(self, tree: ast.BinOp, depth: int) -> Node:
        op = _ARITHMETIC.get(type(tree.op))
        if op is None:
            raise _error(tree, f"allowed between numbers are {' '.join(_ARITHMETIC.values())}")
        left, right = self.node(tree.left, depth), self.node(tree.right, depth)
        match left.kind, op, right.kind:
            case ("number", _, "number"):
                return Node(op, "number", (left, right))
            case ("date", "-", "date"):
                return Node(op, "number", (left, right))
            case ("date", "+" | "-", "number"):
                return Node(op, "date", (left, right))
        raise _error(tree, f"{_WORDS[left.kind]} {op} {_WORDS[right.kind]} has no meaning")

    def _compare(self, tree: ast.Compare, depth: int) -> Node:
        left_tree, steps = tree.left, []
        for operator, right_tree in zip(tree.ops, tree.comparators, strict=True):
            op = _COMPARISONS.get(type(operator))
            if op is None:
                raise _error(tree, "use == and !=, not 'is'; for missing use missing(…)")
            left = self.node(left_tree, depth)
            if op in ("in", "not in"):
                steps.append(Node(op, "truth", (left, self._values(left, right_tree, depth))))
            else:
                right = self.node(right_tree, depth)
                if left.kind != right.kind:
                    raise _error(right_tree, f"{_WORDS[left.kind]} cannot be compared with {_WORDS[right.kind]} ({op})")
                steps.append(Node(op, "truth", (left, right)))
            left_tree = right_tree
        return steps[0] if len(steps) == 1 else Node("and", "truth", tuple(steps))

    def _values(self, left: Node, tree: ast.expr, depth: int) -> tuple[Any, ...]:
        if not isinstance(tree, ast.Tuple | ast.List | ast.Set):
            raise _error(tree, "'in' needs values in brackets, for example ('a', 'b')")
        values = [self._of(left.kind, item, depth) for item in tree.elts]
        if not values or any(v.op != "value" for v in values):
            raise _error(tree, "'in' needs values in brackets, for example ('a', 'b')")
        return tuple(v.parts[0] for v in values)

    def _call(self, tree: ast.Call, depth: int) -> Node:
        name = tree.func.id if isinstance(tree.func, ast.Name) else ""
        if name not in _FUNCTIONS or tree.keywords:
            raise _error(tree, f"'{ast.unparse(tree.func)[:40]}' is no function; there are {', '.join(_FUNCTIONS)}")
        needed = {"today": 0, "matches": 2}.get(name, 1)
        if len(tree.args) != needed:
            raise _error(tree, f"{name} takes {needed} value{'' if needed == 1 else 's'}")
        if name == "today":
            return Node("today", "date")
        if name in ("len", "abs"):
            return Node(name, "number", (self._of("text" if name == "len" else "number", tree.args[0], depth),))
        found: Node = getattr(self, f"_{name}_of")(tree, depth)
        return found

    def _col_of(self, tree: ast.Call, _: int) -> Node:
        return self._column(tree, _text(tree.args[0], "col needs a column's name in quotes"))

    def _date_of(self, tree: ast.Call, _: int) -> Node:
        text = _text(tree.args[0], "date needs a date in quotes, such as '2026-03-01'")
        try:
            return Node("value", "date", (parse_date(text),))
        except ValueError:
            raise _error(tree.args[0], "is no ISO 8601 date such as '2026-03-01'") from None

    def _matches_of(self, tree: ast.Call, depth: int) -> Node:
        pattern = _text(tree.args[1], "matches needs a regular expression in quotes")
        if not _is_pattern(pattern):
            raise _error(tree.args[1], "is no regular expression that can be used (no look-around, no back-references)")
        return Node("matches", "truth", (self._of("text", tree.args[0], depth), pattern))

    def _missing_of(self, tree: ast.Call, depth: int) -> Node:
        column = self.node(tree.args[0], depth)
        if column.op != "column":
            raise _error(tree, "missing needs a column")
        return Node("missing", "truth", (column,))


def _is_pattern(pattern: str) -> bool:
    """Whether both Python and the linear-time engine that runs it (RE2's language) know this expression."""
    if re.search(r"\(\?(?:[=!]|<[=!]|P=|\()|\\[1-9]", pattern):
        return False
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError):
        return False
    return True


def _text(tree: ast.expr, needed: str) -> str:
    if isinstance(tree, ast.Constant) and isinstance(tree.value, str):
        return tree.value
    raise _error(tree, needed)


def _error(tree: ast.expr, message: str) -> ExpressionError:
    return ExpressionError(f"at character {tree.col_offset + 1}: {message}")
