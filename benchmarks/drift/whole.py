"""Known answers of the whole decision: columns that go together, predictions, and what counts after confirmation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.drift.known import Z, interval
from mlops.contract import Drift
from mlops.drift.decision import Verdict, confirmed, decide
from mlops.features.columns import Column, Columns
from mlops.features.spec import Feature
from mlops.statistics.baseline import accumulate, build

Table = npt.NDArray[np.float64]
COLUMNS = 20
FEATURES = [Feature(f"n{i}", "number") for i in range(COLUMNS)]
POLICY = Drift(confirmations=2, windows=3)
#: Windows that are checked against one baseline, in order.
RUN = 25
#: Levels at which the correction for many tests is judged: the default, and one that a simulation tells better.
LEVELS = (0.01, 0.1)


@dataclass(frozen=True)
class World:
    """Twenty normal columns. ``together``: correlation of all (of pairs of them when negative); now ``moved`` of them
    lie ``by`` standard deviations higher; ``turned``: the model's answers alone lie so much higher, as when something
    changed that no column shows; ``parted``: no column goes with any other."""

    name: str
    together: float = 0.0
    moved: int = 0
    by: float = 0.0
    turned: float = 0.0
    parted: bool = False

    def draw(self, rng: np.random.Generator, rows: int, now: bool) -> tuple[Columns, Table]:
        """Columns, and the probability that a model gives: a function of the first column before it moves."""
        x = rng.normal(size=(COLUMNS, rows))
        together = 0.0 if now and self.parted else self.together
        if together > 0:
            x = np.sqrt(together) * rng.normal(size=rows) + np.sqrt(1 - together) * x
        elif together < 0:
            x[1::2] = together * x[::2] + np.sqrt(1 - together**2) * x[1::2]
        answer = x[0] + (self.turned if now else 0.0)
        if now:
            x[: self.moved] += self.by
        return Columns(tuple(Column(f.name, f.type, v) for f, v in zip(FEATURES, x, strict=True))), (
            1 / (1 + np.exp(-answer))
        )[:, None]

    def runs(self, windows: int, n: int, m: int) -> Iterator[list[Verdict]]:
        """Runs of windows of ``m`` rows, each against a baseline of ``n`` rows of its own."""
        rng = np.random.default_rng(n + m)
        for _ in range(max(1, windows // RUN)):
            table, scores = self.draw(rng, n, now=False)
            baseline = build(FEATURES, table, predictions=scores, pairs=True)
            found = []
            for _ in range(RUN):
                table, scores = self.draw(rng, m, now=True)
                found.append(decide(baseline, accumulate(baseline, table, scores), POLICY))
            yield found


def counted(verdicts: Sequence[Verdict]) -> list[bool]:
    """Which windows count, in order, after the contract's confirmations."""
    told, earlier = [], list[bool]()
    for verdict in verdicts:
        drift = verdict.status == "drift"
        told.append(confirmed(drift, earlier, needed=POLICY.confirmations, windows=POLICY.windows))
        earlier.insert(0, drift)
    return told


QUIET = (
    World("independent"),
    World("correlation 0.5", together=0.5),
    World("correlation 0.9", together=0.9),
    World("pairs of -0.9", together=-0.9),
)


def quiet(windows: int, n: int = 2_000, m: int = 500) -> list[str]:
    """Shares of windows without drift, by how columns go together."""
    found = {world.name: list(world.runs(windows, n, m)) for world in QUIET}
    rows: dict[str, Callable[[Verdict], bool]] = {
        f"any {role} significant (stated: at most {level:g})": _significant(role, level)
        for level in LEVELS
        for role in ("feature", "relation", "prediction")
    }
    rows["any column or correlation called different"] = lambda v: bool(v.drifted)
    rows["called drift"] = lambda v: v.status == "drift"
    lines = _head(f"{windows:,} windows of {m:,} rows each", list(found))
    for name, holds in rows.items():
        shares = [interval([holds(v) for run in runs for v in run]) for runs in found.values()]
        lines.append(f"| {name} | {' | '.join(shares)} |")
    shares = [interval([told for run in runs for told in counted(run)]) for runs in found.values()]
    return [*lines, f"| counts, two of three | {' | '.join(shares)} |"]


def false_discoveries(windows: int, n: int = 2_000, m: int = 500) -> list[str]:
    """Five of twenty columns moved by 0.3 deviations: of columns called significant the mean share of those that did
    not move, beside what Benjamini and Hochberg's correction states; and how many of those that moved are found."""
    worlds = [World(w.name, w.together, moved=5, by=0.3) for w in QUIET]
    truth = {f"n{i}" for i in range(5)}
    lines = _head(f"{windows:,} windows of {m:,} rows each", [w.name for w in worlds])
    found = [[v for run in world.runs(windows, n, m) for v in run] for world in worlds]
    for level in LEVELS:
        wrong, right = [], []
        for verdicts in found:
            named = [{f.feature for f in v.findings if f.role == "feature" and f.q_value <= level} for v in verdicts]
            wrong.append(_mean([len(names - truth) / max(1, len(names)) for names in named]))
            right.append(_mean([len(names & truth) / len(truth) for names in named]))
        lines.append(f"| false share at {level:g} (stated: at most {level * 0.75:g}) | {' | '.join(wrong)} |")
        lines.append(f"| found of those that moved, at {level:g} | {' | '.join(right)} |")
    return lines


def power(windows: int, n: int = 2_000, m: int = 500) -> list[str]:
    """Share of windows called drift, of runs in which drift counts by the third window, by what changed."""
    worlds = [
        *(World(f"7 of 20 columns by {s:g}", moved=7, by=s) for s in (0.3, 0.4, 0.5, 0.6, 0.8)),
        *(World(f"7 of 20 columns by {s:g}, correlation 0.9", 0.9, moved=7, by=s) for s in (0.4, 0.6, 0.8)),
        *(World(f"the model's answers alone by {s:g}", turned=s) for s in (0.3, 0.4, 0.5, 0.6, 0.8)),
        *(World(f"a correlation of {r:g} gone", r, parted=True) for r in (0.3, 0.5, 0.8)),
    ]
    lines = _head(f"{windows:,} windows of {m:,} rows each", ["called drift", "counts by the third window", "first"])
    for world in worlds:
        runs = list(world.runs(windows, n, m))
        verdicts = [v for run in runs for v in run]
        # A run begins with the change; every three windows of it are one.
        starts = [any(counted(run[i : i + 3])) for run in runs for i in range(0, RUN - 2, 3)]
        told = interval([v.status == "drift" for v in verdicts])
        firsts = [v.first(1)[0].role for v in verdicts if v.drifted]
        role = max(sorted(set(firsts)), key=firsts.count) if firsts else ""
        lines.append(f"| {world.name} | {told} | {interval(starts)} | {role} |")
    return lines


def _significant(role: str, level: float) -> Callable[[Verdict], bool]:
    return lambda v: any(f.q_value <= level for f in v.findings if f.role == role)


def _mean(values: Sequence[float]) -> str:
    """A mean with its interval of 95 %."""
    middle = float(np.mean(values))
    half = Z * float(np.std(values, ddof=1)) / np.sqrt(len(values))
    return f"{middle:.3g} ({max(0.0, middle - half):.4f} to {middle + half:.4f})"


def _head(title: str, names: Sequence[str]) -> list[str]:
    return [f"| {title} | {' | '.join(names)} |", "|---|" + "---|" * len(names)]
