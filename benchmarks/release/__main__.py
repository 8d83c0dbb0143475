"""How often a release is stopped that should not be, and how soon one that should: python -m benchmarks.release

Every line is many simulated steps of 1,000 requests, looked at after every 25 by the very functions that the release
uses, with its contract's defaults. Stopping is final, so a rule that peeking can fool is fooled here.
"""

from __future__ import annotations

import argparse
import functools
import math
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from statistics import median

import numpy as np
import numpy.typing as npt

from mlops.contract import Release
from mlops.features.spec import Feature
from mlops.manifest import Manifest
from mlops.release import bounds, shift
from mlops.release.losses import Paired, floor_of, increase, loss
from mlops.release.shift import CUTS, Cells, distance
from mlops.release.verdict import ALPHA

ROWS, EVERY = 1000, 25
RULES = Release()
BINARY = Manifest("m", "a", "classification", (Feature("x", "number"),), "y", ("no", "yes"), "yes")
VALUE = Manifest("m", "a", "regression", (Feature("x", "number"),), "y", value_range=(0.0, 10.0))
CELLS = Cells(CUTS, 1 / (CUTS + 1), tuple(i / (CUTS + 1) for i in range(1, CUTS + 1)), 1)

FloatArray = npt.NDArray[np.float64]
#: A look: rows seen -> whether the release stops, whether the estimate is above what is allowed (None: too few rows to
#: say), and whether a plain 98 % bound would stop it.
Look = Callable[[int], tuple[bool, bool | None, bool]]


def sigmoid(values: FloatArray) -> FloatArray:
    return 1 / (1 + np.exp(-values))


def drift(generator: np.random.Generator, moved: float) -> Look:
    """Scores of both versions; the challenger's logit lies ``moved`` above the champion's, and scatters."""
    logit = generator.normal(-0.5, 1.5, ROWS)
    before, after = sigmoid(logit), sigmoid(logit + moved + generator.normal(0, 0.4, ROWS))
    up: Counter[str] = Counter()
    down: Counter[str] = Counter()
    done = 0

    def look(rows: int) -> tuple[bool, bool | None, bool]:
        nonlocal done
        for a, b in zip(before[done:rows], after[done:rows], strict=True):
            raised, lowered = CELLS.moved((1 - a, a), (1 - b, b), (0, 0))
            up.update(map(str, raised))
            down.update(map(str, lowered))
        done = rows
        found = distance(CELLS, up, down, rows, ALPHA)
        gap = after[:rows] - before[:rows]
        plain = abs(float(gap.mean())) - 2.054 * float(gap.std(ddof=1)) / math.sqrt(rows)
        limit = RULES.max_prediction_drift or 1.0
        if rows < RULES.min_requests:
            return False, None, False
        return found.lower > limit, found.value > limit, plain > limit

    return look


def true_distance(moved: float) -> float:
    generator = np.random.default_rng(1)
    logit = generator.normal(-0.5, 1.5, 200_000)
    after = sigmoid(logit + moved + generator.normal(0, 0.4, 200_000))
    before = sigmoid(logit)
    return float(np.mean([abs((before <= t).mean() - (after <= t).mean()) for t in CELLS.cuts])) * CUTS / (CUTS + 1)


def classified(generator: np.random.Generator, noise: float) -> Look:
    """Labels of every second request; the challenger's logit scatters by ``noise`` where the champion's does by 0.5."""
    logit = generator.normal(-0.5, 1.5, ROWS)
    truth = generator.random(ROWS) < sigmoid(logit)
    own, its = (sigmoid(logit + generator.normal(0, n, ROWS)) for n in (0.5, noise))
    losses = [
        (loss(BINARY, (1 - a, a), int(t)), loss(BINARY, (1 - b, b), int(t)))
        for a, b, t in zip(own, its, truth, strict=True)
    ]
    return _labelled(losses, floor_of(BINARY))


