"""Drift over months of captured traffic: the same check for every window, then one timeline.

Every window is counted by itself, so a state machine does many at a time (statemachines/backfill.asl.json). The
contract's debounce is then applied in order of time, as if the checks had come one after the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from mlops.contract import Drift
from mlops.drift.decision import confirmed
from mlops.objects import report_prefix
from mlops.report import html, svg
from mlops.report.markup import Markup

#: Windows that one run checks at most: a year of hours, or eight years of days would be too many for one page.
MAX_WINDOWS = 1_000
#: Columns in the table of colours, and of them those drawn as lines.
ROWS, DRAWN = 16, 6

Check = Mapping[str, Any]


def plan(model: str, since: datetime, until: datetime | None, hours: float, *, now: datetime) -> dict[str, Any]:
    """The windows from ``since`` in steps of ``hours``, all of full length and over by ``until``, or by now.

    Returns
    -------
    ``{status: planned, model, since, until, every, windows: [{since, until}]}``, or ``{status: invalid, …,
    explanation}`` when that is no window, or more than :data:`MAX_WINDOWS`.
    """
    since, end = since.astimezone(UTC), (until or now).astimezone(UTC)
    explanation = ""
    count = int((end - since) / timedelta(hours=hours)) if hours > 0 else 0
    if not hours > 0:
        explanation = f"a window must be longer than {hours:g} hours"
    elif end > now:
        explanation = f"until must not be in the future: {end:%Y-%m-%d %H:%M} UTC"
    elif count < 1:
        explanation = f"no window of {hours:g} hours lies between {since:%Y-%m-%d %H:%M} and {end:%Y-%m-%d %H:%M} UTC"
    elif count > MAX_WINDOWS:
        explanation = f"that are {count} windows, at most {MAX_WINDOWS} are checked in one run; take longer windows"
    if explanation:
        return {"status": "invalid", "model": model, "windows": [], "explanation": explanation}
    end = since + count * timedelta(hours=hours)
    cut = [{"since": a.isoformat(), "until": b.isoformat()} for a, b in windows(since, end, hours)]
    return {
        "status": "planned",
        "model": model,
        "since": since.isoformat(),
        "until": end.isoformat(),
        "every": hours,
        "windows": cut,
    }


def windows(since: datetime, until: datetime, hours: float) -> Iterator[tuple[datetime, datetime]]:
    """Start and end of every window of full length."""
    step = timedelta(hours=hours)
    while since + step <= until:
        yield since, since + step
        since += step


def window_key(model: str, version: str, since: datetime, until: datetime) -> str:
    """Where what one window of the past counted is kept."""
    return f"{report_prefix('drift', model)}past/{version}/{since:%Y%m%dT%H%M%SZ}-{until:%Y%m%dT%H%M%SZ}.json"


def debounced(checks: Sequence[Check], policy: Drift) -> list[dict[str, Any]]:
    """The checks in order of time, each with ``confirmed`` as the contract's k of n says."""
    told: list[dict[str, Any]] = []
    earlier: list[bool] = []  # newest first; windows with too few rows count for nothing
    for check in checks:
        found = check["status"] == "drift"
        counts = confirmed(found, earlier, needed=policy.confirmations, windows=policy.windows)
        told.append({**check, "confirmed": counts})
        if check["status"] in ("ok", "drift"):
            earlier.insert(0, found)
    return told


def summary(model: str, version: str, checks: Sequence[Check]) -> dict[str, Any]:
    """The outcome of a timeline in a few values."""
    usable = [c for c in checks if c["status"] in ("ok", "drift")]
    drifted = [c for c in usable if c["status"] == "drift"]
    counted = [c for c in usable if c["confirmed"]]
    status = "insufficient" if not usable else "drift" if counted else "ok"
    text = f"{len(drifted)} of {len(usable)} windows with enough rows differ from training"
    if len(usable) < len(checks):
        text += f"; {len(checks) - len(usable)} windows had too few"
    if counted:
        names = list(dict.fromkeys(str(d["feature"]) for d in counted[0].get("drifted", ())))[:3]
        text += f". It counts as drift first from {_day(counted[0])}" + (f": {', '.join(names)}" if names else "")
    elif drifted:
        text += ", never as often as the contract asks for"
    return {
        "status": status,
        "model": model,
        "version": version,
        "windows": len(checks),
        "compared": len(usable),
        "drifted": len(drifted),
        "confirmed": len(counted),
        "first": counted[0]["since"] if counted else None,
        "explanation": f"{text}.",
    }


