"""Methods against Evidently, NannyML and alibi-detect: answers that they gave on the same samples, kept with their
versions (`python -m benchmarks.drift references` asks them again, in their own environments)."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlops.drift.methods import METHODS, Cells
from mlops.drift.significance import homogeneity

KNOWN: dict[str, Any] = json.loads((Path(__file__).parent / "references.json").read_text())
SAMPLES = range(len(KNOWN["samples"]))


def cells(number: int, less: float = 0.0, scale: float | None = None) -> Cells:
    old, new = (np.array(KNOWN["samples"][number][side], dtype=np.float64) for side in ("old", "new"))
    values = np.arange(len(old), dtype=np.float64)
    deviation = float(np.repeat(values, old.astype(int)).std())
    return Cells(old - less, new - less, True, values, scale or deviation)


def ours(method: str, number: int) -> float:
    if method == "psi":  # half a row less in each cell takes back the half that it adds for empty ones
        return METHODS["psi"].value(cells(number, less=0.5))
    if method == "wasserstein_of_values":
        return METHODS["wasserstein"].value(cells(number, scale=1.0))
    if method == "chi_square":  # at equal sizes V² is the statistic over the rows of both
        old, new = cells(number).old, cells(number).new
        n, m = old.sum(), new.sum()
        return float((n * m * (old / n - new / m) ** 2 / (old + new)).sum())
    if method == "chi_square_p":
        return homogeneity(cells(number))
    return METHODS[method].value(cells(number))


@pytest.mark.parametrize("number", SAMPLES)
@pytest.mark.parametrize("library", sorted(KNOWN["libraries"]))
def test_methods_agree_with_other_libraries(library: str, number: int) -> None:
    answers = dict(KNOWN["libraries"][library]["answers"][number])
    assert len(answers) >= 3
    if library == "evidently":
        answers.pop("chi_square_p")  # takes the reference's shares as exact, which makes chance look smaller
        answers["jensen_shannon"] /= math.sqrt(math.log(2))  # in base e
    if "chi_square_p" in answers and number:
        answers.pop("chi_square_p")  # these samples have rare cells, which drift-check pools and tests exactly
    for method, value in answers.items():
        assert ours(method, number) == pytest.approx(value, rel=2e-6), method


def test_every_library_says_which_version_it_was() -> None:
    assert all(entry["version"] for entry in KNOWN["libraries"].values())
