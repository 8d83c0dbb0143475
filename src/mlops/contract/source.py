"""Contracts as people write them: YAML in, with every mistake named by line and field; commented YAML out.

For the command line and for tests. Functions read contracts from the registry, in their JSON form.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from mlops.contract.model import Contract
from mlops.contract.rules import Path as FieldPath
from mlops.contract.rules import broken_rules
from mlops.contract.schema import schema
from mlops.contract.writing import dump
from mlops.errors import ContractError

__all__ = ["InvalidContractError", "Problem", "check", "dump", "field_name", "load", "load_text", "schema"]

#: Fields whose scalars are text as written, so that ``no``, ``010`` or ``1.0`` stay what a file's cell says.
_TEXT_FIELDS = {
    ("name",),
    ("description",),
    ("target", "name"),
    ("target", "classes", "*"),
    ("target", "positive"),
    ("features", "*", "name"),
    ("features", "*", "categories", "*"),
    ("features", "*", "description"),
    ("attributes", "*", "name"),
    ("attributes", "*", "categories", "*"),
    ("attributes", "*", "description"),
    ("key", "*"),
    ("timestamp",),
    ("ignore", "*"),
    ("rules", "*", "expression"),
    ("rules", "*", "message"),
    ("file", "delimiter"),
    ("file", "encoding"),
    ("file", "decimal"),
    ("file", "missing", "*"),
    ("retrain", "quiet_hours"),
    ("training", "recipe"),
    ("gates", "fairness", "*", "attribute"),
    ("card", "owner"),
    ("card", "purpose"),
    ("card", "intended_uses"),
    ("card", "factors"),
    ("card", "risk_explanation"),
    ("card", "ethical_considerations"),
    ("card", "caveats"),
}

_INTEGER = re.compile(r"[-+]?[0-9]+")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NULL = {"", "~", "null", "Null", "NULL"}
_BOOLEAN = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_MAX_BYTES = 1_000_000
_MAX_NODES = 200_000  # aliases can unfold a small text into a huge document


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a contract. ``field`` such as ``features[2].minimum``; ``line`` and ``column`` count from 1."""

    line: int
    column: int
    field: str
    message: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.field}: {self.message}" if self.field else f"line {self.line}: {self.message}"


class InvalidContractError(ContractError):
    """A contract with mistakes; ``problems`` holds all of them in the order of their lines."""

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda p: (p.line, p.column, p.field)))
        count = "1 mistake" if len(self.problems) == 1 else f"{len(self.problems)} mistakes"
        super().__init__("\n".join([f"{source}: {count}", *(f"  {p}" for p in self.problems)]))


def load(source: str | Path) -> Contract:
    """Read a contract.

    Parameters
    ----------
    source : a path, or the YAML text itself (a ``str`` with a line break).

    Raises
    ------
    InvalidContractError
        with every mistake: line, field, what is wrong, what is allowed.
    ContractError
        when there is no such file, or it is too large or not text.
    """
    text, name = _read(source)
    return load_text(text, name)


def load_text(text: str, name: str = "contract") -> Contract:
    """Read a contract from YAML text; ``name`` is what messages call it."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        message = f"not valid YAML: {error.problem or error.context}"
        raise InvalidContractError(name, [Problem(line, column, "", message)]) from error
    except yaml.YAMLError as error:
        raise InvalidContractError(name, [Problem(1, 1, "", f"not valid YAML: {error}")]) from error
    if root is None:
        raise InvalidContractError(name, [Problem(1, 1, "", "the contract is empty")])
    document = _Document()
    data = document.value(root, ())
    if not isinstance(data, dict):
        raise InvalidContractError(name, [Problem(1, 1, "", "expected fields such as 'name:' at the top level")])
    problems = [*document.problems, *(document.at(path, message) for path, message in _schema_problems(data))]
    if not problems:
        contract = Contract.from_dict(_with_floats(data, schema()))
        problems = [document.at(path, message) for path, message in broken_rules(contract)]
        if not problems:
            return contract
    raise InvalidContractError(name, problems)


def check(contract: Contract) -> list[str]:
    """What is wrong with a contract that was built in code: ``field: message`` each; empty when it is sound."""
    found = [*_schema_problems(contract.to_dict()), *broken_rules(contract)]
    return [f"{field_name(path)}: {message}" for path, message in found]


def field_name(path: FieldPath) -> str:
    """``("features", 2, "minimum")`` as ``features[2].minimum``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else (f".{part}" if text else part)
    return text