def measured(generator: np.random.Generator, noise: float) -> Look:
    """The same of a regression with errors of heavy tails; ``noise``: the challenger's own error, in the champion's."""
    common = generator.standard_t(4, ROWS)
    own, its = (common + n * generator.standard_t(4, ROWS) for n in (1.0, noise))
    losses = [(float(abs(a)), float(abs(b))) for a, b in zip(own, its, strict=True)]
    return _labelled(losses, floor_of(VALUE))


def _labelled(losses: list[tuple[float, float]], floor: float) -> Look:
    known = losses[::2]
    total, done = Paired(), 0

    def look(rows: int) -> tuple[bool, bool | None, bool]:
        nonlocal total, done
        for a, b in known[done : rows // 2]:
            total += Paired.of(a, b)
        done = rows // 2
        limit = RULES.max_realised_loss or 0.0
        found = increase(total, limit, floor, ALPHA, RULES.min_labels)
        if found is None or total.rows < RULES.min_labels:
            return False, None, False
        seen = np.array(known[:done])
        excess = seen[:, 1] - (1 + limit) * seen[:, 0]
        plain = float(excess.mean()) - 2.054 * float(excess.std(ddof=1)) / math.sqrt(done)
        return found.lower > limit, found.value > limit, plain > 0

    return look


def true_increase(make: Callable[[np.random.Generator, float], Look], noise: float) -> float:
    generator = np.random.default_rng(2)
    size = 400_000
    if make is measured:
        common = generator.standard_t(4, size)
        own, its = (np.abs(common + n * generator.standard_t(4, size)).mean() for n in (1.0, noise))
    else:
        logit = generator.normal(-0.5, 1.5, size)
        truth = generator.random(size) < sigmoid(logit)
        own, its = ((sigmoid(logit + generator.normal(0, n, size)) - truth) ** 2 for n in (0.5, noise))
        own, its = own.mean(), its.mean()
    return float(its / own - 1)


def one(make: Callable[[np.random.Generator, float], Look], how: float, seed: int) -> tuple[int, bool, bool]:
    """Requests after which a step was stopped (0: never), whether it was held at the first look with enough evidence,
    and whether plain bounds would have stopped it."""
    look = make(np.random.default_rng(seed), how)
    stopped, held, fooled = 0, None, False
    for rows in range(EVERY, ROWS + 1, EVERY):
        stops, above, plain = look(rows)
        stopped = stopped or (rows if stops else 0)
        held = above if held is None else held
        fooled = fooled or plain
    return stopped, bool(held), fooled


def line(name: str, truth: float, make: Callable[[np.random.Generator, float], Look], how: float, runs: int) -> str:
    with ProcessPoolExecutor(2, initializer=_quick) as pool:
        found = list(pool.map(functools.partial(one, make, how), range(runs), chunksize=10))
    stopped = [rows for rows, _, _ in found if rows]
    when = f"{median(stopped):.0f}" if stopped else "-"
    held, plain = (sum(f[i] for f in found) / runs for i in (1, 2))
    return f"| {name} | {truth:.2f} | {held:.1%} | {len(stopped) / runs:.1%} | {when} | {plain:.1%} |"


def _quick() -> None:
    """The bounds of the same counts are asked for again and again here."""
    shift.share_bounds = functools.cache(bounds.share_bounds)  # type: ignore[assignment]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--what", choices=("drift", "loss", "both"), default="both")
    arguments = parser.parse_args()
    runs, what = arguments.runs, arguments.what
    print("| evidence | truth | held at the first look | stopped within 1,000 requests | after, median | plain bound |")
    print("|---|---|---|---|---|---|")
    for moved in (0.0, 0.7, 1.75, 2.6, 4.0) if what != "loss" else ():
        print(line("prediction drift", true_distance(moved), drift, moved, runs), flush=True)
    losses = (
        (classified, "realised loss, two classes", (0.5, 0.9, 1.25, 1.9, 4.0)),
        (measured, "realised loss, regression", (1.0, 1.2, 1.38, 2.0, 3.0)),
    )
    for make, name, noises in losses if what != "drift" else ():
        for noise in noises:
            print(line(name, true_increase(make, noise), make, noise, runs), flush=True)


if __name__ == "__main__":
    main()