def page(result: Mapping[str, Any], checks: Sequence[Check], *, every: float, feature_share: float) -> str:
    """The timeline as a page; ``feature_share``: from which share on a window is drift."""
    cards = html.cards(
        [
            ("Windows", result["windows"], f"of {every:g} hours"),
            ("With enough rows", result["compared"], ""),
            ("Differ", result["drifted"], "from training"),
            ("Count as drift", result["confirmed"], "after the contract's confirmations"),
        ]
    )
    sections: list[Markup] = [cards]
    if result["compared"]:
        figures = html.figures([_shares(checks, feature_share), _features(checks)])
        sections += [html.section("Over time", figures), html.section("Every column, window by window", _cells(checks))]
    sections.append(html.section("Every window", _table(checks)))
    foot = f"Baseline of version {result['version']} · {checks[0]['since']} to {checks[-1]['until']}"
    heading = html.join([html.badge(result["status"]), " ", str(result["explanation"])])
    return html.page(f"Drift of {result['model']} over time", heading, sections, footer=foot)


def _shares(checks: Sequence[Check], feature_share: float) -> Markup:
    def points(counted: bool) -> list[svg.Point]:
        known = [c["status"] in ("ok", "drift") and (c["confirmed"] or not counted) for c in checks]
        return [(_seconds(c), float(c["share"]) if k else None) for c, k in zip(checks, known, strict=True)]

    return svg.lines(
        [("share of features", points(False)), ("counts as drift", points(True))],
        title="Share of features that differ, by weight",
        x_label="start of the window",
        thresholds=[("drift", feature_share)],
        x_format=_date,
        from_zero=True,
        note="A gap is a window with too few rows. Predictions that differ are drift whatever the share.",
    )


def _features(checks: Sequence[Check]) -> Markup:
    series = [(n, [(_seconds(c), _effect(c, n)) for c in checks]) for n in _furthest(checks)[:DRAWN]]
    return svg.lines(
        series,
        title="Columns that moved furthest, as a multiple of their threshold",
        x_label="start of the window",
        thresholds=[("threshold", 1.0)],
        x_format=_date,
        from_zero=True,
        note="Sampling noise is taken out.",
    )


def _cells(checks: Sequence[Check]) -> Markup:
    names = _furthest(checks)[:ROWS]
    return svg.heat(
        names,
        [_seconds(c) for c in checks],
        [[_effect(c, n) for c in checks] for n in names],
        title="How far each column lies from training",
        x_format=_date,
        note="Blue: below its threshold, the darker the nearer. Red: at or above it. Of many windows the furthest are "
        "drawn together; an empty cell is a window with too few rows.",
    )


def _furthest(checks: Sequence[Check]) -> list[str]:
    """Columns and pairs, those first that moved furthest at any time."""
    furthest: dict[str, float] = {}
    for check in checks:
        for name, ratio in dict(check.get("effects", {})).items():
            furthest[name] = max(furthest.get(name, 0.0), float(ratio))
    return sorted(furthest, key=lambda n: -furthest[n])


def _effect(check: Check, name: str) -> float | None:
    """Nothing where there was nothing to compare. A check keeps its furthest columns: another moved less than those."""
    if check["status"] not in ("ok", "drift"):
        return None
    return float(dict(check.get("effects", {})).get(name, 0.0))


def _table(checks: Sequence[Check]) -> Markup:
    rows = [
        [
            _day(c),
            html.badge(c["status"]),
            "yes" if c["confirmed"] else "",
            c["rows"],
            f"{float(c['share']) * 100:.3g} %",
            ", ".join(dict.fromkeys(str(d["feature"]) for d in c.get("drifted", ())[:3])),
        ]
        for c in checks
    ]
    return html.table(["from (UTC)", "found", "counts", "rows", "share", "first"], rows, numeric=[3, 4])


def _seconds(check: Check) -> float:
    return datetime.fromisoformat(check["since"]).timestamp()


def _day(check: Check) -> str:
    return f"{datetime.fromisoformat(check['since']):%Y-%m-%d %H:%M}"


def _date(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}"
