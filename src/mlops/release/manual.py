"""What a person does to serving by hand: roll back now, or bring what is live in line with the registry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlops.errors import MlopsError
from mlops.registry.entities import LedgerDraft, Record
from mlops.registry.naming import predecessor
from mlops.release.actions import Answer, Releases
from mlops.release.modelset import ArtifactError, ModelSet, Pair
from mlops.release.preflight import golden_failures
from mlops.release.state import LOCK, STACK

_LOCK_SECONDS = 900

#: Why a layer cannot be made anew; what serves is as before then.
_CANNOT_BUILD = ("artifact_missing", "model_set_too_large", "code_storage_full")

_RECORDS = 1000


@dataclass(frozen=True)
class _Order:
    """Who wants it, why, and under which id."""

    actor: str
    reason: str
    request_id: str


def manual_rollback(
    releases: Releases, *, model: str, actor: str, reason: str, request_id: str, to: str | None = None
) -> Answer:
    """Put an earlier version in the champion's place, or end a release that is under way, in seconds.

    A person does not wait for a release: its lock is taken away, and its machine ends by itself at its next
    action. While the version of the function that served before still fits, this is one move of the alias.

    Parameters
    ----------
    to : version to restore; without it the release of ``model`` that is under way is ended, and when there is
        none, the champion before the present one is restored.
    request_id : the same request run again has one effect.

    Returns
    -------
    dict
        ``status``: ``rolled_back`` or ``refused``, with ``reasons``.

    Raises
    ------
    MlopsError
        ``reason_required`` or ``actor_required``.
    """
    if not reason.strip():
        raise MlopsError("a rollback needs a reason: --reason 'why'", code="reason_required")
    if not actor.startswith("user:") or len(actor) <= len("user:"):
        raise MlopsError("a rollback needs the person who does it: actor 'user:<name>'", code="actor_required")
    order, registry = _Order(actor, reason, request_id), releases.registry
    done = next((e for e in releases.ledger.entries(subject=f"model/{model}") if e.id == _known_as(request_id)), None)
    if done is not None:
        _leave(releases, model, str(done.inputs["from"]), done.reason)
        registry.let_go(STACK, LOCK, request_id)
        return _answer(done.inputs)
    _take_over(releases, request_id)
    try:
        return _go_back(releases, model, to, order)
    except ArtifactError as error:  # before anything changed for callers
        return _refused(error.message)
    finally:
        registry.let_go(STACK, LOCK, request_id)


def _go_back(releases: Releases, model: str, to: str | None, order: _Order) -> Answer:
    registry = releases.registry
    begun = registry.record(model, "serving", order.request_id)
    if begun is not None:
        return _complete(releases, model, begun.body, order)
    challenger = registry.in_state(model, "challenger")
    champion = registry.in_state(model, "champion")
    if challenger is not None and to in (None, champion.version if champion else None):
        return _end_release(releases, model, challenger.version, order)
    target = to or predecessor(releases.registry, model, champion.version if champion else None)
    if target is None:
        return _refused(f"{model} has no earlier champion; name a version: --to VERSION")
    unfit = _unfit(releases, model, target)
    if unfit:
        return _refused(unfit)
    return _restore(releases, model, target, order)


def refresh(releases: Releases, *, actor: str, reason: str, request_id: str) -> Answer:
    """Serve exactly the registry's champions, when no release is under way: after a contract was added, or when
    somebody changed the alias, a layer or a parameter by hand.

    Returns
    -------
    dict
        ``status``: ``live``, ``busy`` (a release is under way) or ``refused`` with ``reasons``.
    """
    if not releases.registry.acquire(STACK, LOCK, request_id, _LOCK_SECONDS):
        return {"status": "busy", "reasons": ["a release is under way; it ends in what the registry says"]}
    try:
        wanted = ModelSet.of_champions(releases.registry)
        before = releases.serving.live().snapshot.version
        done = releases.switcher.forward(
            wanted, {}, f"refresh {request_id}", lambda version: golden_failures(releases.serving, version, wanted)
        )
        if done.status == "live" and done.version != before:
            inputs = {"before": before, "function_version": done.version, "model_set": done.digest}
            known_as = f"refresh/{request_id}"
            releases.ledger.append(LedgerDraft(actor, "serving.refreshed", "serving", reason, "live", inputs, known_as))
        return {"status": done.status, "function_version": done.version, "reasons": done.reasons}
    except ArtifactError as error:
        return _refused(error.message)
    finally:
        releases.registry.let_go(STACK, LOCK, request_id)


def _take_over(releases: Releases, request_id: str) -> None:
    holder = releases.registry.holder(STACK, LOCK)
    if holder is not None and holder != request_id:
        releases.registry.let_go(STACK, LOCK, holder)
    if not releases.registry.acquire(STACK, LOCK, request_id, _LOCK_SECONDS):
        raise MlopsError("somebody else rolls back at this moment; look at the status and try again", code="conflict")


def _end_release(releases: Releases, model: str, version: str, order: _Order) -> Answer:
    """The champion stays; the challenger leaves. The release's own entry tells where it came from."""
    started = next((e for e in _newest(releases, f"model/{model}/{version}") if e.action == "release.started"), None)
    prefer = str(started.inputs.get("live", "")) if started else ""
    wanted = ModelSet.of_champions(releases.registry)
    done = releases.switcher.back(wanted, {}, f"rollback {order.request_id}", prefer or None)
    champion = wanted.models[model].champion if model in wanted.models else None
    inputs = {"model": model, "from": version, "to": champion, "function_version": done.version}
    answer = _finish(releases, f"model/{model}/{version}", order, inputs)
    _leave(releases, model, version, order.reason)  # last: without a challenger, a rerun would go back one further
    return answer


