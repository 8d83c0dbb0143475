"""The demo's data: two real data sets that come with scikit-learn, split so that the population really shifts.

Breast cancer Wisconsin (diagnostic), 569 rows (Street, Wolberg, Mangasarian 1993), and diabetes, 442 rows (Efron,
Hastie, Johnstone, Tibshirani 2004). The first upload lacks the rows of one region (the largest tumours, the highest
body-mass indices); they arrive later, as traffic and then with their labels.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True)
class Sample:
    """One model's rows.

    ``usual``: the first upload, good rows. ``later``: the region that comes later. ``spoiled``: rows that were good
    and are damaged on purpose, with the code of what is wrong with each. ``features``: names of the inputs.
    """

    model: str
    target: str
    features: tuple[str, ...]
    usual: list[Row]
    later: list[Row]
    spoiled: list[tuple[str, Row]]

    def records(self, rows: Sequence[Row]) -> list[Row]:
        """Rows as a caller of the API sends them: without the target."""
        return [{k: v for k, v in row.items() if k != self.target} for row in rows]


def write_csv(path: Path, rows: Sequence[Row]) -> Path:
    """Write rows as a CSV file with a header."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def breast_cancer() -> Sample:
    """Tumours; the largest third of a tenth comes later."""
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    names = [str(n) for n in data.feature_names]
    rows = [
        {
            "patient_id": f"p{i:04d}",
            **dict(zip(names, map(float, values), strict=True)),
            "diagnosis": str(data.target_names[label]),
        }
        for i, (values, label) in enumerate(zip(data.data, data.target, strict=True))
    ]
    usual, later = _split(rows, "mean radius", 120)
    size = "mean radius"
    spoiled = _spoil(
        usual,
        [
            ("missing_value", lambda row: row | {size: ""}),
            ("not_finite", lambda row: row | {"mean area": "inf"}),
            ("above_maximum", lambda row: row | {size: 1e6}),
            ("wrong_type", lambda row: row | {"mean texture": "rough"}),
            ("below_minimum", lambda row: row | {"mean area": -5}),
            ("unknown_class", lambda row: row | {"diagnosis": "unclear"}),
            ("missing_target", lambda row: row | {"diagnosis": ""}),
        ],
    )
    spoiled.append(("duplicate_row", dict(usual[0])))
    return Sample("breast-cancer", "diagnosis", tuple(names), usual, later, spoiled)


def diabetes() -> Sample:
    """Patients; those with the highest body-mass index come later."""
    from sklearn.datasets import load_diabetes

    data = load_diabetes(scaled=False)
    names = [str(n) for n in data.feature_names]
    rows = []
    for i, (values, target) in enumerate(zip(data.data, data.target, strict=True)):
        row: Row = {"patient_id": f"d{i:04d}", **dict(zip(names, map(float, values), strict=True))}
        row["sex"] = str(int(row["sex"]))
        row["progression"] = float(target)
        rows.append(row)
    usual, later = _split(rows, "bmi", 90)
    spoiled = _spoil(
        usual,
        [
            ("unknown_category", lambda row: row | {"sex": "7"}),
            ("missing_value", lambda row: row | {"bp": ""}),
            ("not_finite", lambda row: row | {"bmi": "NaN ", "s1": "-inf"}),
            ("above_maximum", lambda row: row | {"age": 999}),
        ],
    )
    spoiled.append(("duplicate_row", dict(usual[0])))
    return Sample("diabetes", "progression", tuple(names), usual, later, spoiled)


def _split(rows: list[Row], by: str, count: int) -> tuple[list[Row], list[Row]]:
    """The ``count`` rows with the largest value of ``by`` apart, each part in its original order."""
    limit = sorted((row[by] for row in rows), reverse=True)[count - 1]
    return [r for r in rows if r[by] < limit], [r for r in rows if r[by] >= limit]


def _spoil(usual: list[Row], damages: list[tuple[str, Callable[[Row], Row]]]) -> list[tuple[str, Row]]:
    """Take evenly spaced rows out of ``usual`` and damage each in its own way."""
    step = math.floor(len(usual) / (len(damages) + 1))
    positions = [step * (i + 1) for i in range(len(damages))]
    taken = [usual[p] for p in positions]
    for position in reversed(positions):
        del usual[position]
    return [(code, damage(row)) for (code, damage), row in zip(damages, taken, strict=True)]
