"""The registry in DynamoDB. Layout and access patterns: docs/registry.md."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from typing import Any

from mlops.aws.dynamo import ConditionFailedError, Item, Table
from mlops.aws.names import BARE, Names, model_key
from mlops.contract import Contract
from mlops.errors import ConflictError
from mlops.registry.entities import TRANSITIONS, DatasetVersion, Lock, ModelVersion, Record, State

_ABSENT = "attribute_not_exists(pk)"
#: States of which a model has at most one version; a pointer item per state enforces it.
_SINGLE: tuple[State, ...] = ("champion", "challenger")
_LOCK_RETENTION = 86_400  # seconds after its end that DynamoDB may remove a lock


class DynamoRegistry(Names):
    """One stack's registry (:class:`mlops.registry.ports.Registry`)."""

    def __init__(
        self, table: str, dynamodb: Any = None, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._table = Table(table, dynamodb)
        self._clock = clock

    # Contracts ----------------------------------------------------------------------------------

    def models(self) -> list[str]:
        """Names of all models with a contract, sorted."""
        return [item["sk"] for item in self._table.query("MODELS", "")]

    def contract(self, model: str) -> Contract | None:
        item = self._table.get(model_key(model), "CONTRACT")
        return Contract.from_dict(json.loads(item["body"])) if item else None

    def put_contract(self, contract: Contract) -> bool:
        """Make it the contract in force; False when it already was. Earlier ones stay, by digest."""
        digest, body = contract.digest(), json.dumps(contract.to_dict(), ensure_ascii=False)
        key = model_key(contract.name)
        item: Item = {"digest": digest, "body": body, "updated_at": self._now()}
        changed = f"{_ABSENT} OR #digest <> :digest"
        try:
            self._table.write(
                self._table.put({"pk": key, "sk": "CONTRACT", **item}, changed, {":digest": digest}),
                self._table.put({"pk": key, "sk": f"CONTRACT#{digest}", **item}),
                self._table.put({"pk": "MODELS", "sk": contract.name}),
            )
        except ConditionFailedError:
            return False
        return True

    # Data sets ----------------------------------------------------------------------------------

    def current_dataset(self, model: str) -> DatasetVersion | None:
        item = self._table.get(model_key(model), "DATASET")
        return _dataset(item) if item else None

    def advance_dataset(self, new: DatasetVersion, expected: str | None) -> None:
        """Make ``new`` current if ``expected`` (None: no data set yet) still is; else ConflictError."""
        key = model_key(new.model)
        item: Item = {"version": new.version, "body": json.dumps(asdict(new), ensure_ascii=False)}
        condition, values = (_ABSENT, {}) if expected is None else ("#version = :expected", {":expected": expected})
        try:
            self._table.write(
                self._table.put({"pk": key, "sk": "DATASET", **item}, condition, values),
                self._table.put({"pk": key, "sk": f"DATASET#{new.version}", **item}),
            )
        except ConditionFailedError as error:
            raise ConflictError(f"the current data set of {new.model} changed; read it again and retry") from error

    # Versions -----------------------------------------------------------------------------------

    def put_version(self, version: ModelVersion) -> bool:
        """Add a version. False, and no change, when it is registered already."""
        apart = (*_VERSION_COLUMNS, *_NAMES)
        body = {f.name: getattr(version, f.name) for f in fields(version) if f.name not in apart}
        body["metrics"] = dict(version.metrics)
        key = model_key(version.model)
        item: Item = {
            "pk": key,
            "sk": f"VERSION#{version.version}",
            "body": json.dumps(body, ensure_ascii=False, sort_keys=True),
            **{name: getattr(version, name) for name in _VERSION_COLUMNS},
        }
        writes = [self._table.put(item, _ABSENT)]
        if version.state in _SINGLE:
            writes.append(self._point(key, version.state, version.version))
        try:
            self._table.write(*writes)
        except ConditionFailedError as error:
            if 0 in error.failed:
                return False
            raise ConflictError(f"{version.model} has a {version.state} already") from error
        return True

    def version(self, model: str, version: str) -> ModelVersion | None:
        item = self._table.get(model_key(model), f"VERSION#{version}")
        return _version(item) if item else None

    def versions(self, model: str) -> list[ModelVersion]:
        """All versions, newest first."""
        found = [_version(item) for item in self._table.query(model_key(model), "VERSION#")]
        return sorted(found, key=lambda v: (v.created_at, v.version), reverse=True)

    def in_state(self, model: str, state: State) -> ModelVersion | None:
        """The newest version in a state; there is at most one champion and one challenger."""
        if state in _SINGLE:
            pointer = self._table.get(model_key(model), f"STATE#{state}")
            return self.version(model, pointer["version"]) if pointer else None
        return next((v for v in self.versions(model) if v.state == state), None)

    def move(self, model: str, version: str, source: Sequence[State], target: State, reason: str) -> ModelVersion:
        """Change a version's state if it is in one of ``source``; else ConflictError."""
        current = self._in(model, version, source)
        moved = replace(current, state=target, reason=reason, updated_at=self._now())
        self._change(model, [(current, moved)])
        return moved

    def promote(self, model: str, version: str, previous: str | None, reason: str) -> ModelVersion:
        """In one step: ``previous`` (None: there is none) champion -> archived, ``version`` -> champion."""
        current = self.version(model, version)
        if current and current.state == "champion":
            return current
        current = self._in(model, version, ("candidate", "challenger", "archived"))
        now = self._now()
        moved = replace(current, state="champion", reason=reason, updated_at=now)
        changes = [(current, moved)]
        if previous is not None:
            old = self._in(model, previous, ("champion",))
            changes.append((old, replace(old, state="archived", reason=f"replaced by {version}", updated_at=now)))
        self._change(model, changes)
        return moved

    def _in(self, model: str, version: str, source: Sequence[State]) -> ModelVersion:
        current = self.version(model, version)
        if current is None or current.state not in source:
            state = current.state if current else "not registered"
            raise ConflictError(f"{model}/{version} is {state}, not {' or '.join(source)}")
        return current

    def _change(self, model: str, changes: Sequence[tuple[ModelVersion, ModelVersion]]) -> None:
        """Several versions of one model change state together. Pointers follow, one write for each."""
        key = model_key(model)
        writes: list[Item] = []
        given: dict[State, str] = {}
        taken: dict[State, str] = {}
        for old, new in changes:
            if new.state not in TRANSITIONS[old.state]:
                raise ConflictError(f"{model}/{old.version} cannot go from {old.state} to {new.state}")
            values = {"state": new.state, "reason": new.reason, "updated_at": new.updated_at}
            sort_key = f"VERSION#{old.version}"
            condition: str = "#state = :old"
            held: Item = {":old": old.state}
            if new.state == "retired":  # what somebody calls by a name is in use
                condition, held = f"{condition} AND {BARE}", {**held, ":bare": ""}
            writes.append(self._table.update(key, sort_key, values, condition, held))
            if new.state in _SINGLE:
                given[new.state] = new.version
            if old.state in _SINGLE:
                taken[old.state] = old.version
        for state, version in given.items():
            writes.append(self._point(key, state, version, taken.pop(state, None)))
        for state, version in taken.items():
            writes.append(self._table.delete(key, f"STATE#{state}", "#version = :version", {":version": version}))
        try:
            self._table.write(*writes)
        except ConditionFailedError as error:
            names = ", ".join(f"{new.version} to {new.state}" for _, new in changes)
            raise ConflictError(f"{model}: somebody else changed a version first; not moved: {names}") from error

    def _point(self, key: str, state: State, version: str, instead_of: str | None = None) -> Item:
        item = {"pk": key, "sk": f"STATE#{state}", "version": version}
        if instead_of is None:
            return self._table.put(item, _ABSENT)
        return self._table.put(item, "#version = :version", {":version": instead_of})

    # Locks --------------------------------------------------------------------------------------

    def acquire(self, model: str, purpose: str, owner: str, seconds: int) -> bool:
        """Take the lock ``purpose`` for ``seconds``. True when ``owner`` holds it now (again)."""
        now = self._clock().timestamp()
        item: Item = {
            "pk": model_key(model),
            "sk": f"LOCK#{purpose}",
            "owner": owner,
            "until": round((now + seconds) * 1000),
            "expires": round(now + seconds) + _LOCK_RETENTION,
        }
        condition = f"{_ABSENT} OR #owner = :owner OR #until <= :now"
        try:
            self._table.write(self._table.put(item, condition, {":owner": owner, ":now": round(now * 1000)}))
        except ConditionFailedError:
            return False
        return True

    def let_go(self, model: str, purpose: str, owner: str) -> None:
        """Free a lock; nothing happens when ``owner`` does not hold it."""
        try:
            self._table.write(
                self._table.delete(model_key(model), f"LOCK#{purpose}", "#owner = :owner", {":owner": owner})
            )
        except ConditionFailedError:
            return

    def holder(self, model: str, purpose: str) -> str | None:
        item = self._table.get(model_key(model), f"LOCK#{purpose}")
        return str(item["owner"]) if item and item["until"] > self._clock().timestamp() * 1000 else None

    def locks(self, model: str) -> list[Lock]:
        """The locks of a model (``*``: of the stack) that are held now, by purpose."""
        now = self._clock().timestamp() * 1000
        return [
            Lock(model, item["sk"].removeprefix("LOCK#"), item["owner"], _iso(item["until"]))
            for item in self._table.query(model_key(model), "LOCK#")
            if item["until"] > now
        ]

    # Records ------------------------------------------------------------------------------------

    def put_record(self, record: Record) -> bool:
        """Keep a record. False, and no change, when its id exists for that model and kind."""
        key = model_key(record.model)
        sort_key = f"RECORD#{record.kind}#{_sortable(record.time)}#{record.id}"
        body = json.dumps(dict(record.body), ensure_ascii=False, sort_keys=True)
        try:
            self._table.write(
                self._table.put({"pk": key, "sk": f"RECORDID#{record.kind}#{record.id}", "record": sort_key}, _ABSENT),
                self._table.put(
                    {"pk": key, "sk": sort_key, "kind": record.kind, "id": record.id, "time": record.time, "body": body}
                ),
            )
        except ConditionFailedError:
            return False
        return True

    def record(self, model: str, kind: str, record_id: str) -> Record | None:
        """One record by its id."""
        marker = self._table.get(model_key(model), f"RECORDID#{kind}#{record_id}")
        item = self._table.get(model_key(model), marker["record"]) if marker else None
        return _record(model, item) if item else None

    def records(self, model: str, kind: str, limit: int = 50) -> list[Record]:
        """Newest first."""
        found = self._table.query(model_key(model), f"RECORD#{kind}#", newest_first=True, limit=limit)
        return [_record(model, item) for item in found]

    def _now(self) -> str:
        return self._clock().isoformat()


_VERSION_COLUMNS = ("model", "version", "state", "created_at", "reason", "updated_at")
_NAMES = ("aliases", "tags")


def _version(item: Item) -> ModelVersion:
    return ModelVersion(
        **{name: item[name] for name in _VERSION_COLUMNS},
        **json.loads(item["body"]),
        aliases=tuple(item.get("aliases", "").split()),
        tags=json.loads(item.get("tags", "{}")),
    )


def _record(model: str, item: Item) -> Record:
    return Record(model, item["kind"], item["id"], item["time"], json.loads(item["body"]))


def _dataset(item: Item) -> DatasetVersion:
    values = json.loads(item["body"])
    return DatasetVersion(**{**values, "parts": tuple(values["parts"])})


def _iso(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC).isoformat()


def _sortable(time: str) -> str:
    """An ISO 8601 time as UTC with microseconds: texts of equal form sort by time."""
    moment = datetime.fromisoformat(time)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
