"""Reads a CloudFormation or SAM template as the resources that a deployment with given parameters would make.

Covers what prices depend on: parameters with defaults, conditions, ``Fn::If`` and ``Ref`` to parameters, SAM's
``Globals``. A value that is only known after a deployment (an ARN, an attribute) stays an :class:`Opaque`.
Source: AWS CloudFormation User Guide, "Intrinsic function reference" and "Condition functions".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlops.errors import MlopsError

_NO_VALUE = "AWS::NoValue"


@dataclass(frozen=True, slots=True)
class Opaque:
    """A value that only a deployment gives; ``text`` names it."""

    text: str


@dataclass(frozen=True)
class Resource:
    """A resource that would exist, its properties resolved as far as they can be."""

    name: str
    kind: str
    properties: Mapping[str, Any]


@dataclass(frozen=True)
class Template:
    """Resources under the conditions that hold, in the order of the template."""

    resources: tuple[Resource, ...]
    parameters: Mapping[str, Any]

    def of(self, kind: str) -> list[Resource]:
        return [r for r in self.resources if r.kind == kind]


def evaluate(document: Any, parameters: Mapping[str, Any]) -> Template:
    """The resources of a parsed template.

    Raises
    ------
    MlopsError
        for something that is no template, a parameter that it does not have or that has no default.
    """
    if not isinstance(document, dict) or not isinstance(document.get("Resources"), dict):
        raise MlopsError("a template needs a mapping 'Resources'", code="invalid_template")
    return _Evaluation(document, parameters).template()


class _Evaluation:
    def __init__(self, document: Mapping[str, Any], given: Mapping[str, Any]) -> None:
        declared: Mapping[str, Any] = document.get("Parameters") or {}
        unknown = sorted(set(given) - set(declared))
        if unknown:
            raise MlopsError(f"the template has no parameter '{unknown[0]}'", code="invalid_parameter")
        self._parameters: dict[str, Any] = {}
        for name, declaration in declared.items():
            if name in given:
                self._parameters[name] = given[name]
            elif "Default" in declaration:
                self._parameters[name] = declaration["Default"]
            else:
                raise MlopsError(f"parameter '{name}' has no default: give it a value", code="invalid_parameter")
        self._conditions: Mapping[str, Any] = document.get("Conditions") or {}
        self._mappings: Mapping[str, Any] = document.get("Mappings") or {}
        self._globals: Mapping[str, Any] = document.get("Globals") or {}
        self._document = document
        self._open: set[str] = set()

    def template(self) -> Template:
        found = []
        for name, body in self._document["Resources"].items():
            if not isinstance(body, dict) or not isinstance(body.get("Type"), str):
                raise MlopsError(f"resource '{name}' has no Type", code="invalid_template")
            if "Condition" in body and not self._condition(body["Condition"]):
                continue
            kind = body["Type"]
            shared = self._globals.get(kind.removeprefix("AWS::Serverless::")) or {}
            properties = self._resolve(_merge(shared, body.get("Properties") or {}))
            found.append(Resource(name, kind, properties))
        return Template(tuple(found), dict(self._parameters))

    def _condition(self, name: str) -> bool:
        if name not in self._conditions:
            raise MlopsError(f"the template has no condition '{name}'", code="invalid_template")
        if name in self._open:
            raise MlopsError(f"condition '{name}' depends on itself", code="invalid_template")
        self._open.add(name)
        result = self._resolve(self._conditions[name])
        self._open.discard(name)
        return _truth(result, f"condition '{name}'")

    def _resolve(self, value: Any) -> Any:
        if isinstance(value, list):
            return [v for v in (self._resolve(item) for item in value) if v is not _ABSENT]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((key, argument),) = value.items()
            if key == "Condition" and isinstance(argument, str):
                return self._condition(argument)
            if key == "Ref" or key.startswith("Fn::"):
                return self._call(key.removeprefix("Fn::"), argument)
        resolved = {k: self._resolve(v) for k, v in value.items()}
        return {k: v for k, v in resolved.items() if v is not _ABSENT}

    def _call(self, function: str, argument: Any) -> Any:
        if function in ("Equals", "And", "Or", "Not"):
            return self._logic(function, [self._resolve(a) for a in argument])
        known = {"Ref": self._ref, "If": self._if, "FindInMap": self._find, "Sub": self._substitute}
        return known[function](argument) if function in known else Opaque(function)

    def _ref(self, name: Any) -> Any:
        return _ABSENT if name == _NO_VALUE else self._parameters.get(name, Opaque(str(name)))

    def _if(self, argument: Any) -> Any:
        name, yes, no = argument
        return self._resolve(yes if self._condition(name) else no)

    def _find(self, argument: Any) -> Any:
        keys = [str(self._resolve(a)) for a in argument[:3]]
        found = self._mappings.get(keys[0], {}).get(keys[1], {})
        return found.get(keys[2], Opaque(f"FindInMap {' '.join(keys)}"))

    def _logic(self, function: str, values: list[Any]) -> bool:
        if function == "Equals":
            left, right = values
            return _text(left) == _text(right)
        truths = [_truth(v, function) for v in values]
        if function == "Not":
            return not truths[0]
        return all(truths) if function == "And" else any(truths)

    def _substitute(self, text: Any) -> Any:
        if not isinstance(text, str):  # the form with a mapping of its own
            return Opaque("Sub")
        missing = False

        def replace(match: re.Match[str]) -> str:
            nonlocal missing
            name = match[1]
            if name in self._parameters:
                return str(self._parameters[name])
            missing = True
            return match[0]

        result = re.sub(r"\$\{([^!}][^}]*)\}", replace, text)
        return Opaque(result) if missing else result


class _Absent:
    """``AWS::NoValue``: the property is as if it were not there."""


_ABSENT = _Absent()


def _merge(shared: Any, own: Any) -> Any:
    """SAM's merge of Globals: mappings merge, lists add up, the resource's own value wins."""
    if isinstance(shared, dict) and isinstance(own, dict) and not _is_call(shared) and not _is_call(own):
        return {k: _merge(shared[k], own[k]) if k in shared and k in own else shared.get(k, own.get(k))
                for k in [*shared, *(k for k in own if k not in shared)]}  # fmt: skip
    if isinstance(shared, list) and isinstance(own, list):
        return [*shared, *own]
    return own


def _is_call(value: Mapping[str, Any]) -> bool:
    return len(value) == 1 and next(iter(value)).startswith(("Fn::", "Ref"))


def _truth(value: Any, what: str) -> bool:
    if isinstance(value, bool):
        return value
    raise MlopsError(f"{what} is not true or false", code="invalid_template")


def _text(value: Any) -> str:
    # CloudFormation compares texts: 0 equals "0", true equals "true".
    return str(value).lower() if isinstance(value, bool) else str(value)
