"""Aliases and tags in the registry's table. Layout and access patterns: docs/registry.md.

A version's item holds its aliases and tags too, so that one query of a model's versions has all that a search looks at.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import asdict
from typing import Any

from mlops.aws.dynamo import ConditionFailedError, Item, Table
from mlops.errors import ConflictError
from mlops.registry.entities import Alias, ModelVersion, Tagging

#: The condition of a version that no alias names; ``:bare`` is the empty text.
BARE = "(attribute_not_exists(#aliases) OR #aliases = :bare)"

_ABSENT = "attribute_not_exists(pk)"
_TAGS = "TAGS"


def model_key(model: str) -> str:
    """The partition of a model."""
    return f"MODEL#{model}"


def _version_key(version: str) -> str:
    return f"VERSION#{version}"


class Names(ABC):
    """The part of the registry that holds what people call versions."""

    _table: Table

    @abstractmethod
    def version(self, model: str, version: str) -> ModelVersion | None:
        """One version of a model."""

    def alias(self, model: str, name: str) -> Alias | None:
        """What is known of a name, also of one that was taken away."""
        item = self._table.get(model_key(model), f"ALIAS#{name}")
        return _alias(model, item) if item else None

    def aliases(self, model: str) -> list[Alias]:
        """Every name that was ever given to a version of ``model``, in order."""
        return [_alias(model, item) for item in self._table.query(model_key(model), "ALIAS#")]

    def put_alias(self, alias: Alias, before: Alias | None) -> None:
        """Let a name mean another version, or none, if it still is what was read; else ConflictError."""
        key = model_key(alias.model)
        item: Item = {"pk": key, "sk": f"ALIAS#{alias.name}", **asdict(alias)}
        condition, values = (_ABSENT, {}) if before is None else ("#time = :time", {":time": before.time})
        writes = [self._table.put(item, condition, values)]
        left = before.version if before else None
        for version, named in ((left, False), (alias.version, True)):
            if version is not None and alias.version != left:
                writes.append(self._rename(alias, version, named))
        try:
            self._table.write(*writes)
        except ConditionFailedError as error:
            raise ConflictError(
                f"the alias '{alias.name}' of {alias.model}, or a version that it names, was changed by somebody else "
                "at this moment; look again"
            ) from error

    def _rename(self, alias: Alias, version: str, named: bool) -> Item:
        """A version's item learns that it has a name, or has it no more."""
        found = self.version(alias.model, version)
        if found is None or (named and found.state == "retired"):
            state = found.state if found else "not registered"
            raise ConflictError(f"{alias.model}/{version} is {state}: it cannot have an alias")
        names = {*found.aliases, alias.name} if named else {*found.aliases} - {alias.name}
        condition, values = _unchanged("aliases", " ".join(found.aliases))
        if named:
            condition, values = f"{condition} AND #state <> :retired", {**values, ":retired": "retired"}
        changes = {"aliases": " ".join(sorted(names))}
        return self._table.update(model_key(alias.model), _version_key(version), changes, condition, values)

    def tagging(self, model: str, version: str | None) -> Tagging | None:
        """The tags of a version, or of the model (None); None when it never had any."""
        item = self._table.get(model_key(model), _version_key(version) if version else _TAGS)
        if item is None or "tagged" not in item:
            return None
        changed = json.loads(item["tagged"])
        return Tagging(model, version, json.loads(item["tags"]), **{**changed, "removed": tuple(changed["removed"])})

    def put_tags(self, tagging: Tagging, before: Tagging | None) -> None:
        """Change tags if they are what was read; else ConflictError, also when there is no such version."""
        changed = {name: getattr(tagging, name) for name in ("given", "removed", "actor", "reason", "time")}
        values = {"tags": _text(dict(tagging.tags)), "tagged": _text(changed)}
        key = model_key(tagging.model)
        condition, given = _unchanged("tagged", _tagged(before))
        if tagging.version is None:
            write = self._table.put({"pk": key, "sk": _TAGS, **values}, condition, given)
        else:
            condition = f"attribute_exists(pk) AND {condition}"
            write = self._table.update(key, _version_key(tagging.version), values, condition, given)
        try:
            self._table.write(write)
        except ConditionFailedError as error:
            of = f"{tagging.model}/{tagging.version}" if tagging.version else tagging.model
            raise ConflictError(f"the tags of {of} were changed by somebody else at this moment; look again") from error


def _alias(model: str, item: Item) -> Alias:
    return Alias(
        model, item["name"], item.get("version"), item.get("previous"), item["actor"], item["reason"], item["time"]
    )


def _tagged(before: Tagging | None) -> str:
    if before is None:
        return ""
    return _text({name: getattr(before, name) for name in ("given", "removed", "actor", "reason", "time")})


def _unchanged(attribute: str, value: str) -> tuple[str, dict[str, Any]]:
    """The condition that an attribute still is ``value``; where that is empty, also that there is none."""
    values = {f":{attribute}": value}
    if value:
        return f"#{attribute} = :{attribute}", values
    return f"(attribute_not_exists(#{attribute}) OR #{attribute} = :{attribute})", values


def _text(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
