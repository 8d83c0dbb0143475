"""The whole history of a model in plain sentences, from the ledger alone: who, what, why, from which data.

An entry whose action has no sentence of its own is told all the same, in the words that it was written with; so a new
action never goes missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
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
    return [
        Line(e.sequence, e.time, e.actor, _version(e), _SENTENCES.get(e.action, _plain)(e), e.reason) for e in entries
    ]


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
    return html.page(
        f"History of {model}",
        f"{summary} {len(lines)} acts are in the ledger.",
        [
            html.section("Who served when", html.table(["version", "from", "until", "trained on"], rows)),
            html.section("What happened", html.table(["#", "when (UTC)", "who", "what", "why"], told)),
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
    "retrain.decided": lambda e: f"A training was {'launched' if e.outcome.startswith('launch') else 'not launched'}.",
    "version.trained": _trained,
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
