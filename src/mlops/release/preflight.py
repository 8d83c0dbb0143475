"""Direct calls to a function version by its number: does it answer right before callers reach it, and replays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mlops.errors import MlopsError
from mlops.release.modelset import ModelSet
from mlops.release.ports import Routes, Serving

#: Records in one replayed request.
BATCH = 25


def golden_failures(serving: Serving, version: str, models: ModelSet) -> list[str]:
    """Why a function version must not serve ``models``: every version in it must be there, load, and give the
    answers that were stored with it. Empty when it does."""
    reasons = []
    for model, model_version in models.versions():
        try:
            answer = serving.invoke(version, {"task": "golden", "model": model, "version": model_version})
        except MlopsError as error:
            return [f"golden set: {error.message}"]
        if answer.get("status") != "ok":
            detail = answer.get("message") or answer.get("status")
            reasons.append(f"golden set of {model}/{model_version}: {detail}")
    return reasons


def routes_failure(serving: Serving, version: str, routes: Routes) -> list[str]:
    """Why a function version does not understand ``routes``; empty when it does."""
    answer = serving.invoke(version, {"task": "describe"})
    found = {name: route["share"] for name, route in answer.get("routes", {}).items()}
    wanted = {name: route["share"] for name, route in routes.items()}
    if found == wanted and not answer.get("routes_error"):
        return []
    return [f"routes: {answer.get('routes_error') or 'the version has others than it was given'}"]


def replay(serving: Serving, version: str, model: str, records: Sequence[Any]) -> Iterator[Mapping[str, Any]]:
    """Score ``records`` by champion and challenger; one line in the form of a capture per batch."""
    for start in range(0, len(records), BATCH):
        batch = list(records[start : start + BATCH])
        answer = serving.invoke(version, {"task": "replay", "model": model, "records": batch})
        champion, challenger = answer.get("champion"), answer.get("challenger")
        if not champion:
            continue
        scores = challenger["scores"] if challenger else [None] * len(champion["scores"])
        rows = [{"champion": a, "challenger": b} for a, b in zip(champion["scores"], scores, strict=True)]
        if len(rows) == len(batch):
            rows = [{**row, "features": record} for row, record in zip(rows, batch, strict=True)]
        yield {
            "rows": rows,
            "champion": champion,
            "challenger": challenger,
        }
