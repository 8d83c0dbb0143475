"""Does everything that says what serves say the same? :func:`examine` looks, :func:`diagnose` finds what disagrees and
explains it, :class:`Treatment` repairs.

Registry, alias, ``$LATEST``, parameters, layers, records and ledger are kept in step by releases, which complete each
other after a crash. What can still pull them apart: a machine that was aborted from outside and never ran again, a
deployment that failed after it had moved the alias, a layer or a parameter changed by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from mlops.errors import MlopsError, NotFoundError
from mlops.objects import ObjectStore, version_prefix
from mlops.registry import chain
from mlops.registry.entities import LedgerDraft, LedgerEntry, Lock, ModelVersion, Record
from mlops.registry.history import champion_of
from mlops.registry.ports import Ledger, Registry
from mlops.release.modelset import FILES, ModelSet, Pair, damage
from mlops.release.ports import LATEST, Serving, Snapshot
from mlops.release.state import LOCK, STACK

#: What can be done about a finding; "" when a person must decide.
Repair = Literal["", "free_lock", "end_release", "refresh", "write_record", "write_ledger"]

#: Is this execution under way? Asked with the lock's purpose and owner; None when there is no such execution.
Running = Callable[[str, str], bool | None]


@dataclass(frozen=True)
class LockSeen:
    """A held lock. ``running``: as :data:`Running` answered."""

    lock: Lock
    running: bool | None


@dataclass(frozen=True)
class ModelSeen:
    """One model as registry, records, ledger and artifacts know it.

    Attributes
    ----------
    champion, challenger : what the registry's pointers name.
    states : of every version.
    recorded : champion by the newest record of serving. written : champion by the ledger.
    damaged : version to what is wrong with its files, for versions that serve or may have to.
    """

    name: str
    champion: ModelVersion | None
    challenger: ModelVersion | None
    states: Mapping[str, str] = field(default_factory=dict)
    recorded: str | None = None
    written: str | None = None
    damaged: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Seen:
    """A stack at one moment. ``others``: versions that get a share of the alias's calls beside ``live``. ``layers``:
    model-set layer versions that exist, ARN to digest."""

    models: tuple[ModelSeen, ...]
    locks: tuple[LockSeen, ...]
    live: Snapshot
    others: tuple[str, ...]
    latest: Snapshot
    remembered: tuple[str, Mapping[str, Any]]
    layers: Mapping[str, str]
    ledger: chain.Verification

    @property
    def at_work(self) -> str | None:
        """Who changes what serves at this moment: a release, or a person's rollback or refresh."""
        for seen in self.locks:
            if (seen.lock.model, seen.lock.purpose) == (STACK, LOCK) and seen.running is not False:
                return seen.lock.owner
        return None


@dataclass(frozen=True)
class Finding:
    """One disagreement: where, what it means, and what can be done about it."""

    code: str
    subject: str
    explanation: str
    repair: Repair = ""
    details: Mapping[str, Any] = field(default_factory=dict)


# Looking ----------------------------------------------------------------------------------------


def examine(registry: Registry, ledger: Ledger, serving: Serving, artifacts: ObjectStore, running: Running) -> Seen:
    """Look at everything once. Reads only."""
    head = ledger.head()  # first: what is appended meanwhile is no problem
    entries = list(ledger.entries())
    written = champions_by_ledger(entries)
    names = registry.models()
    locks = [lock for name in (*names, STACK) for lock in registry.locks(name)]
    latest = serving.published(LATEST)
    if latest is None:
        raise NotFoundError("the serving function does not exist; deploy the stack again")
    live = serving.live()
    return Seen(
        models=tuple(_look(registry, artifacts, name, written.get(name)) for name in names),
        locks=tuple(LockSeen(lock, running(lock.purpose, lock.owner)) for lock in locks),
        live=live.snapshot,
        others=live.others,
        latest=latest,
        remembered=serving.remembered(),
        layers=serving.layers(),
        ledger=chain.verify(entries, head),
    )


