"""Compare predict with its floor and with other ways to serve the same model.

    python -m benchmarks.predict [--rounds 15] [--only "floor,serverless-mlops"] [--skip-cold] [--skip-warm]

`make bench` runs it with mlflow as well; ROUNDS=5 takes a few minutes once the environments are made.
Makes every environment itself (below .cache/bench), prints a table, and writes `.cache/bench/predict.json` and
`.cache/bench/predict.html`. Only ratios of one run mean anything: the machine decides the milliseconds.
"""

from __future__ import annotations

import argparse
import json
import sys
from statistics import median
from typing import Any

from benchmarks.predict.environments import CACHE, FLOOR, OURS, PEERS, Peer, prepare
from benchmarks.predict.measure import Samples, cold, ratio, warm
from mlops.report.html import figures, page, paragraph, section, table
from mlops.report.svg import bars

#: (what, samples, ratio of which to which, how it is bounded). The ratio of CPU time is printed beside: a busy machine
#: leaves it alone.
GOALS = (
    ("cold start, against the floor", "cold", OURS, FLOOR, "at most", 1.15),
    ("cold start, FastAPI + Mangum against ours", "cold", "FastAPI + Mangum + onnxruntime", OURS, "at least", 3.0),
    ("cold start, scikit-learn + joblib against ours", "cold", "scikit-learn + joblib", OURS, "at least", 8.0),
    ("warm, 1 row, against the floor", "1", OURS, FLOOR, "at most", 1.5),
    ("warm, 100 rows, against the floor", "100", OURS, FLOOR, "at most", 1.5),
)
TITLES = {
    "cold": "cold start, ms",
    "cold cpu": "of CPU, ms",
    "1": "1 row, µs",
    "1 cpu": "of CPU, µs",
    "100": "100 rows, µs",
    "100 cpu": "of CPU, µs",
    "memory": "memory, MB",
}


def say(text: str) -> None:
    print(text, end="\r", file=sys.stderr, flush=True)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.predict", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", default="", help="names of peers, separated by commas")
    parser.add_argument("--skip-cold", action="store_true")
    parser.add_argument("--skip-warm", action="store_true")
    options = parser.parse_args(arguments)
    names = {n.strip() for n in options.only.split(",") if n.strip()}
    peers = tuple(p for p in PEERS if not names or p.name in names)
    peers = prepare(peers)
    measured: dict[str, Samples] = {}
    if not options.skip_warm:
        times, _ = warm([p for p in peers if p.name != "bare handler"], options.rounds, say)
        measured |= times
    if not options.skip_cold:
        measured |= cold(peers, options.rounds, say)
    goals = check(measured)
    report(peers, measured, goals)
    return 0


def check(measured: dict[str, Samples]) -> list[dict[str, Any]]:
    """Every goal whose two sides were measured, with the ratio found."""
    found = []
    for title, kind, above, below, how, bound in GOALS:
        samples = measured.get(kind, {})
        if samples.get(above) and samples.get(below):
            value = ratio(samples, above, below)
            used = ratio(measured[f"{kind} cpu"], above, below)
            met = value <= bound if how == "at most" else value >= bound
            row = {"goal": title, "bound": f"{how} {bound}", "ratio": round(value, 2), "of CPU": round(used, 2)}
            found.append({**row, "met": met})
    return found


def report(peers: tuple[Peer, ...], measured: dict[str, Samples], goals: list[dict[str, Any]]) -> None:
    kinds = [k for k in TITLES if k in measured]
    header = ["", *(TITLES[k] for k in kinds)]
    rows = [[p.name, *(_cell(measured[k], p.name, k) for k in kinds)] for p in peers]
    widths = [max(len(r[i]) for r in [header, *rows]) for i in range(len(header))]
    for row in [header, *rows]:
        print("  ".join(cell.ljust(widths[0]) if not i else cell.rjust(widths[i]) for i, cell in enumerate(row)))
    print()
    for goal in goals:
        found = f"{goal['ratio']:6.2f}  of CPU {goal['of CPU']:6.2f}"
        print(f"{'met   ' if goal['met'] else 'missed'}  {found}  ({goal['bound']})  {goal['goal']}")
    medians = {k: {n: median(v) for n, v in s.items() if v} for k, s in measured.items()}
    body = {"python": sys.version.split()[0], "medians": medians, "goals": goals, "samples": measured}
    (CACHE / "predict.json").write_text(json.dumps(body, indent=1))
    drawn = [bars(list(m), list(m.values()), title=TITLES[k], highlight=[OURS]) for k, m in medians.items()]
    parts = [
        section("Figures", figures(drawn)),
        section("Table", table(header, rows)),
        section("Goals", table(["goal", "bound", "ratio", "of CPU", "met"], [list(g.values()) for g in goals])),
    ]
    summary = paragraph("Medians of interleaved rounds; in brackets the multiple of the floor.")
    (CACHE / "predict.html").write_text(page("predict: speed", summary, parts))
    print(f"\n{CACHE / 'predict.html'}", file=sys.stderr)


def _cell(samples: Samples, name: str, kind: str) -> str:
    values = samples.get(name)
    if not values:
        return "-"
    text = f"{median(values):.0f}" if kind[0] != "1" or median(values) >= 100 else f"{median(values):.1f}"
    if kind == "memory" or name == FLOOR or not samples.get(FLOOR):
        return text
    return f"{text} ({ratio(samples, name, FLOOR):.2f})"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
