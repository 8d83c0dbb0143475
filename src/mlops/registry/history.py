"""The whole history of a model in plain sentences, from the ledger alone: who, what, why, from which data.

An entry whose action has no sentence of its own is told all the same, in the words that it was written with; so a new
action never goes missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from mlops.registry.entities import LedgerEntry
from mlops.report import html


@dataclass(frozen=True)
class Line:
    """One act. ``time`` is ISO 8601 UTC; ``version`` is "" where it is about the model as such; ``why`` are the words
    of whoever did it."""

    sequence: int
    time: str
    who: str
    version: str
    what: str
    why: str


@dataclass(frozen=True)
class Life:
    """One version in short. ``made`` (ISO 8601) is when it was trained or registered; ``gates`` what they said of it;
    ``now`` what became of it in the end, ``since`` when. ``served`` is for how long it answered callers, in seconds."""

    version: str
    made: str
    dataset_version: str | None
    parent: str | None
    gates: str
    now: str
    since: str
    served: float


@dataclass(frozen=True)
class Reign:
    """From when to when (None: still) a version answered callers, and from which data it was made."""

    version: str
    since: str
    until: str | None
    dataset_version: str | None
    ended_by: str = ""


def about(entries: Iterable[LedgerEntry], model: str) -> list[LedgerEntry]:
    """Entries about ``model``, its versions and its uploads, in order."""
    return [e for e in entries if _is_about(e, model)]


def _is_about(entry: LedgerEntry, model: str) -> bool:
    kind, *names = entry.subject.split("/")
    return (kind == "model" and names[:1] == [model]) or entry.inputs.get("model") == model


def tell(entries: Sequence[LedgerEntry]) -> list[Line]:
    """A sentence for every entry of :func:`about`."""
    return [Line(e.sequence, e.time, e.actor, _version(e), _sentence(e), e.reason) for e in entries]


def _sentence(entry: LedgerEntry) -> str:
    return _step(entry) or _SENTENCES.get(entry.action, _plain)(entry)


def reigns(entries: Sequence[LedgerEntry]) -> list[Reign]:
    """Which version answered callers when, oldest first."""
    datasets = {
        _version(e): str(e.inputs["dataset_version"])
        for e in entries
        if e.inputs.get("dataset_version") and _version(e)
    }
    found: list[Reign] = []
    for entry in entries:
        champion = champion_of(entry)
        if champion is None or (found and found[-1].version == champion):
            continue
        if found:
            last = found[-1]
            found[-1] = Reign(last.version, last.since, entry.time, last.dataset_version, entry.action)
        found.append(Reign(champion, entry.time, None, datasets.get(champion)))
    return found


def lives(entries: Sequence[LedgerEntry], until: datetime) -> list[Life]:
    """Every version that :func:`about`'s entries name, in the order in which they came. Who still serves does so until
    ``until``."""
    served: dict[str, float] = {}
    for reign in reigns(entries):
        end = datetime.fromisoformat(reign.until) if reign.until else until
        length = (end - datetime.fromisoformat(reign.since)).total_seconds()
        served[reign.version] = served.get(reign.version, 0.0) + length
    found: dict[str, Life] = {}
    for entry in entries:
        version = _version(entry)
        if not version:
            continue
        inputs, known = entry.inputs, found.get(version)
        life = known or Life(version, entry.time, None, None, "", "", entry.time, served.get(version, 0.0))
        became = _BECAME.get(entry.action)
        found[version] = replace(
            life,
            dataset_version=life.dataset_version or inputs.get("dataset_version"),
            parent=life.parent or inputs.get("parent_version"),
            gates=entry.outcome.replace("_", " ") if entry.action == "version.evaluated" else life.gates,
            now=became(entry) if became else life.now,
            since=entry.time if became else life.since,
        )
        for replaced in _replaced(entry):
            if replaced in found and replaced != version:
                found[replaced] = replace(found[replaced], now="put aside: it may serve again", since=entry.time)
    return list(found.values())


def _replaced(entry: LedgerEntry) -> list[str]:
    """Versions that do not serve any more after an entry."""
    before = {"version.promoted": "previous", "version.rolled_back": "from"}.get(entry.action)
    return [str(entry.inputs[before])] if before and entry.inputs.get(before) else []


def served_at(entries: Sequence[LedgerEntry], moment: datetime) -> Reign | None:
    """Which version answered callers at ``moment`` (with a time zone); None before the first one."""
    return next((r for r in reversed(reigns(entries)) if datetime.fromisoformat(r.since) <= moment), None)


def champion_of(entry: LedgerEntry) -> str | None:
    """The champion that an entry names as the one from now on; None when it is about something else."""
    if entry.action == "version.promoted":
        return _version(entry)
    if entry.action in ("version.rolled_back", "registry.reconciled") and entry.inputs.get("to"):
        return str(entry.inputs["to"])
    return None


def page(model: str, entries: Sequence[LedgerEntry], *, written: str) -> str:
    """The history as one HTML document. ``entries`` are those of :func:`about`; ``written`` says where it is from."""
    lines, served = tell(entries), reigns(entries)
    now = served[-1] if served else None
    summary = f"{now.version} serves since {_when(now.since)}." if now else "No version has served yet."
    rows = [[r.version, _when(r.since), _when(r.until) if r.until else "still", r.dataset_version] for r in served]
    told = [[line.sequence, _when(line.time), line.who, line.what, line.why] for line in lines]
    last = datetime.fromisoformat(entries[-1].time) if entries else None
    made = [
        [
            x.version,
            _when(x.made),
            x.dataset_version,
            x.parent,
            x.gates or None,
            _length(x.served),
            x.now,
            _when(x.since),
        ]
        for x in (lives(entries, last) if last else ())
    ]
    headers = ["version", "first heard of", "trained on", "after", "gates", "served", "what became of it", "since"]
    return html.page(
        f"History of {model}",
        f"{summary} {len(lines)} acts are in the ledger.",
        [
            html.section("Who served when", html.table(["version", "from", "until", "trained on"], rows)),
            html.section("Its versions", html.table(headers, made), "Served is counted to the last act."),
            html.section("What happened", html.table(["#", "when (UTC)", "who", "what", "why"], told)),
            html.section("How to read this", html.definitions(_WORDS)),
        ],
        footer=written,
    )


def markdown(model: str, entries: Sequence[LedgerEntry], *, written: str) -> str:
    """The history as Markdown: a heading, then a line for every act."""
    lines = [
        f"- {_when(line.time)} UTC, {line.who}: {line.what} Why: {' '.join(line.why.split())} (entry {line.sequence})"
        for line in tell(entries)
    ]
    return "\n".join([f"# History of {model}", "", *lines, "", written, ""])


def _version(entry: LedgerEntry) -> str:
    kind, *names = entry.subject.split("/")
    return names[1] if kind == "model" and len(names) > 1 else ""


def _when(time: str) -> str:
    return time[:16].replace("T", " ")


def _length(seconds: float) -> str | None:
    if not seconds:
        return None
    minutes = int(seconds // 60)
    days, hours = divmod(minutes // 60, 24)
    return f"{days} d {hours} h" if days else f"{hours} h {minutes % 60} min"


#: What becomes of a version by an act, in words; acts that are not here change nothing of it.
_BECAME: Mapping[str, Callable[[LedgerEntry], str]] = {
    "version.trained": lambda e: "trained",
    "version.not_trained": lambda e: "not trained",
    "version.registered": lambda e: "ready to be released" if e.outcome == "candidate" else "rejected by the gates",
    "approval.declined": lambda e: "declined by a person",
    "approval.expired": lambda e: "rejected: nobody decided in time",
    "release.started": lambda e: "being released",
    "release.rolled_back": lambda e: "its release went back",
    "release.failed": lambda e: "its release ended by a fault",
    "release.abandoned": lambda e: "put aside: its release was aborted",
    "version.promoted": lambda e: "answers all callers",
    "version.rolled_back": lambda e: (
        "answers all callers" if e.inputs.get("to") == _version(e) else "its release was ended by a person"
    ),
    "version.archived": lambda e: "put aside: it may be released",
    "version.retired": lambda e: "retired for good",
    "version.files_deleted": lambda e: "retired for good, its model and rows deleted",
}

#: Words that a stranger may not know.
_WORDS = (
    ("champion", "the version that answers callers"),
    ("challenger", "a version under release: it is compared with the champion on the same requests"),
    ("shadow", "the first step of a release: the challenger scores every request and nobody sees its answers"),
    ("canary", "a further step: the challenger answers a share of the callers, the same ones throughout"),
    ("gates", "what a version must pass before anybody can release it; the contract says which"),
    ("contract", "what the model is for, which data it takes, and what is asked of it; by its digest"),
    ("data set", "the rows that a version was trained on, by a digest of the rows themselves"),
    ("user:… and function:…", "a person, by name, and a function of the stack that acted by itself"),
    ("#", "the number of the entry in the ledger, whose chain `mlops ledger verify` checks"),
)


def _plain(entry: LedgerEntry) -> str:
    return f"{entry.action} of {entry.subject}: {entry.outcome}."


def _steps(evidence: Any) -> str:
    """What was seen on the way, step by step; nothing for a release without traffic."""
    told = [
        f"{s['step']}: {s['compared']} answers compared, {s['errors']} errors"
        + (f", {s['disagreements']} other labels" if s.get("disagreements") else "")
        for s in evidence or ()
        if isinstance(s, Mapping) and s.get("step") and s.get("requests")
    ]
    return f" Seen: {'; '.join(told)}." if told else ""


def _upload(entry: LedgerEntry) -> str:
    counted: Mapping[str, Any] = entry.inputs.get("rows") or {}
    counts = [f"{counted[name]} rows {name}" for name in ("accepted", "quarantined", "new") if name in counted]
    rows = f" ({', '.join(counts)})" if counts else ""
    data = entry.inputs.get("dataset_version")
    after = f" The data set is {data} now." if data else ""
    return f"The upload {entry.subject.removeprefix('upload/')} was {entry.outcome}{rows}.{after}"


def _trained(entry: LedgerEntry) -> str:
    data = entry.inputs.get("dataset_version")
    return f"Version {_version(entry)} was trained{f' from data set {data}' if data else ''}."


def _not_trained(entry: LedgerEntry) -> str:
    return f"A training of version {_version(entry)} gave no model: {entry.outcome.replace('_', ' ')}."


def _step(entry: LedgerEntry) -> str | None:
    """A canary step, whose number is part of the action."""
    if not entry.action.startswith("release.canary-"):
        return None
    share = (entry.inputs.get("step") or {}).get("share")
    part = f"{share:.0%} of the callers" if isinstance(share, int | float) else "a share of the callers"
    return f"Version {_version(entry)} answers {part}, the champion the others (step {entry.action.partition('.')[2]})."


def _job(entry: LedgerEntry) -> str:
    cause, _, then = entry.outcome.partition(":")
    where = f"{entry.inputs.get('instance')}{' (spot)' if entry.inputs.get('spot') else ''}"
    return f"A training job on {where} ended: {cause.replace('_', ' ')}; next: {then.replace('_', ' ') or 'nothing'}."


def _stopped(entry: LedgerEntry) -> str:
    kept = "its best so far is kept" if entry.outcome == "keep_best" else "without a model"
    return f"The training {entry.inputs.get('run_id')} was told to stop, {kept}."


def _scored(entry: LedgerEntry) -> str:
    rows: Any = entry.inputs.get("rows")
    counted = f"{rows} rows" if isinstance(rows, int) else "files"
    return f"Version {_version(entry)} scored {counted} in one go ({entry.inputs.get('run')}): {entry.outcome}."


def _registered(entry: LedgerEntry) -> str:
    data, parent = entry.inputs.get("dataset_version"), entry.inputs.get("parent_version")
    made = f", made from data set {data}" if data else ""
    return f"Version {_version(entry)}{made}{f' after {parent}' if parent else ''}, is {entry.outcome}."


def _promoted(entry: LedgerEntry) -> str:
    before, data = entry.inputs.get("previous"), entry.inputs.get("dataset_version")
    place = f"in place of {before}" if before else "as the first one"
    source = f", trained on data set {data}" if data else ""
    return f"Version {_version(entry)} answers all callers, {place}{source}.{_steps(entry.inputs.get('evidence'))}"


def _back(entry: LedgerEntry) -> str:
    champion = entry.inputs.get("champion")
    rest = f"{champion} answers all callers as before" if champion else "nothing serves, as before"
    return f"The release of {_version(entry)} went back by itself; {rest}.{_steps(entry.inputs.get('evidence'))}"


def _named(entry: LedgerEntry) -> str:
    before = entry.inputs.get("previous")
    instead = f", instead of {before}" if before else ""
    return f"The name '{entry.inputs.get('alias')}' means version {_version(entry)} from now on{instead}."


def _deleted(entry: LedgerEntry) -> str:
    files = ", ".join(map(str, entry.inputs.get("files") or ()))
    kept = "its manifest, card and evaluation are kept"
    return f"Files of version {_version(entry)} were deleted ({files or 'none were left'}); {kept}."


def _tagged(entry: LedgerEntry) -> str:
    given: Mapping[str, Any] = entry.inputs.get("given") or {}
    told = [f"{key}={value}" for key, value in sorted(given.items())]
    told += [f"{key} removed" for key in entry.inputs.get("removed") or ()]
    of = f"version {_version(entry)}" if _version(entry) else "the model"
    return f"Tags of {of}: {', '.join(told)}."


def _by_hand(entry: LedgerEntry) -> str:
    return f"{entry.inputs.get('to') or 'Nothing'} answers all callers again, in place of {entry.inputs.get('from')}."


_SENTENCES: Mapping[str, Callable[[LedgerEntry], str]] = {
    "contract.accepted": lambda e: f"A contract was put in force ({str(e.inputs.get('contract_digest'))[:12]}).",
    "upload.accepted": _upload,
    "upload.partial": _upload,
    "upload.rejected": _upload,
    "upload.duplicate": _upload,
    "upload.failed": lambda e: "An upload of many files stopped before its end; started again, it goes on from there.",
    "retrain.decided": lambda e: f"A training was {'launched' if e.outcome.startswith('launch') else 'not launched'}.",
    "version.trained": _trained,
    "version.not_trained": _not_trained,
    "training.job_ended": _job,
    "run.stop_asked": _stopped,
    "quality.checked": lambda e: f"The quality of {_version(e)}'s live predictions was checked: {e.outcome}.",
    "score.finished": _scored,
    "score.failed": lambda e: f"A run of batch scoring ended by a fault ({e.inputs.get('run')}).",
    "drift.backfilled": lambda e: f"A history of live traffic was compared with {_version(e)}'s data: {e.outcome}.",
    "drift.backfill_failed": lambda e: "Comparing a history of live traffic ended by a fault.",
    "version.evaluated": lambda e: f"The gates judged {_version(e)}: {e.outcome.replace('_', ' ')}.",
    "version.registered": _registered,
    "approval.requested": lambda e: f"A person was asked about the release of {_version(e)}.",
    "approval.approved": lambda e: f"The release of {_version(e)} was approved, by {e.inputs.get('via')}.",
    "approval.declined": lambda e: f"The release of {_version(e)} was declined, by {e.inputs.get('via')}.",
    "approval.expired": lambda e: f"Nobody decided about {_version(e)} in time; it was rejected.",
    "version.archived": lambda e: f"Version {_version(e)} was put aside; it may be released again.",
    "version.retired": lambda e: f"Version {_version(e)} was retired; it cannot be released any more.",
    "version.files_deleted": _deleted,
    "alias.set": _named,
    "alias.removed": lambda e: f"The name '{e.inputs.get('alias')}' was taken from version {_version(e)}.",
    "version.tagged": _tagged,
    "model.tagged": _tagged,
    "release.started": lambda e: f"The release of {_version(e)} began.",
    "release.shadow": lambda e: f"Version {_version(e)} scores beside the champion; callers do not see it.",
    "release.live": lambda e: f"Version {_version(e)} was made live.",
    "release.refused": lambda e: f"The release of {_version(e)} did not begin.",
    "release.rolled_back": _back,
    "release.failed": lambda e: f"The release of {_version(e)} ended by a fault; what served before serves.",
    "release.abandoned": lambda e: f"The release of {_version(e)} had been aborted; the version was put aside.",
    "version.promoted": _promoted,
    "version.rolled_back": _by_hand,
    "drift.checked": lambda e: f"Live traffic was compared with what {_version(e)} was trained on: {e.outcome}.",
    "run.closed": lambda e: f"A run of the pipeline ended: {e.outcome.replace('_', ' ')}.",
    "run.failed": lambda e: "A run of the pipeline ended by a fault.",
    "doctor.repaired": lambda e: f"A disagreement was repaired ({e.inputs.get('finding')}): {e.outcome}.",
    "registry.reconciled": lambda e: f"The ledger was brought in line with the registry: {e.inputs.get('to')} serves.",
}