def _leave(releases: Releases, model: str, version: str, reason: str) -> None:
    found = releases.registry.version(model, version)
    if found is not None and found.state == "challenger":
        releases.registry.move(model, version, ("challenger",), "archived", reason)


def _restore(releases: Releases, model: str, target: str, order: _Order) -> Answer:
    """Callers first, then the registry: run again after a crash between, it ends in the same state."""
    registry = releases.registry
    current = registry.in_state(model, "champion")
    before = current.version if current else None
    wanted = ModelSet.of_champions(registry).with_pair(model, Pair(target))
    live = releases.serving.live().snapshot
    prefer = _served_by(releases, model, target)
    try:
        done = releases.switcher.back(wanted, {}, f"rollback {order.request_id}", prefer)
    except MlopsError as error:
        if error.code not in _CANNOT_BUILD:
            raise
        return _refused(f"{model}/{target} cannot be restored: {error.message}")
    body = {
        "champion": target,
        "previous": before,
        "function_version": done.version,
        "previous_function_version": live.version,
        "layer": done.layer,
        "release_id": order.request_id,
    }
    registry.put_record(Record(model, "serving", order.request_id, releases.clock().isoformat(), body))
    return _complete(releases, model, body, order)


def _complete(releases: Releases, model: str, body: Mapping[str, Any], order: _Order) -> Answer:
    """What follows once callers get the restored version; ``body`` is the record that says so."""
    target, before = body["champion"], body["previous"]
    releases.registry.promote(model, target, before, f"rollback: {order.reason}")
    inputs = {"model": model, "from": before, "to": target, "function_version": body["function_version"]}
    return _finish(releases, f"model/{model}/{target}", order, inputs)


def _finish(releases: Releases, subject: str, order: _Order, inputs: Mapping[str, Any]) -> Answer:
    draft = LedgerDraft(
        order.actor, "version.rolled_back", subject, order.reason, "rolled_back", inputs, _known_as(order.request_id)
    )
    releases.ledger.append(draft)
    answer = _answer(inputs)
    releases.events.put("ReleaseFinished", {**answer, "outcome": "rolled_back", "reasons": [order.reason]})
    return answer


def _answer(inputs: Mapping[str, Any]) -> Answer:
    return {"status": "rolled_back", **inputs, "reasons": []}


def _unfit(releases: Releases, model: str, target: str) -> str | None:
    """Why a version cannot be put in the champion's place at once, without evidence and preflight."""
    found = releases.registry.version(model, target)
    if found is None:
        return f"{model}/{target} is not registered; `mlops models list {model}` names the versions"
    if found.state == "champion":
        return f"{model}/{target} is the champion already; `mlops refresh` makes it serve if it does not"
    if found.state == "retired":
        return f"{model}/{target} is retired; train or import it again"
    served = {
        version
        for record in releases.registry.records(model, "serving", _RECORDS)
        for version in (record.body.get("champion"), record.body.get("previous"))
    }
    if found.state != "archived" or target not in served:
        never = "" if target in served else " and never was champion"
        return (
            f"{model}/{target} is {found.state}{never}; only a version that was champion can be restored, "
            f"another one is released: `mlops release {model} {target}`"
        )
    return None


def _refused(reason: str) -> Answer:
    return {"status": "refused", "reasons": [reason]}


def _known_as(request_id: str) -> str:
    return f"rollback/{request_id}"


def _newest(releases: Releases, subject: str) -> list[Any]:
    return list(releases.ledger.entries(subject=subject))[::-1]


def _served_by(releases: Releases, model: str, version: str) -> str | None:
    """The function version by which ``version`` served last: the one that was live when its successor came, which
    deployments have kept up to date, else the one that it began with."""
    for record in releases.registry.records(model, "serving"):
        if record.body.get("previous") == version:
            return str(record.body.get("previous_function_version") or "") or None
        if record.body.get("champion") == version:
            return str(record.body["function_version"])
    return None
