"""A year of events under the launcher's policy and three simple ones.

    python -m benchmarks.retraining [--seeds 20] [--plot docs/figures/retraining.svg]

Prints the table of docs/retraining.md. The same seeds give the same figures on any machine.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from benchmarks.retraining.simulate import POLICIES, Life, live, months_over
from benchmarks.retraining.world import DAYS, Assumptions, draw
from mlops.report import svg

#: From where a model is called stale: what a drift check sees well.
STALE = 1.0
_STYLE = (
    "text{font:11px sans-serif;fill:#555}.grid{stroke:#ddd}.line{fill:none;stroke-width:1.6}"
    ".l0{stroke:#1f6feb}.l1{stroke:#2da44e}.l2{stroke:#8c959f}.l3{stroke:#cf222e}"
    ".s0{fill:#1f6feb}.s1{fill:#2da44e}.s2{fill:#8c959f}.s3{fill:#cf222e}"
)


@dataclass(frozen=True)
class Row:
    """A policy's means over all years."""

    policy: str
    runs: float
    usd: float
    staleness: float
    stale_days: float
    months_over: float
    places: Counter[str]


def compare(seeds: int, assume: Assumptions | None = None) -> tuple[list[Row], dict[str, Life]]:
    """Every policy over the same years; also the lives of the first one."""
    known = assume or Assumptions()
    years = [draw(seed, known) for seed in range(seeds)]
    rows, shown = [], {}
    for name, policy in POLICIES.items():
        lives = [live(policy, year, known) for year in years]
        shown[name] = lives[0]
        places: Counter[str] = Counter()
        for life in lives:
            places.update(life.places)
        rows.append(
            Row(
                name,
                sum(len(life.launches) for life in lives) / seeds,
                float(sum(life.usd for life in lives)) / seeds,
                math.fsum(gap for life in lives for gap in life.staleness) / seeds / DAYS,
                sum(sum(gap > STALE for gap in life.staleness) for life in lives) / seeds,
                sum(months_over(life, known) for life in lives) / seeds,
                places,
            )
        )
    return rows, shown


def table(rows: list[Row]) -> str:
    """As in the docs."""
    lines = [
        "| policy | trainings | USD for them | mean staleness | days stale | months over budget |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {r.policy} | {r.runs:.1f} | {r.usd:.2f} | {r.staleness:.2f} | {r.stale_days:.0f} | {r.months_over:.1f} |"
        for r in rows
    ]
    return "\n".join(lines)


def plot(shown: dict[str, Life], path: Path) -> None:
    """Staleness by day in the first year, as an SVG file that stands alone."""
    curves = [(name, [(float(d), gap) for d, gap in enumerate(life.staleness)]) for name, life in shown.items()]
    figure = svg.lines(curves, title="Staleness in one year", x_label="day", y_label="staleness", from_zero=True)
    found = re.search(r"<svg.*</svg>", str(figure), re.DOTALL)
    if found is None:
        raise ValueError("the figure has no svg")
    text = found[0].replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.replace(">", f"><style>{_STYLE}</style>", 1) + "\n", encoding="utf-8")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.retraining", description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20, help="years")
    parser.add_argument("--plot", type=Path, help="SVG file to write")
    wanted = parser.parse_args(arguments)
    rows, shown = compare(wanted.seeds)
    print(table(rows))
    for row in rows:
        print(f"{row.policy}: {dict(row.places)}")
    print("launcher, first year:", ", ".join(f"{k} {v}" for k, v in sorted(shown["launcher"].decisions.items())))
    if wanted.plot:
        plot(shown, wanted.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
