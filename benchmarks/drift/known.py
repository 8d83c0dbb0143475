"""Known answers: how often drift is called where there is none, and where there is, beside other libraries."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.drift.environments import CACHE, PEERS, run
from mlops.contract import Drift
from mlops.drift.decision import Verdict, decide
from mlops.features.columns import Column, Columns
from mlops.features.spec import Feature
from mlops.statistics.baseline import accumulate, build

Table = npt.NDArray[np.float64]
#: Two-sided 95 % of the normal distribution.
Z = 1.959964
FEATURES = [
    *(Feature(f"n{i}", "number") for i in range(6)),
    Feature("zeros", "number"),
    Feature("count", "integer", nullable=True),
    Feature("level", "category"),
    Feature("flag", "boolean"),
]
SIZES = ((300, 100), (300, 300), (2_000, 100), (2_000, 2_000), (20_000, 1_000))
SHIFTS, WINDOW_ROWS = (0.3, 0.4, 0.5, 0.6, 0.8), (100, 300, 1_000)


def interval(told: Sequence[bool]) -> str:
    """A share with its interval of 95 % (Wilson, J. Am. Stat. Assoc. 22, 1927)."""
    n, share = len(told), float(np.mean(told))
    middle = (share + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * float(np.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n)))
    return f"{share:.3g} ({max(0.0, middle - half):.3f} to {min(1.0, middle + half):.3f})"


def sample(rng: np.random.Generator, n: int, *, shift: float = 0.0, shifted: int = 0) -> Columns:
    """Six normal columns of which ``shifted`` moved, one with many zeros, counts with holes, 30 levels, a rare flag."""
    numbers = [Column(f"n{i}", "number", rng.normal(shift if i < shifted else 0.0, 1.0, n)) for i in range(6)]
    zeros = Column("zeros", "number", np.where(rng.random(n) < 0.4, 0.0, rng.exponential(size=n)))
    count = rng.poisson(3, n).astype(float)
    count[rng.random(n) < 0.05] = np.nan
    weights = 1 / np.arange(1, 31)
    level = rng.choice(30, n, p=weights / weights.sum()).astype(np.int32)
    return Columns(
        (
            *numbers,
            zeros,
            Column("count", "integer", count),
            Column("level", "category", level, tuple(f"level {i}" for i in range(30))),
            Column("flag", "boolean", (rng.random(n) < 0.03).astype(float)),
        )
    )


def verdicts(n: int, m: int, windows: int, **drift: Any) -> list[Verdict]:
    """Windows of ``m`` rows; a new baseline of ``n`` rows for every twenty-five."""
    rng, found = np.random.default_rng(n + m), []
    for i in range(windows):
        if i % 25 == 0:
            baseline = build(FEATURES, sample(rng, n), pairs=True)
        found.append(decide(baseline, accumulate(baseline, sample(rng, m, **drift)), Drift()))
    return found


def false_alarms(windows: int) -> list[str]:
    """Shares of windows without drift, as a Markdown table."""

    def significant(pairs: bool) -> Callable[[Verdict], bool]:
        return lambda v: any(f.q_value <= 0.01 for f in v.findings if (f.role == "relation") is pairs)

    rows: dict[str, Callable[[Verdict], bool]] = {
        "any column significant (stated: at most 0.01)": significant(False),
        "any correlation significant (stated: at most 0.01)": significant(True),
        "any column or correlation called different": lambda v: bool(v.drifted),
        "called drift": lambda v: v.status == "drift",
    }
    found = {size: verdicts(*size, windows) for size in SIZES}
    head = " | ".join(f"{n:,} / {m:,}" for n, m in SIZES)
    lines = [f"| {windows:,} windows each | {head} |", "|---|" + "---|" * len(SIZES)]
    for name, holds in rows.items():
        shares = " | ".join(f"{np.mean([holds(v) for v in found[s]]):.4f}" for s in SIZES)
        lines.append(f"| {name} | {shares} |")
    return lines


def power(windows: int) -> list[str]:
    """Share of windows called drift with four of ten columns moved, as a Markdown table."""
    head = " | ".join(str(s) for s in SHIFTS)
    lines = [f"| window rows | {head} |", "|---|" + "---|" * len(SHIFTS)]
    for m in WINDOW_ROWS:
        shares = [
            np.mean([v.status == "drift" for v in verdicts(2_000, m, windows, shift=s, shifted=4)]) for s in SHIFTS
        ]
        lines.append(f"| {m:,} | {' | '.join(f'{s:.2f}' for s in shares)} |")
    return lines


# Beside other libraries: numbers alone, which all of them take ----------------------------------------------------


def _numbers(rng: np.random.Generator, n: int, r: float = 0.8) -> Table:
    x = rng.normal(size=(10, n))
    x[1] = r * x[0] + np.sqrt(1 - r * r) * x[1]
    x[4], x[5] = np.exp(x[4]), np.exp(x[5])
    x[6] = np.where(rng.random(n) < 0.4, 0.0, np.abs(x[6]))
    x[7] = rng.poisson(3, n)
    x[8], x[9] = rng.random(n), rng.random(n)
    return np.asfortranarray(x.T)


def _moved(table: Table, by: float) -> Table:
    table[:, 2] += by
    table[:, 3] += by
    return table


#: Name -> (a window, the columns that truly moved).
CASES: dict[str, tuple[Callable[[np.random.Generator, int], Table], set[str]]] = {
    "no drift": (_numbers, set()),
    "two columns by 0.2 deviations": (lambda g, n: _moved(_numbers(g, n), 0.2), {"c2", "c3"}),
    "two columns by 0.6 deviations": (lambda g, n: _moved(_numbers(g, n), 0.6), {"c2", "c3"}),
    "a correlation of 0.8 gone": (lambda g, n: _numbers(g, n, 0.0), {"(multivariate)"}),
}


def beside(
    windows: int, rows: int, seconds: float, names: Collection[str] = (), cases: Collection[str] = ()
) -> list[str]:
    """The same windows for every library (or those of ``names``), each with its defaults, as a Markdown table: share
    of windows in which it names something that moved, and something that did not. One reference for every twenty
    windows: how often a library errs depends on the one that it got."""
    lines = [f"| {windows} windows of {rows:,} rows each | right | wrong |", "|---|---|---|"]
    for title, (make, truth) in CASES.items():
        if cases and title not in cases:
            continue
        rng, folder = np.random.default_rng(7), CACHE / "data" / "known"
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*.npy"):
            old.unlink()
        for i in range(-(-windows // 20)):
            np.save(folder / f"reference-{i}.npy", _numbers(rng, 5_000))
        for i in range(windows):
            np.save(folder / f"window-{i}.npy", make(rng, rows))
        for peer in PEERS:
            if peer.module in ("histogram", "whylogs_profile") or (names and peer.name not in names):
                continue
            print(f"{title}: {peer.name} …", file=sys.stderr, flush=True)
            lines.append(f"| {title}: {peer.name} | {_shares(peer, folder, truth, seconds)} |")
    return lines


def _shares(peer: Any, folder: Path, truth: set[str], seconds: float) -> str:
    try:
        found = [set(r["drifted"]) for r in run(peer, folder, seconds)]
    except subprocess.TimeoutExpired:
        return f"more than {seconds:.0f} s | "
    except subprocess.CalledProcessError as error:
        return f"{(error.stderr or 'cannot be installed').strip().splitlines()[-1][:80]} | "
    right = interval([bool(f & truth) for f in found]) if truth else "-"
    # Where two columns moved, what goes with them may be told of both; that is not wrong.
    wrong = interval([bool(f - truth - {"(multivariate)"}) if truth else bool(f) for f in found])
    return f"{right} | {wrong}"