def champions_by_ledger(entries: Sequence[LedgerEntry]) -> dict[str, str]:
    """The champion of every model as the ledger tells it."""
    found: dict[str, str] = {}
    for entry in entries:
        champion = champion_of(entry)
        if champion is not None:
            found[entry.subject.split("/")[1]] = champion
    return found


def _look(registry: Registry, artifacts: ObjectStore, model: str, written: str | None) -> ModelSeen:
    champion, challenger = registry.in_state(model, "champion"), registry.in_state(model, "challenger")
    records = registry.records(model, "serving", 1)
    recorded = records[0].body if records else {}
    needed = {v.version for v in (champion, challenger) if v} | {str(recorded.get("previous") or "")} - {""}
    damaged = {version: _damage(artifacts, model, version) for version in sorted(needed)}
    return ModelSeen(
        name=model,
        champion=champion,
        challenger=challenger,
        states={v.version: v.state for v in registry.versions(model)},
        recorded=recorded.get("champion"),
        written=written,
        damaged={version: what for version, what in damaged.items() if what},
    )


def _damage(artifacts: ObjectStore, model: str, version: str) -> str:
    prefix = version_prefix(model, version)
    missing = [name for name in FILES if not artifacts.exists(prefix + name)]
    if missing:
        return f"lacks {', '.join(missing)}"
    return damage(artifacts.get(prefix + "manifest.json"), artifacts.get(prefix + "model.onnx"))


# Finding ----------------------------------------------------------------------------------------


def diagnose(seen: Seen) -> list[Finding]:
    """What disagrees, in the order in which it should be repaired. Empty when all is well.

    While a release or a rollback is under way, what serves is meant to differ from the champions alone: only what does
    not depend on it is judged.
    """
    findings = list(_locks(seen))
    for model in seen.models:
        findings += _states(model)
    if seen.at_work is None:
        for model in seen.models:
            findings += _release_left(model)
        findings += _serving(seen)
        for model in seen.models:
            findings += _told(model)
    for model in seen.models:
        findings += [
            Finding("files_damaged", f"model/{model.name}/{version}", f"{version} of {model.name} {what}; it cannot be "
                    "put into a new layer: train or import it again, or restore the object's earlier version")
            for version, what in model.damaged.items()
        ]  # fmt: skip
    findings += [Finding(f"ledger_{p.kind}", f"ledger/{p.sequence}", p.message) for p in seen.ledger.problems]
    return findings


def _locks(seen: Seen) -> Iterator[Finding]:
    for held in seen.locks:
        lock = held.lock
        # A person's rollback or refresh is no execution; its lock is short and runs out by itself.
        left = held.running is False or (held.running is None and lock.purpose != LOCK)
        if left:
            where = "the stack" if lock.model == STACK else lock.model
            how = "has ended" if held.running is False else "does not exist"
            yield Finding(
                "lock_left", f"lock/{lock.model}/{lock.purpose}",
                f"the lock '{lock.purpose}' of {where} is held until {lock.until} by {lock.owner}, which {how}; "
                f"until then nothing else of that kind begins",
                "free_lock", {"model": lock.model, "purpose": lock.purpose, "owner": lock.owner},
            )  # fmt: skip


def _states(model: ModelSeen) -> Iterator[Finding]:
    for state, pointed in (("champion", model.champion), ("challenger", model.challenger)):
        named = {pointed.version} if pointed else set()
        if pointed and pointed.state != state:
            yield Finding(
                "pointer_differs", f"model/{model.name}/{pointed.version}",
                f"the registry's pointer '{state}' of {model.name} names {pointed.version}, which is {pointed.state}: "
                "an item of the table was changed by hand; put it back from the table's point-in-time recovery",
            )  # fmt: skip
        for version in sorted({v for v, s in model.states.items() if s == state} - named):
            yield Finding(
                "pointer_differs", f"model/{model.name}/{version}",
                f"{version} of {model.name} is {state}, but the registry's pointer names "
                f"{pointed.version if pointed else 'none'}: an item of the table was changed by hand; put it back from "
                "the table's point-in-time recovery",
            )  # fmt: skip


