"""Figures as inline SVG: bars, two distributions side by side, lines and curves, a table of colours.

Every function returns a ``<figure>`` with a caption and an ``<svg role="img">`` that has a title and a
description, so that a screen reader gets the numbers that the eye sees. Numbers that are not finite, and
``None``, leave a gap and are never drawn. Text is not part of the geometry that the theme changes: all colours
come from the style sheet.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence

from mlops.report.markup import Markup, escape, number

WIDTH = 460
SERIES = 6
#: Width that a letter may take: phones show text larger than the rest of a figure (the style sheet says how much).
LETTER = 8.2
#: Letters of a name beside its row.
NAME = 22
#: Columns of cells that a figure of :func:`heat` has at most; of more windows the worst in each stand for all.
CELLS = 96

Number = float | int | None
Point = tuple[float, Number]
Band = tuple[float, Number, Number]


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round values that cover ``[low, high]``: steps of 1, 2 or 5 times a power of ten.

    >>> ticks(0.0, 0.93)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        return [0.0, 1.0]
    if high <= low:
        low, high = (low - 0.5, low + 0.5) if abs(low) < 1e12 else (low * 0.9, low * 1.1)
        low, high = min(low, high), max(low, high)
    raw = (high - low) / max(1, count)
    power = 10.0 ** math.floor(math.log10(raw)) if raw > 0 else 1.0
    step = next((m * power for m in (1.0, 2.0, 5.0, 10.0) if m * power >= raw * 0.999), 10.0 * power)
    if step <= 0 or not math.isfinite(step):
        return [low, high]
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{i * step:.12g}") for i in range(first, last + 1)]


def bars(
    labels: Sequence[str],
    values: Sequence[Number],
    *,
    title: str,
    unit: str = "",
    threshold: float | None = None,
    threshold_label: str = "threshold",
    highlight: Sequence[str] = (),
    note: object = "",
) -> Markup:
    """Horizontal bars, one a label, from zero.

    Parameters
    ----------
    labels, values : of equal length; ``None`` or a number that is not finite gets no bar and a dash.
    threshold : drawn as a dashed line.
    highlight : labels whose bars are coloured as a problem.
    """
    if len(labels) != len(values):
        raise ValueError(f"bars: {len(labels)} labels for {len(values)} values")
    known = [_finite(v) for v in values]
    finite = [v for v in known if v is not None]
    extent = [0.0, *finite] + ([threshold] if threshold is not None else [])
    marks = ticks(min(extent), max(extent), 4)
    left = _margin(labels)
    row, top, bottom = 26, 8, 34
    height = top + row * max(1, len(labels)) + bottom
    to_x = _scale(marks[0], marks[-1], left, WIDTH - 58)
    parts = [_vertical_grid(marks, to_x, top, height - bottom)]
    hot = set(highlight)
    zero = to_x(0.0)
    for i, (label, value) in enumerate(zip(labels, known, strict=True)):
        y = top + i * row
        parts.append(f'<text class="t0" x="{left - 8}" y="{y + 17}" text-anchor="end">{_short(label, NAME)}</text>')
        if value is None:
            parts.append(f'<text x="{_n(zero + 5)}" y="{y + 17}">-</text>')
            continue
        x = to_x(value)
        colour = "hot" if label in hot else "s0"
        parts.append(
            f'<rect class="{colour}" x="{_n(min(x, zero))}" y="{y + 5}" width="{_n(abs(x - zero))}" height="16"/>'
            f'<text class="t0" x="{_n(max(x, zero) + 5)}" y="{y + 17}">{escape(number(value, 3))}{escape(unit)}</text>'
        )
    if threshold is not None:
        x = to_x(threshold)
        parts.append(
            f'<line class="limit" x1="{_n(x)}" x2="{_n(x)}" y1="{top}" y2="{height - bottom}"/>'
            f'<text class="limittext" x="{_n(x)}" y="{height - 4}" text-anchor="middle">'
            f"{escape(threshold_label)} {escape(number(threshold, 3))}</text>"
        )
    description = "; ".join(
        f"{label} {number(v, 3) if v is not None else 'no value'}{unit}" for label, v in zip(labels, known, strict=True)
    )
    return _figure(title, description, height, parts, note=note)


def grouped_bars(
    labels: Sequence[str],
    series: Sequence[tuple[str, Sequence[Number]]],
    *,
    title: str,
    x_label: str = "",
    y_label: str = "share",
    note: object = "",
) -> Markup:
    """Vertical bars beside each other, such as an old and a new distribution over the same bins.

    Parameters
    ----------
    labels : of the bins, from left to right; only as many as fit are written.
    series : ``(name, values)``; values of the length of ``labels``, from zero.
    """
    for name, values in series:
        if len(values) != len(labels):
            raise ValueError(f"grouped_bars: series {name!r} has {len(values)} values for {len(labels)} labels")
    legend, rows = _legend([name for name, _ in series], y_label)
    left, top, bottom = 52, 24 + 18 * rows, 46 if x_label else 28
    height = 226 + top
    known = [(name, [_finite(v) for v in values]) for name, values in series]
    highest = max((v for _, values in known for v in values if v is not None), default=1.0) or 1.0
    marks = ticks(0.0, highest, 4)
    to_y = _scale(marks[0], marks[-1], height - bottom, top)
    parts = [_horizontal_grid(marks, to_y, left, WIDTH - 8)]
    count = max(1, len(labels))
    slot = (WIDTH - 8 - left) / count
    each = slot * 0.84 / max(1, len(series))
    for s, (_, values) in enumerate(known):
        for i, value in enumerate(values):
            if value is None or value <= 0:
                continue
            y = to_y(value)
            x = left + i * slot + slot * 0.08 + s * each
            parts.append(
                f'<rect class="s{s % SERIES}" x="{_n(x)}" y="{_n(y)}" width="{_n(each)}" '
                f'height="{_n(height - bottom - y)}"/>'
            )
    longest = max((len(str(label)) for label in labels), default=1)
    every = max(1, math.ceil(min(longest, 12) * LETTER / slot))
    for i in range(0, len(labels), every):
        x = left + (i + 0.5) * slot
        parts.append(
            f'<text x="{_n(x)}" y="{height - bottom + 16}" text-anchor="middle">{_short(labels[i], 12)}</text>'
        )
    parts += _labels(x_label, y_label, left, height)
    parts.append(legend)
    description = "; ".join(
        f"{name}: " + ", ".join(f"{label} {number(v, 3)}" for label, v in zip(labels, values, strict=True) if v)
        for name, values in known
    )
    return _figure(title, description, height, parts, note=note)


def lines(
    series: Sequence[tuple[str, Sequence[Point]]],
    *,
    title: str,
    x_label: str = "",
    y_label: str = "",
    thresholds: Sequence[tuple[str, float]] = (),
    x_format: Callable[[float], str] | None = None,
    from_zero: bool = False,
    bands: Sequence[Sequence[Band]] = (),
    note: object = "",
) -> Markup:
    """Lines over a common numeric x axis (use seconds or days for time, and ``x_format`` to write it).

    Parameters
    ----------
    series : ``(name, [(x, y), ...])`` in order of x; ``None`` as y interrupts the line.
    bands : for each series the intervals ``(x, low, high)`` of its points, drawn behind it in its colour; ``None``
        interrupts the band.
    thresholds : ``(label, y)``, drawn as dashed lines.
    from_zero : let the y axis start at zero.
    """
    return _plot(
        series,
        title=title,
        x_label=x_label,
        y_label=y_label,
        thresholds=thresholds,
        x_format=x_format or (lambda v: number(v, 3)),
        from_zero=from_zero,
        diagonal=False,
        bands=bands,
        note=note,
    )


def heat(
    labels: Sequence[str],
    times: Sequence[float],
    values: Sequence[Sequence[Number]],
    *,
    title: str,
    x_format: Callable[[float], str],
    note: object = "",
) -> Markup:
    """A row a label, a cell a time: the darker the nearer to 1, in the colour of a problem from 1 on.

    Parameters
    ----------
    times : in order; the first and the last are written.
    values : a row a label, of the length of ``times``, as multiples of a threshold; ``None`` is drawn as a gap.
    """
    if len(values) != len(labels) or any(len(row) != len(times) for row in values):
        raise ValueError(f"heat: values must be {len(labels)} rows of {len(times)}")
    left, top, line = _margin(labels), 8, 24
    bottom = top + line * len(labels)
    each = max(1, -(-len(times) // CELLS))
    groups = [range(i, min(i + each, len(times))) for i in range(0, len(times), each)]
    slot = (WIDTH - 8 - left) / max(1, len(groups))
    parts, said = [], []
    for r, (label, row) in enumerate(zip(labels, values, strict=True)):
        y = top + r * line
        parts.append(f'<text class="t0" x="{_n(left - 8)}" y="{y + 16}" text-anchor="end">{_short(label, NAME)}</text>')
        known = [_finite(v) for v in row]
        for g, group in enumerate(groups):
            found = [v for v in (known[i] for i in group) if v is not None]
            if not found:
                continue
            worst, x = max(found), left + g * slot
            colour = "hot" if worst >= 1 else "s0"
            strength = 0.6 + 0.4 * min(1.0, (worst - 1) / 2) if worst >= 1 else 0.06 + 0.5 * max(0.0, worst)
            parts.append(
                f'<rect class="{colour}" fill-opacity="{strength:.2f}" x="{_n(x)}" y="{y + 2}" '
                f'width="{_n(max(0.5, slot - (1 if slot > 4 else 0)))}" height="{line - 4}"/>'
            )
        over = [times[i] for i, v in enumerate(known) if v is not None and v >= 1]
        highest = max((v for v in known if v is not None), default=None)
        told = f"at or above 1 {len(over)} times, first {x_format(over[0])}" if over else "never at 1"
        said.append(f"{label}: {told}, at most {number(highest, 3)}" if highest is not None else f"{label}: no values")
    if times:
        parts.append(f'<text x="{_n(left)}" y="{bottom + 18}">{escape(x_format(times[0]))}</text>')
    if len(times) > 1:
        parts.append(f'<text x="{WIDTH - 8}" y="{bottom + 18}" text-anchor="end">{escape(x_format(times[-1]))}</text>')
    return _figure(title, "; ".join(said), bottom + 28, parts, note=note)


def curve(
    points: Sequence[Point],
    *,
    title: str,
    x_label: str,
    y_label: str,
    name: str = "",
    diagonal: bool = False,
    note: object = "",
) -> Markup:
    """One curve, such as ROC, calibration or power tuning; ``diagonal`` draws y = x for comparison."""
    return _plot(
        [(name or y_label, points)],
        title=title,
        x_label=x_label,
        y_label=y_label,
        thresholds=(),
        x_format=lambda v: number(v, 3),
        from_zero=False,
        diagonal=diagonal,
        note=note,
    )


def _plot(
    series: Sequence[tuple[str, Sequence[Point]]],
    *,
    title: str,
    x_label: str,
    y_label: str,
    thresholds: Sequence[tuple[str, float]],
    x_format: Callable[[float], str],
    from_zero: bool,
    diagonal: bool,
    note: object,
    bands: Sequence[Sequence[Band]] = (),
) -> Markup:
    legend, rows = _legend([name for name, _ in series], y_label) if len(series) > 1 else ("", 0)
    left, top, bottom = 58, 24 + 18 * rows, 46 if x_label else 28
    height = 236 + top
    known = [(name, [(float(x), _finite(y)) for x, y in points if math.isfinite(x)]) for name, points in series]
    xs = [x for _, points in known for x, _ in points]
    stretches = [_stretches(band) for band in bands]
    ys = [y for _, points in known for _, y in points if y is not None] + [y for _, y in thresholds]
    ys += [y for series_stretches in stretches for one in series_stretches for _, *ends in one for y in ends]
    if from_zero or not ys:
        ys.append(0.0)
    if diagonal and xs:
        ys += [min(xs), max(xs)]
    y_marks = ticks(min(ys), max(ys), 4)
    x_low, x_high = (min(xs), max(xs)) if xs else (0.0, 1.0)
    if x_high <= x_low:
        x_low, x_high = x_low - 0.5, x_high + 0.5
    to_x = _scale(x_low, x_high, left, WIDTH - 16)
    to_y = _scale(y_marks[0], y_marks[-1], height - bottom, top)
    parts = [_horizontal_grid(y_marks, to_y, left, WIDTH - 8)]
    x_marks = [t for t in ticks(x_low, x_high, 4) if x_low - 1e-12 <= t <= x_high + 1e-12] or [x_low]
    for mark in x_marks:
        text = x_format(mark)
        half = LETTER * len(text) / 2  # a label at the edge stays inside the figure
        x = min(max(to_x(mark), half), WIDTH - 2 - half)
        parts.append(f'<text x="{_n(x)}" y="{height - bottom + 16}" text-anchor="middle">{escape(text)}</text>')
    if diagonal and xs:
        parts.append(
            f'<line class="diagonal" x1="{_n(to_x(x_low))}" y1="{_n(to_y(x_low))}" '
            f'x2="{_n(to_x(x_high))}" y2="{_n(to_y(x_high))}"/>'
        )
    for label, value in thresholds:
        y = _n(to_y(value))
        parts.append(
            f'<line class="limit" x1="{left}" x2="{WIDTH - 8}" y1="{y}" y2="{y}"/>'
            f'<text class="limittext" x="{WIDTH - 10}" y="{_n(to_y(value) - 5)}" text-anchor="end">'
            f"{escape(label)}</text>"
        )
    parts += [_band(f"{s % SERIES}", one, to_x, to_y) for s, found in enumerate(stretches) for one in found]
    for s, (_, points) in enumerate(known):
        for run in _runs(points):
            if len(run) == 1:
                x, y0 = run[0]
                parts.append(f'<circle class="s{s % SERIES}" cx="{_n(to_x(x))}" cy="{_n(to_y(y0))}" r="3"/>')
            else:
                path = " ".join(f"{_n(to_x(x))},{_n(to_y(y0))}" for x, y0 in run)
                parts.append(f'<polyline class="line l{s % SERIES}" points="{path}"/>')
    parts += _labels(x_label, y_label, left, height)
    parts.append(legend)
    return _figure(title, _describe(known, x_format), height, parts, note=note)


def _describe(known: Sequence[tuple[str, list[Point]]], x_format: Callable[[float], str]) -> str:
    said = []
    for name, points in known:
        values = [(x, y) for x, y in points if y is not None]
        if not values:
            said.append(f"{name}: no values")
            continue
        (x0, first), (x1, last) = values[0], values[-1]
        low, high = min(y for _, y in values), max(y for _, y in values)
        said.append(
            f"{name}: {len(values)} points from {number(first, 3)} at {x_format(x0)} to {number(last, 3)} at "
            f"{x_format(x1)}, between {number(low, 3)} and {number(high, 3)}"
        )
    return "; ".join(said)


def _runs(points: Sequence[Point]) -> list[list[tuple[float, float]]]:
    """Maximal stretches of points that have a y."""
    runs: list[list[tuple[float, float]]] = [[]]
    for x, y in points:
        if y is None:
            runs.append([])
        else:
            runs[-1].append((x, float(y)))
    return [run for run in runs if run]


def _stretches(band: Sequence[Band]) -> list[list[tuple[float, float, float]]]:
    """Maximal stretches of intervals that have both ends."""
    found: list[list[tuple[float, float, float]]] = [[]]
    for x, low, high in band:
        ends = _finite(low), _finite(high)
        if ends[0] is None or ends[1] is None or not math.isfinite(x):
            found.append([])
        else:
            found[-1].append((float(x), ends[0], ends[1]))
    return [one for one in found if one]


def _band(
    colour: str, one: Sequence[tuple[float, float, float]], to_x: Callable[[float], float],
    to_y: Callable[[float], float],
) -> str:  # fmt: skip
    """A stretch of intervals; of a single one the line from end to end."""
    if len(one) == 1:
        x, low, high = one[0]
        ends = f'x1="{_n(to_x(x))}" x2="{_n(to_x(x))}" y1="{_n(to_y(high))}" y2="{_n(to_y(low))}"'
        return f'<line class="l{colour}" stroke-width="2" stroke-opacity="0.45" {ends}/>'
    edge = [(x, high) for x, _, high in one] + [(x, low) for x, low, _ in reversed(one)]
    path = " ".join(f"{_n(to_x(x))},{_n(to_y(y))}" for x, y in edge)
    return f'<polygon class="s{colour}" fill-opacity="0.16" points="{path}"/>'


def _finite(value: Number) -> float | None:
    if value is None or not math.isfinite(value):
        return None
    return float(value)


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    span = high - low
    return lambda value: start + (end - start) * ((value - low) / span if span else 0.5)


def _n(value: float) -> str:
    """A coordinate, to a tenth of a pixel."""
    return f"{value:.1f}".rstrip("0").rstrip(".")


def _short(text: object, length: int) -> Markup:
    plain = str(text)
    return escape(plain if len(plain) <= length else plain[: length - 1] + "…")


def _horizontal_grid(marks: Sequence[float], to_y: Callable[[float], float], left: float, right: float) -> str:
    return "".join(
        f'<line class="grid" x1="{left}" x2="{right}" y1="{_n(to_y(m))}" y2="{_n(to_y(m))}"/>'
        f'<text x="{left - 6}" y="{_n(to_y(m) + 4)}" text-anchor="end">{escape(number(m, 3))}</text>'
        for m in marks
    )


def _vertical_grid(marks: Sequence[float], to_x: Callable[[float], float], top: float, bottom: float) -> str:
    return "".join(
        f'<line class="grid" x1="{_n(to_x(m))}" x2="{_n(to_x(m))}" y1="{top}" y2="{bottom}"/>'
        f'<text x="{_n(to_x(m))}" y="{bottom + 14}" text-anchor="middle">{escape(number(m, 3))}</text>'
        for m in marks
    )


def _labels(x_label: str, y_label: str, left: float, height: float) -> list[str]:
    return [
        f'<text x="{_n((left + WIDTH) / 2)}" y="{height - 6}" text-anchor="middle">{escape(x_label)}</text>'
        if x_label
        else "",
        f'<text x="2" y="12">{escape(y_label)}</text>' if y_label else "",
    ]


def _legend(names: Sequence[str], y_label: str) -> tuple[str, int]:
    """Names of all series, and how many rows of their own they need: none where they fit beside ``y_label``."""
    texts = [str(name)[:40] for name in names]
    widths = [LETTER * len(text) + 24 for text in texts]
    x, y, rows = WIDTH - 8 - sum(widths), 12, 0
    if x < LETTER * len(y_label) + 12:
        x, y, rows = 8.0, 30, 1
    parts = []
    for s, (text, width) in enumerate(zip(texts, widths, strict=True)):
        if rows and x > 8 and x + width > WIDTH - 8:
            x, y, rows = 8.0, y + 18, rows + 1
        parts.append(
            f'<rect class="s{s % SERIES}" x="{_n(x)}" y="{y - 9}" width="10" height="10" rx="2"/>'
            f'<text x="{_n(x + 14)}" y="{y}">{escape(text)}</text>'
        )
        x += width
    return "".join(parts), rows


def _margin(labels: Sequence[str]) -> float:
    """Room for the names of rows."""
    return 14 + LETTER * max((min(len(str(label)), NAME) for label in labels), default=4)


def _figure(title: str, description: str, height: float, parts: Sequence[str], *, note: object) -> Markup:
    body = "".join(parts)
    # Ids must be unique on the page; the same figure twice may share one.
    key = hashlib.sha256((title + body).encode()).hexdigest()[:10]
    small = f'<p class="note">{escape(note)}</p>' if note else ""
    return Markup(
        f"<figure><figcaption>{escape(str(title))}</figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {_n(height)}" role="img" aria-labelledby="t{key} d{key}" '
        f'preserveAspectRatio="xMidYMid meet"><title id="t{key}">{escape(str(title))}</title>'
        f'<desc id="d{key}">{escape(description)}</desc>{body}</svg>{small}</figure>'
    )
