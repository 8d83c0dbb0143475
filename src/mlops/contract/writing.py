"""Contracts as YAML that a person likes to edit: comments say what a field means, defaults are left out."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from mlops.contract.model import Contract
from mlops.contract.schema import schema

#: Where editors find the schema, relative to ``models/<name>.yaml`` in a clone of the repository.
SCHEMA_REFERENCE = "../src/mlops/contract/schema.json"

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./+-]*( [A-Za-z0-9_./+-]+)*")
_WORDS = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}
_LINE = 110
_SECTIONS = (
    "file", "checks", "training", "decision", "gates", "drift", "quality", "retrain", "release", "retention",
    "capture", "card",
)  # fmt: skip
_HINTS = {
    "training": ("time_budget_seconds", "split"),
    "gates": ("minimum", "margin", "approval"),
    "drift": ("threshold", "feature_share"),
    "retrain": ("on_drift", "on_new_rows", "quiet_hours"),
    "release": ("steps", "min_requests"),
}
_EXAMPLES: Mapping[tuple[str, str], str] = {
    ("retrain", "on_new_rows"): "1000",
    ("retrain", "quiet_hours"): "22-06",
    ("training", "split"): "time",
}


def dump(contract: Contract, notes: Mapping[str, str] | None = None, schema_reference: str = SCHEMA_REFERENCE) -> str:
    """A contract as commented YAML; :func:`mlops.contract.source.load` reads the same contract back.

    Parameters
    ----------
    notes : column name -> remark that is written as a comment beside it (guesses of ``mlops init``).
    schema_reference : path or URL of the schema for editors.
    """
    remarks = notes or {}
    lines = [
        f"# yaml-language-server: $schema={schema_reference}",
        "# The contract of one model. Fields that are left out have the defaults of the schema.",
        f"name: {text(contract.name)}",
    ]
    if contract.description:
        lines.append(f"description: {text(contract.description)}")
    lines += [f"task: {contract.task}", "", "target:", *_target(contract), "", "features:"]
    for feature in contract.features:
        lines += _item(feature.to_dict(), remarks.get(feature.name))
    if contract.attributes:
        lines += ["", "attributes:  # never seen by the model, which is judged by them"]
        for attribute in contract.attributes:
            lines += _item(attribute.to_dict(), remarks.get(attribute.name))
    for name, comment in (("key", "identifies an entity; never a feature"), ("ignore", "not used")):
        columns = getattr(contract, name)
        if columns:
            lines += ["", f"{name}:  # {comment}"]
            lines += [f"  - {text(c)}{_comment(remarks.get(c))}" for c in columns]
    if contract.timestamp:
        lines += ["", f"timestamp: {text(contract.timestamp)}{_comment(remarks.get(contract.timestamp))}"]
    if contract.rules:
        lines += ["", "rules:  # true for a sound row"]
        lines += [line for rule in contract.to_dict()["rules"] for line in _rule(rule)]
    for section in _SECTIONS:
        lines += _section(contract, section)
    return "\n".join(lines) + "\n"


def text(value: str) -> str:
    """A text as a YAML scalar, quoted when it could be read as something else."""
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return json.dumps(value, ensure_ascii=False)


def scalar(value: Any) -> str:
    """Any JSON value in YAML flow style."""
    if isinstance(value, str):
        return text(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{text(str(k))}: {scalar(v)}" for k, v in value.items()) + "}"
    if isinstance(value, Sequence):
        return "[" + ", ".join(scalar(v) for v in value) + "]"
    if isinstance(value, float) and value == int(value) and abs(value) < 1e15 and repr(value) != "-0.0":
        return str(int(value))
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value)


def _comment(note: str | None) -> str:
    return f"  # {' '.join(note.split())}" if note else ""


def _target(contract: Contract) -> list[str]:
    target = contract.target
    lines = [f"  name: {text(target.name)}"]
    if target.classes:
        lines += _list("  classes: ", target.classes)
    if target.positive is not None:
        lines.append(f"  positive: {text(target.positive)}  # metrics and the threshold speak of this class")
    for bound in ("minimum", "maximum"):
        value = getattr(target, bound)
        if value is not None:
            lines.append(f"  {bound}: {scalar(value)}")
    return lines


def _item(feature: Mapping[str, Any], note: str | None) -> list[str]:
    """One feature: a single line where it fits, else a block."""
    flow = "  - " + scalar(feature)
    if len(flow) <= _LINE:
        return [flow + _comment(note)]
    lines = [f"  - name: {text(feature['name'])}{_comment(note)}"]
    for name, value in feature.items():
        if name == "categories":
            lines += _list("    categories: ", value)
        elif name != "name":
            lines.append(f"    {name}: {scalar(value)}")
    return lines


def _rule(rule: Mapping[str, Any]) -> list[str]:
    defaults = {"severity": "quarantine", "max_share": 0.0, "message": ""}
    told = {k: v for k, v in rule.items() if v != defaults.get(k)}
    return [f"  {'-' if i == 0 else ' '} {k}: {scalar(v)}" for i, (k, v) in enumerate(told.items())]


def _list(prefix: str, values: Sequence[str]) -> list[str]:
    """A flow list, broken into lines of readable length."""
    indent = " " * (len(prefix) - len(prefix.lstrip()) + 2)
    lines, current = [], prefix + "["
    for i, value in enumerate(values):
        piece = text(value) + ("]" if i == len(values) - 1 else ", ")
        if len(current) + len(piece) > _LINE and current.strip():
            lines.append(current.rstrip())
            current = indent
        current += piece
    return [*lines, current if values else current + "]"]


def _section(contract: Contract, name: str) -> list[str]:
    """A section's values that differ from the defaults; where none does, some fields as commented hints."""
    parts = schema()["properties"][name]["properties"]
    values = contract.to_dict()[name]
    changed = {k: v for k, v in values.items() if v != parts[k].get("default")}
    if changed:
        return ["", f"{name}:", *(f"  {k}: {scalar(v)}" for k, v in changed.items())]
    hints = _HINTS.get(name, ())
    if not hints:
        return []
    lines = ["", f"# {name}:  # {_first_sentence(schema()['properties'][name])}"]
    for field in hints:
        value = _EXAMPLES.get((name, field)) or scalar(parts[field].get("default"))
        lines.append(f"#   {field}: {value}  # {_first_sentence(parts[field])}")
    return lines


def _first_sentence(part: Mapping[str, Any]) -> str:
    return str(part["description"]).split(". ")[0].split(", for example")[0].split("; ")[0].rstrip(".")