def _release_left(model: ModelSeen) -> Iterator[Finding]:
    if model.challenger is not None:
        version = model.challenger.version
        yield Finding(
            "release_left", f"model/{model.name}/{version}",
            f"{version} of {model.name} is challenger, but no release is under way: its release was aborted. It can be "
            "released again once it is archived",
            "end_release", {"model": model.name, "version": version},
        )  # fmt: skip


def _serving(seen: Seen) -> Iterator[Finding]:
    champions = ModelSet({m.name: Pair(m.champion.version if m.champion else None) for m in seen.models})
    live, (layer, routes) = seen.live, seen.remembered
    digest = seen.layers.get(live.layer)
    if digest is None:
        yield Finding(
            "live_layer_deleted", "serving/alias",
            f"version {live.version} serves from the layer {live.layer or '(none)'}, which was deleted: callers are "
            "answered as before, but no further version can be made from it",
            "refresh",
        )  # fmt: skip
    elif digest != champions.digest:
        yield Finding(
            "serving_differs", "serving/alias",
            f"version {live.version} of the serving function, which the alias names, has another model set than the "
            f"registry's champions ({_named(champions)}): a deployment that failed has taken the alias back, it was "
            "moved by hand, or a new model's contract was put in force without letting the API know",
            "refresh",
        )  # fmt: skip
    if live.routes:
        yield Finding(
            "routes_left", "serving/alias",
            f"version {live.version} still shares traffic for {', '.join(sorted(live.routes))}, but no release is "
            "under way",
            "refresh",
        )  # fmt: skip
    if seen.others:
        yield Finding(
            "alias_weighted", "serving/alias",
            f"the alias gives a share of the calls to version {', '.join(seen.others)} beside {live.version}: weights "
            "were set by hand, and neither evidence nor records know who answers",
            "refresh",
        )  # fmt: skip
    if layer not in seen.layers:
        yield Finding(
            "parameter_layer_deleted", "serving/parameters",
            f"the parameter model-layer-arn names {layer}, which does not exist: the next deployment would fail",
            "refresh",
        )  # fmt: skip
    elif (layer, dict(routes)) != (live.layer, dict(live.routes)):
        yield Finding(
            "parameters_differ", "serving/parameters",
            "the parameters model-layer-arn and routes say something else than what is live: the next deployment would "
            "change what serves",
            "refresh",
        )  # fmt: skip
    if not seen.latest.serves(live.layer, live.routes):
        yield Finding(
            "latest_differs", "serving/$LATEST",
            "$LATEST has another model layer or other routes than what is live: a version published by hand would "
            "change what serves",
            "refresh",
        )  # fmt: skip


def _told(model: ModelSeen) -> Iterator[Finding]:
    champion = model.champion
    if champion is None or champion.state != "champion":
        return
    subject = f"model/{model.name}/{champion.version}"
    if model.recorded != champion.version:
        yield Finding(
            "serving_unrecorded", subject,
            f"{champion.version} is champion of {model.name}, but the newest record of serving names "
            f"{model.recorded or 'none'}: who served when cannot be told, and a rollback would not know the way",
            "write_record", {"model": model.name, "version": champion.version, "previous": model.recorded},
        )  # fmt: skip
    if model.written != champion.version:
        yield Finding(
            "ledger_behind", subject,
            f"{champion.version} is champion of {model.name}, but by the ledger it is {model.written or 'none'}: a "
            "release was aborted after the promotion, or the table was changed by hand",
            "write_ledger", {"model": model.name, "to": champion.version, "from": model.written},
        )  # fmt: skip