def _read(source: str | Path) -> tuple[str, str]:
    if isinstance(source, str) and "\n" in source:
        return source, "contract"
    path = Path(source)
    try:
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise ContractError(f"{path.name}: {size} bytes is too large for a contract (at most {_MAX_BYTES})")
        return path.read_text(encoding="utf-8-sig"), path.name
    except FileNotFoundError:
        raise ContractError(f"{path}: no such file; 'mlops init FILE --target COLUMN' writes a contract") from None
    except IsADirectoryError:
        raise ContractError(f"{path}: is a folder; give the contract's YAML file") from None
    except UnicodeDecodeError:
        raise ContractError(f"{path.name}: not a text file in UTF-8") from None


class _Document:
    """Values of a YAML document by the rules of YAML 1.2, remembering where each one stands."""

    def __init__(self) -> None:
        self.marks: dict[FieldPath, yaml.Mark] = {}
        self.problems: list[Problem] = []
        self._nodes = 0

    def at(self, path: FieldPath, message: str) -> Problem:
        """A problem at a field, or at the nearest field around it that was written."""
        known = path
        while known and known not in self.marks:
            known = known[:-1]
        mark = self.marks[known]
        return Problem(mark.line + 1, mark.column + 1, field_name(path), message)

    def value(self, node: yaml.Node, path: FieldPath) -> Any:
        self.marks[path] = node.start_mark
        self._nodes += 1
        if self._nodes > _MAX_NODES:
            raise InvalidContractError("contract", [self.at(path, f"more than {_MAX_NODES} values; too large")])
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, i)) for i, item in enumerate(node.value)]
        if not isinstance(node, yaml.ScalarNode):  # pragma: no cover - YAML has no fourth kind of node
            raise TypeError(type(node).__name__)
        pattern = tuple("*" if isinstance(part, int) else part for part in path)
        return _scalar(node, text=pattern in _TEXT_FIELDS, item=bool(pattern) and pattern[-1] == "*")

    def _mapping(self, node: yaml.MappingNode, path: FieldPath) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else "(a list or mapping)"
            here = (*path, key)
            if key in result:
                message = f"is given twice (first in line {self.marks[here].line + 1})"
                mark = key_node.start_mark
                self.problems.append(Problem(mark.line + 1, mark.column + 1, field_name(here), message))
                continue
            result[key] = self.value(value_node, here)
            self.marks[here] = key_node.start_mark
        return result


def _scalar(node: yaml.ScalarNode, *, text: bool, item: bool) -> Any:
    value = str(node.value)
    quoted = node.style in ("'", '"', "|", ">")
    if not quoted and value in _NULL and not (text and item and value not in ("", "~")):
        return None
    if quoted or text:
        return value
    if _INTEGER.fullmatch(value):
        return int(value)
    return float(value) if _NUMBER.fullmatch(value) else _BOOLEAN.get(value, value)


# Mistakes that the schema sees ---------------------------------------------------------------------

_TYPE_WORDS = {
    "string": "text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "array": "a list",
    "object": "fields below it",
    "null": "null",
}


