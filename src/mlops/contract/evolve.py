"""What a contract would have to say for a file to keep it: changes that a person accepts or not."""

from __future__ import annotations

import difflib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from mlops.contract.infer import MAX_BYTES, infer
from mlops.contract.infer_column import SPOILED
from mlops.contract.model import Checks, Contract, Target
from mlops.contract.source import check
from mlops.contract.writing import dump
from mlops.data.outcome import Rejection
from mlops.data.validation import validate_file
from mlops.errors import ContractError
from mlops.features.spec import Feature

_Broken = Mapping[tuple[str | None, str], float]

Kind = Literal["added", "removed", "renamed", "type", "missing", "range", "categories", "classes", "ignored"]

#: What starts a new data set, because earlier rows lack what the new contract asks for.
BREAKING = ("added", "removed", "renamed", "type")


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between a contract and a file. ``message`` says it in words."""

    kind: Kind
    column: str
    message: str


@dataclass(frozen=True)
class Proposal:
    """A contract that the file keeps.

    Attributes
    ----------
    changes : in the order of the columns; empty when the file keeps the contract already.
    contract : the contract with all of them.
    breaking : whether a new data set begins with it.
    """

    changes: tuple[Change, ...]
    contract: Contract
    breaking: bool


def propose(contract: Contract, path: str | Path) -> Proposal:
    """What must change for the file to keep the contract; only rules that the file breaks are touched.

    Raises
    ------
    ContractError
        when the file cannot be read, or lacks the target, the key or the timestamp.
    """
    found = infer(
        path,
        contract.target.name,
        contract.name,
        task=contract.task,
        key=contract.key,
        timestamp=contract.timestamp,
        file=contract.file,
    )
    seen = {f.name: f for f in found.contract.features}
    columns = {*seen, *found.contract.ignore}
    kept = [tuple(f for f in part if f.name in columns) for part in (contract.features, contract.attributes)]
    broken = _broken(replace(contract, features=kept[0], attributes=kept[1]), Path(path))
    changes: list[Change] = []
    fresh = {n: f for n, f in seen.items() if n not in _named(contract) and n not in contract.ignore}
    features = [*_described(contract.features, fresh, seen, columns, broken, changes)]
    attributes = [*_described(contract.attributes, fresh, seen, columns, broken, changes)]
    lost = [c.column for c in changes if c.kind == "removed" and c.column in {a.name for a in contract.attributes}]
    suspects = tuple(fresh) if lost else ()
    for name in suspects:  # what a model may not see must not become a feature by getting another name
        del fresh[name]
        message = f"'{name}' is new, and may be '{lost[0]}', which the model may not see, by another name: ignored"
        changes.append(Change("ignored", name, message))
    changes += [Change("added", name, f"'{name}' is new: {feature.type}") for name, feature in fresh.items()]
    target = _target(contract.target, found.contract.target, broken, changes)
    new = [c for c in found.contract.ignore if c not in _named(contract) and c not in contract.ignore]
    changes += [Change("ignored", c, f"'{c}' is new: {found.columns.get(c, 'ignored')}") for c in new]
    proposed = replace(
        contract,
        features=(*features, *fresh.values()),
        attributes=tuple(attributes),
        target=target,
        ignore=(*contract.ignore, *suspects, *new),
    )
    wrong = check(proposed)
    if wrong:
        raise ContractError(f"no sound contract follows from the file: {'; '.join(wrong[:3])}")
    return Proposal(tuple(changes), proposed, any(c.kind in BREAKING for c in changes))


def _broken(contract: Contract, path: Path) -> dict[tuple[str | None, str], float]:
    """Share of rows by column and code of what they break."""
    lenient = replace(contract, checks=Checks(duplicates="allow", max_bytes=MAX_BYTES))
    with tempfile.TemporaryDirectory(prefix="propose-") as work:
        checked = validate_file(path, lenient, Path(work), keep=False)
    if isinstance(checked, Rejection):
        raise ContractError(checked.message, code=checked.code)
    return {(f.column, f.code): f.count / checked.read for f in checked.findings}


def written_diff(before: Contract, after: Contract) -> list[str]:
    """The difference of both contracts as they are written, line by line."""
    lines = difflib.unified_diff(dump(before).splitlines(), dump(after).splitlines(), "in force", "proposed", "", "", 1)
    return [line.rstrip("\n") for line in lines]


def _named(contract: Contract) -> set[str]:
    return {f.name for f in contract.described} | {contract.target.name, *contract.key, contract.timestamp or ""}


def _described(
    before: Sequence[Feature],
    fresh: dict[str, Feature],
    seen: Mapping[str, Feature],
    columns: set[str],
    broken: _Broken,
    changes: list[Change],
) -> Iterator[Feature]:
    """Features or attributes as the file has them; a new column that is one by another name leaves ``fresh``."""
    for feature in before:
        twin = None if feature.name in columns else _twin(feature, fresh)
        if twin:
            message = f"'{feature.name}' is gone and '{twin}' of the same type is new: taken for the same column"
            changes.append(Change("renamed", feature.name, message))
            yield replace(feature, name=twin, nullable=fresh.pop(twin).nullable or feature.nullable)
        elif feature.name in columns:
            yield _adapted(feature, seen.get(feature.name), broken, changes)
        else:
            changes.append(Change("removed", feature.name, f"'{feature.name}' is gone"))


def _twin(feature: Feature, fresh: Mapping[str, Feature]) -> str | None:
    """A new column that is likely the same one under another name."""
    close = difflib.get_close_matches(feature.name, fresh, n=1, cutoff=0.6)
    return next((name for name in close if fresh[name].type == feature.type), None)


def _adapted(old: Feature, new: Feature | None, broken: _Broken, changes: list[Change]) -> Feature:
    """The feature, as much wider as the file needs; ``new`` is what the file alone would make of it."""
    name, result = old.name, old
    spoiled = broken.get((name, "wrong_type"), 0.0) + broken.get((name, "bad_date"), 0.0)
    if new and new.type != old.type and spoiled > SPOILED:
        changes.append(Change("type", name, f"'{name}' is {new.type} in {spoiled:.0%} of the rows, not {old.type}"))
        nullable = old.nullable or new.nullable
        return replace(new, nullable=nullable, description=old.description, pii=old.pii, severity=old.severity)
    if (name, "missing_value") in broken:
        changes.append(
            Change("missing", name, f"'{name}' is missing in {broken[name, 'missing_value']:.2%} of the rows")
        )
        result = replace(result, nullable=True)
    if new and (name, "below_minimum") in broken and old.minimum is not None and new.minimum is not None:
        changes.append(Change("range", name, f"'{name}' goes below {old.minimum:g}; proposed is {new.minimum:g}"))
        result = replace(result, minimum=min(old.minimum, new.minimum))
    if new and (name, "above_maximum") in broken and old.maximum is not None and new.maximum is not None:
        changes.append(Change("range", name, f"'{name}' goes above {old.maximum:g}; proposed is {new.maximum:g}"))
        result = replace(result, maximum=max(old.maximum, new.maximum))
    if new and (name, "unknown_category") in broken:
        added = tuple(c for c in new.categories if c not in old.categories)
        if added:
            shown = "" if old.pii != "none" else ": " + ", ".join(added[:5]) + (", …" if len(added) > 5 else "")
            changes.append(Change("categories", name, f"'{name}' has {len(added)} new categories{shown}"))
            result = replace(result, categories=(*old.categories, *added))
    return result


def _target(old: Target, new: Target, broken: _Broken, changes: list[Change]) -> Target:
    added = tuple(c for c in new.classes if c not in old.classes)
    if (old.name, "unknown_class") not in broken or not added:
        return old
    changes.append(Change("classes", old.name, f"'{old.name}' has new classes: {', '.join(added[:10])}"))
    classes = (*old.classes, *added)
    return replace(old, classes=classes, positive=old.positive if len(classes) == 2 else None)