def _named(models: ModelSet) -> str:
    return ", ".join(f"{m} {p.champion}" for m, p in sorted(models.models.items()) if p.champion) or "none"


# Repairing --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Treatment:
    """Repairs findings; each repair is in the ledger with the person's reason.

    ``refresh(actor, reason)`` makes the champions serve (:func:`mlops.release.manual.refresh`).
    """

    registry: Registry
    ledger: Ledger
    serving: Serving
    refresh: Callable[[str, str], Mapping[str, Any]]
    clock: Callable[[], datetime]

    def heal(self, look: Callable[[], Seen], *, actor: str, reason: str) -> list[tuple[Finding, str]]:
        """Repair what can be repaired, one finding after the other, and look again after each: one repair may mend
        several. Returns what was done, in order."""
        done: list[tuple[Finding, str]] = []
        while True:
            tried = [(f.code, f.subject) for f, _ in done]
            left = [f for f in diagnose(look()) if f.repair and (f.code, f.subject) not in tried]
            if not left:
                return done
            done.append((left[0], self.apply(left[0], actor=actor, reason=reason)))

    def apply(self, finding: Finding, *, actor: str, reason: str) -> str:
        """Repair one finding and say what was done.

        Raises
        ------
        MlopsError
            ``not_repaired`` when it cannot be, with the reason.
        """
        done = {
            "free_lock": self._free_lock,
            "end_release": self._end_release,
            "refresh": self._refresh,
            "write_record": self._write_record,
            "write_ledger": self._write_ledger,
        }.get(finding.repair)
        if done is None:
            raise MlopsError(f"{finding.code}: a person must decide: {finding.explanation}", code="not_repaired")
        outcome = done(finding, actor, reason)
        inputs = {"finding": finding.code, "explanation": finding.explanation[:1000], **finding.details}
        self.ledger.append(LedgerDraft(actor, "doctor.repaired", finding.subject, reason, outcome, inputs))
        return outcome

    def _free_lock(self, finding: Finding, actor: str, reason: str) -> str:
        lock = finding.details
        self.registry.let_go(lock["model"], lock["purpose"], lock["owner"])
        return "lock freed"

    def _end_release(self, finding: Finding, actor: str, reason: str) -> str:
        model, version = finding.details["model"], finding.details["version"]
        self.registry.move(model, version, ("challenger",), "archived", f"its release was aborted; {reason}"[:1000])
        return "archived"

    def _refresh(self, finding: Finding, actor: str, reason: str) -> str:
        answer = self.refresh(actor, reason)
        if answer["status"] != "live":
            told = "; ".join(answer.get("reasons", ()))
            raise MlopsError(f"{finding.code}: not repaired, {answer['status']}: {told}", code="not_repaired")
        return f"version {answer['function_version']} serves the champions"

    def _write_record(self, finding: Finding, actor: str, reason: str) -> str:
        model, version = finding.details["model"], finding.details["version"]
        champion = self.registry.version(model, version)
        now = self.clock().isoformat()
        since = champion.updated_at if champion and champion.updated_at else now
        if any(r.time >= since for r in self.registry.records(model, "serving", 1)):
            since = now  # it must be the newest, also after one that tells of a change that did not last
        live = self.serving.live().snapshot
        body = {
            "champion": version,
            "previous": finding.details["previous"],
            "function_version": live.version,
            "layer": live.layer,
            "found_by": "doctor",
        }
        self.registry.put_record(Record(model, "serving", f"doctor-{version}-{since}", since, body))
        return "record written"

    def _write_ledger(self, finding: Finding, actor: str, reason: str) -> str:
        model, to = finding.details["model"], finding.details["to"]
        before, inputs = finding.details["from"], dict(finding.details)
        subject = f"model/{model}/{to}"
        self.ledger.append(LedgerDraft(actor, "registry.reconciled", subject, reason, "champion", inputs))
        return f"ledger says {to} after {before or 'none'}"
