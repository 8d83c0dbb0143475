"""Which versions of a model are put aside: candidates that nobody released, and versions that are older than anybody
needs. Nothing is deleted: a retired version keeps its files and its entries, it only cannot be released any more."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from mlops.registry.entities import ModelVersion, Record, State

_UNRELEASED = "not released in"


@dataclass(frozen=True)
class Policy:
    """``candidate_days``: age of a candidate that was never released. ``keep_versions``: newest versions of a model
    that are never retired. ``served_days``: a version that served within so many days is not retired, for somebody may
    ask about its answers."""

    candidate_days: int = 30
    keep_versions: int = 10
    served_days: int = 365


@dataclass(frozen=True)
class Move:
    """A version goes from one state to another, and why."""

    model: str
    version: str
    source: State
    target: State
    reason: str


def plan(
    versions: Sequence[ModelVersion], serving: Iterable[Record], waiting: Iterable[str], policy: Policy, now: datetime
) -> list[Move]:
    """What is due for one model.

    Parameters
    ----------
    versions : of one model. serving : its records of kind ``serving``. waiting : versions that wait for a person.

    Notes
    -----
    Never touched: champion and challenger, the predecessor that a rollback would restore, what served within
    ``served_days``, what waits for a decision, what an alias names, the parents of champion and challenger, the newest
    ``keep_versions``.
    """
    newest = sorted(versions, key=lambda v: (v.created_at, v.version), reverse=True)
    kept = {v.version for v in newest[: policy.keep_versions]} | _needed(newest, list(serving), policy, now)
    asked = set(waiting)
    moves = []
    for version in newest:
        if version.version in asked:
            continue
        age = now - _time(version.updated_at or version.created_at)
        if version.state == "candidate" and age > timedelta(days=policy.candidate_days):
            reason = f"{_UNRELEASED} {policy.candidate_days} days"
            moves.append(Move(version.model, version.version, "candidate", "archived", reason))
        elif version.state in ("archived", "rejected") and version.version not in kept and not version.aliases:
            reason = f"older than the newest {policy.keep_versions} versions; not served in {policy.served_days} days"
            moves.append(Move(version.model, version.version, version.state, "retired", reason))
    return moves


def is_ours(version: ModelVersion) -> bool:
    """Whether this policy put a version where it is."""
    return version.state == "retired" or (version.state == "archived" and version.reason.startswith(_UNRELEASED))


def _needed(versions: Sequence[ModelVersion], serving: Sequence[Record], policy: Policy, now: datetime) -> set[str]:
    """Versions that a rollback, a question or a lineage may still come to."""
    live = [v for v in versions if v.state in ("champion", "challenger")]
    needed = {v.version for v in live} | {v.parent_version for v in live if v.parent_version}
    newest_first = sorted(serving, key=lambda r: r.time, reverse=True)
    horizon = now - timedelta(days=policy.served_days)
    for position, record in enumerate(newest_first):
        # A version served until the next record; so the first one before the horizon still reaches into it.
        recent = position == 0 or _time(newest_first[position - 1].time) > horizon
        if recent:
            needed |= {str(record.body.get(name)) for name in ("champion", "previous") if record.body.get(name)}
    return needed


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
