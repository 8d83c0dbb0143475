"""From an event to an action of the release function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mlops.errors import MlopsError
from mlops.registry.register import fault
from mlops.release.actions import Answer, Releases
from mlops.release.manual import manual_rollback, refresh
from mlops.release.state import ReleaseState

_INPUT = ("model", "version", "release_id", "actor", "reason")


def run(releases: Releases, event: Mapping[str, Any]) -> Answer:
    """Do what ``event["action"]`` says (docs/release.md).

    Raises
    ------
    MlopsError
        ``invalid_action`` for another action or a missing field.
    """
    machine: dict[str, Callable[[ReleaseState], Answer]] = {
        "prepare": releases.prepare,
        "ask": lambda state: releases.ask(state, event["task_token"]),
        "decision": releases.decision,
        "deploy_step": releases.deploy_step,
        "check": releases.check,
        "finish": releases.finish,
        "rollback": releases.rollback,
        "fail": lambda state: releases.fail(state, fault(event.get("error"))),
    }
    action = str(event.get("action"))
    if action in machine:
        _require(event, "state")
        if action == "ask":
            _require(event, "task_token")
        state = event["state"]
        for name in _INPUT:
            _require(state, name)
        return machine[action](ReleaseState.from_dict(state))
    if action == "manual_rollback":
        for name in ("model", "actor", "reason", "request_id"):
            _require(event, name)
        return manual_rollback(
            releases,
            model=event["model"],
            actor=event["actor"],
            reason=event["reason"],
            request_id=event["request_id"],
            to=event.get("to"),
        )
    if action == "refresh":
        for name in ("actor", "reason", "request_id"):
            _require(event, name)
        return refresh(releases, actor=event["actor"], reason=event["reason"], request_id=event["request_id"])
    if action == "decide":
        for name in ("model", "release_id", "verdict", "actor", "reason"):
            _require(event, name)
        if event["verdict"] not in ("approved", "declined"):
            raise MlopsError("verdict must be approved or declined", code="invalid_action")
        return releases.approvals.decide(
            model=event["model"],
            release_id=event["release_id"],
            verdict=event["verdict"],
            actor=event["actor"],
            reason=event["reason"],
            via="command",
        )
    known = ", ".join([*machine, "manual_rollback", "refresh", "decide"])
    raise MlopsError(f"action must be one of {known}", code="invalid_action")


def _require(event: Any, name: str) -> None:
    if not isinstance(event, Mapping) or event.get(name) is None:
        raise MlopsError(f"the event lacks the field '{name}'", code="invalid_action")
