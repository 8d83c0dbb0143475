"""Prediction drift of a challenger: how far its answers to the same requests are distributed elsewhere.

Disagreement counts rows whose label changed. Drift sees what that does not: scores that moved without crossing the
threshold, and changes that all go one way. The distance is a weighted sum over *cells* of how much the share of answers
differs:

- two classes: the score of the positive class at 19 thresholds. The sum is the Wasserstein distance of the scores, 0 to
  1: by how much a score moved on average, as distributions.
- more classes: the share of each answered class. The sum is the total variation distance, 0 to 1.
- regression: the champion's answers in training, cut into parts of equal size, at each cut. The sum is the Wasserstein
  distance in ranks among those: 0.5 when all answers are above all of before. It needs no unit and no tail can hide it.

Both answers are to the same request, so only the rows where they fall on different sides of a cell count, and each
cell's two shares have exact confidence sequences (:func:`mlops.release.bounds.share_bounds`), all of them at once.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlops.errors import NotFoundError
from mlops.manifest import Manifest
from mlops.objects import ObjectStore, version_prefix
from mlops.release.bounds import share_bounds

#: Thresholds of a score, and the most cuts of a regression's answers.
CUTS = 19


@dataclass(frozen=True)
class Cells:
    """What answers are counted by.

    Attributes
    ----------
    cuts : ascending, of a score or a value; empty when answers are counted by class.
    count, weight : how many cells there are, and what each weighs in the distance.
    position : which of the scores is cut.
    """

    count: int
    weight: float
    cuts: tuple[float, ...] = ()
    position: int = 0

    def moved(self, champion: Sequence[float], challenger: Sequence[float], labels: tuple[int, int]) -> Moved:
        """The cells at which the challenger's answer lies above (``up``) or below (``down``) the champion's.

        ``labels``: positions of the classes that the two answer; they count where nothing is cut.
        """
        if not self.cuts:
            before, after = labels
            return ((after,), (before,)) if before != after else ((), ())
        low = bisect_right(self.cuts, champion[self.position])
        high = bisect_right(self.cuts, challenger[self.position])
        return (tuple(range(low, high)), tuple(range(high, low)))


Moved = tuple[tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True)
class Distance:
    """The estimate and its bounds."""

    value: float
    lower: float
    upper: float


def distance(cells: Cells, up: Mapping[str, int], down: Mapping[str, int], rows: int, alpha: float) -> Distance:
    """Of the two distributions, after ``rows`` pairs of answers; bounds that hold at every ``rows`` at once.

    Parameters
    ----------
    up, down : cell to the number of rows that moved over it, that way.
    """
    value = lower = upper = 0.0
    for cell in range(cells.count):
        more, less = sorted((up.get(str(cell), 0), down.get(str(cell), 0)), reverse=True)
        (low, high), (least, most) = (share_bounds(n, rows, alpha / (2 * cells.count)) for n in (more, less))
        value += (more - less) / rows if rows else 0.0
        lower += max(0.0, low - most)
        upper += min(1.0, max(high - least, most - low))
    return Distance(value * cells.weight, lower * cells.weight, min(1.0, upper * cells.weight))


def cells_of(manifest: Manifest, artifacts: ObjectStore) -> Cells | None:
    """The cells for a champion; None for a regression whose baseline does not tell how its answers were distributed."""
    if len(manifest.classes) > 2:
        return Cells(len(manifest.classes), 0.5)
    if manifest.classes:
        position = manifest.classes.index(manifest.positive) if manifest.positive in manifest.classes else 1
        return Cells(CUTS, 1 / (CUTS + 1), tuple(i / (CUTS + 1) for i in range(1, CUTS + 1)), position)
    edges = _inner_edges(artifacts, manifest)
    return Cells(len(edges), 1 / (len(edges) + 1), edges) if edges else None


def _inner_edges(artifacts: ObjectStore, manifest: Manifest) -> tuple[float, ...]:
    try:
        baseline = json.loads(artifacts.get(version_prefix(manifest.model, manifest.version) + "baseline.json"))
    except NotFoundError:
        return ()
    columns = [c for c in baseline.get("columns", ()) if c.get("role") == "prediction"]
    edges = columns[0].get("edges", ())[1:-1] if columns else ()
    step = -(-len(edges) // CUTS) or 1
    return tuple(edges[step - 1 :: step])
