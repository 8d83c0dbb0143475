"""How many predictions each model version answered: counted from captured traffic."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from mlops.capture.blocks import BLOCK, LINE, unpack
from mlops.cost.usage import NotMetered, Window
from mlops.objects import ObjectStore, capture_prefix, is_folded

#: More objects than this are not read for a report; the count is then scaled up and says so.
MAX_OBJECTS = 400


@dataclass(frozen=True, slots=True)
class Answered:
    """Predictions of one model version.

    ``rows`` it answered in ``requests``; ``shadow_rows`` it scored beside the version that answered;
    ``scored_us``: microseconds that scoring took, both kinds of rows.
    """

    model: str
    version: str
    rows: int
    requests: int
    shadow_rows: int = 0
    scored_us: int = 0


@dataclass(frozen=True, slots=True)
class Predictions:
    """By version; ``scale`` is what counts were multiplied by because only a part was captured or read."""

    answered: tuple[Answered, ...] = ()
    not_metered: tuple[NotMetered, ...] = ()
    basis: str = ""

    @property
    def rows(self) -> int:
        return sum(a.rows for a in self.answered)


def count(
    objects: ObjectStore, models: list[str], window: Window, rates: Mapping[str, float] | None = None
) -> Predictions:
    """Count the captured rows of ``window``.

    Parameters
    ----------
    rates : model -> share of requests that is captured (contract ``capture.rate``); counts are divided by it.

    A capture line lies in the hour in which it was written, up to a few minutes after its request; the line's
    own time decides, and the hour after the window is read as well.
    """
    found: dict[tuple[str, str], list[float]] = {}
    missing: list[NotMetered] = []
    read = listed = 0
    for model in models:
        rate = (rates or {}).get(model, 1.0)
        if rate <= 0:
            missing.append(NotMetered(f"predictions of {model}", "its traffic is not captured (capture.rate is 0)"))
            continue
        keys = [info.key for prefix in _prefixes(model, window) for info in objects.list(prefix)]
        listed += len(keys)
        # A folded object holds an hour, the others a second each: one kind says nothing of how much the other holds.
        folded, single = [k for k in keys if is_folded(k)], [k for k in keys if not is_folded(k)]
        half = MAX_OBJECTS // 2
        for kind, limit in (
            (folded, max(half, MAX_OBJECTS - len(single))),
            (single, max(half, MAX_OBJECTS - len(folded))),
        ):
            chosen = _spread(kind, limit)
            read += len(chosen)
            for key in chosen:
                for line in _lines(objects.get(key), key, missing):
                    _add(found, line, window, len(kind) / len(chosen) / rate)
    basis = f"{read} of {listed} capture files"
    if read < listed:
        basis += ", scaled to all"
    answered = [
        Answered(model, version, *(round(value) for value in totals))
        for (model, version), totals in sorted(found.items())
    ]
    return Predictions(tuple(answered), tuple(missing), basis)


def _prefixes(model: str, window: Window) -> Iterator[str]:
    hour = window.start.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    while hour < window.end + timedelta(hours=1):
        whole_day = hour.hour == 0 and hour + timedelta(days=1) <= window.end
        yield capture_prefix(model, hour.strftime("%Y-%m-%d"), "" if whole_day else hour.strftime("%H"))
        hour += timedelta(days=1) if whole_day else timedelta(hours=1)


def _spread(keys: list[str], limit: int) -> list[str]:
    """At most ``limit`` of them, evenly over their order, which is time."""
    if len(keys) <= limit:
        return keys
    return [keys[i * len(keys) // limit] for i in range(limit)]


def _lines(body: bytes, key: str, missing: list[NotMetered]) -> Iterator[dict[str, Any]]:
    try:
        text = gzip.decompress(body).decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError):
        missing.append(NotMetered("some predictions", f"capture file {key} cannot be read"))
        return
    for line in text.splitlines():
        try:
            data = json.loads(line)
        except ValueError:
            missing.append(NotMetered("some predictions", f"capture file {key} has a line that is not JSON"))
            return
        try:
            lines = list(unpack(data)) if isinstance(data, dict) and data.get("kind") == BLOCK else [data]
        except (ValueError, KeyError, TypeError, IndexError):
            missing.append(NotMetered("some predictions", f"capture file {key} has a block that is not whole"))
            return
        yield from (one for one in lines if isinstance(one, dict) and one.get("kind") == LINE)


def _add(found: dict[tuple[str, str], list[float]], line: dict[str, Any], window: Window, weight: float) -> None:
    try:
        time = datetime.fromisoformat(str(line["time"]).replace("Z", "+00:00"))
        if not window.start <= time < window.end:
            return
        model, rows = str(line["model"]), line["rows"]
        versions = {role: line[role]["version"] for role in ("champion", "challenger") if line.get(role)}
        took = {role: float(line[role].get("us") or 0) for role in versions}
        by_role = {role: sum(row.get("answered") == role for row in rows) for role in versions}
    except (KeyError, TypeError, ValueError, AttributeError):
        return  # a line of a later layout; the count says how many files it is from, not that it is complete
    for role, version in versions.items():
        totals = found.setdefault((model, version), [0.0, 0.0, 0.0, 0.0])
        totals[0] += by_role[role] * weight
        totals[1] += (by_role[role] > 0) * weight
        totals[2] += (len(rows) - by_role[role]) * weight
        totals[3] += took[role] * weight