def _schema_problems(data: Mapping[str, Any]) -> Iterator[tuple[FieldPath, str]]:
    for error in Draft202012Validator(schema()).iter_errors(data):
        path = tuple(error.absolute_path)
        part: Any = error.schema
        if error.validator == "required":
            # One error for each missing name; its message is the only place that says which.
            for name in part["required"]:
                if str(error.message).startswith(f"'{name}' "):
                    yield (*path, name), f"is missing; {_description(part['properties'][name])}"
        elif error.validator == "additionalProperties":
            known = sorted(part["properties"])
            for name in error.instance:
                if name not in known:
                    yield (*path, name), f"unknown field{_suggestion(name, known)}; known are {', '.join(known)}"
        else:
            yield path, _explain(error)


def _explain(error: ValidationError) -> str:
    explain = _EXPLANATIONS.get(str(error.validator))
    return explain(error.instance, error.validator_value, error.schema) if explain else str(error.message)


def _of_type(value: Any, bound: Any, _: Any) -> str:
    kinds = [bound] if isinstance(bound, str) else list(bound)
    return f"expected {' or '.join(_TYPE_WORDS[k] for k in kinds)}, got {_show(value)}"


def _in_list(value: Any, bound: Any, _: Any) -> str:
    allowed = [v for v in bound if v is not None]
    words = ", ".join(str(v) for v in allowed)
    return f"{_show(value)} is not allowed{_suggestion(value, allowed)}; allowed are {words}"


def _twice(value: Any, _: Any, __: Any) -> str:
    return f"{_show(next(v for i, v in enumerate(value) if v in value[:i]))} is listed twice"


#: JSON Schema keyword -> message for (value, the keyword's value, the schema around it).
_EXPLANATIONS: Mapping[str, Callable[[Any, Any, Any], str]] = {
    "type": _of_type,
    "enum": _in_list,
    "uniqueItems": _twice,
    "pattern": lambda value, _, part: f"{_show(value)} has the wrong form; {_description(part)}",
    "minimum": lambda value, bound, _: f"{_show(value)} is too small; at least {bound:g}",
    "maximum": lambda value, bound, _: f"{_show(value)} is too large; at most {bound:g}",
    "exclusiveMinimum": lambda value, bound, _: f"{_show(value)} is too small; must be above {bound:g}",
    "exclusiveMaximum": lambda value, bound, _: f"{_show(value)} is too large; must be below {bound:g}",
    "minItems": lambda _, bound, __: f"needs at least {bound} {'entry' if bound == 1 else 'entries'}",
    "maxItems": lambda value, bound, _: f"has {len(value)} entries; at most {bound}",
    "minLength": lambda *_: "must not be empty",
    "maxLength": lambda value, bound, _: f"{_show(value)} is too long; at most {bound} character(s)",
}


def _show(value: object) -> str:
    if isinstance(value, dict | list):
        return "a list" if isinstance(value, list) else "fields"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return f"'{value}'" if isinstance(value, str) and len(value) <= 60 else text[:60]


def _suggestion(value: object, known: Sequence[object]) -> str:
    close = difflib.get_close_matches(str(value), [str(k) for k in known], n=1)
    return f" (did you mean '{close[0]}'?)" if close else ""


def _description(part: Mapping[str, Any]) -> str:
    text = str(part.get("description", "see the schema"))
    return (text[0].lower() + text[1:]).rstrip(".")


def _with_floats(value: Any, part: Mapping[str, Any]) -> Any:
    """``value`` with whole numbers as floats where the schema says number: 0 and 0.0 are one contract, one digest."""
    if isinstance(value, dict):
        known = part.get("properties", {})
        other = part.get("additionalProperties") or {}
        return {k: _with_floats(v, known.get(k, other)) for k, v in value.items()}
    if isinstance(value, list):
        return [_with_floats(v, part.get("items", {})) for v in value]
    kinds = part.get("type", ())
    numeric = kinds == "number" or (isinstance(kinds, list) and "number" in kinds)
    return float(value) if numeric and isinstance(value, int) and not isinstance(value, bool) else value
