"""The table that every peer reads and the checks that every peer makes of it.

35 features and the target: 25 numbers, four whole numbers, four categories, a boolean and one number that may be
missing. It is clean but for what ``spoil`` asks for, so that the peers' answers can be compared.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

LEVELS = [f"level {i}" for i in range(10)]
CHECKS: dict[str, Any] = {
    "numbers": [f"number_{i}" for i in range(25)],
    "nullable": ["reading"],
    "integers": [f"integer_{i}" for i in range(4)],
    "categories": [f"category_{i}" for i in range(4)],
    "boolean": "flag",
    "target": "bought",
    "classes": ["no", "yes"],
    "levels": LEVELS,
    "number_range": [-200.0, 300.0],
    "integer_range": [0, 1000],
}
#: Cells that ``spoil`` breaks: a missing number, a number and an integer outside their ranges, an unknown level.
SPOILED = 4


def write(folder: Path, name: str, rows: int, *, spoil: bool = False) -> None:
    """``<name>.csv``, ``<name>.parquet`` and ``checks.json`` in the folder."""
    rng = np.random.default_rng(7)
    columns: dict[str, Any] = {n: np.round(rng.normal(50, 10, rows), 4) for n in CHECKS["numbers"]}
    columns |= {n: rng.integers(0, 1000, rows) for n in CHECKS["integers"]}
    columns |= {n: np.array(LEVELS)[rng.integers(0, len(LEVELS), rows)] for n in CHECKS["categories"]}
    columns["flag"] = rng.integers(0, 2, rows).astype(bool)
    columns["reading"] = pl.Series(np.round(rng.normal(50, 10, rows), 4)).scatter(np.arange(0, rows, 50), None)
    columns["bought"] = np.array(["no", "yes"])[rng.integers(0, 2, rows)]
    frame = pl.DataFrame(columns)
    if spoil:
        frame = frame.with_columns(
            frame["number_1"].scatter(3, None),
            frame["number_2"].scatter(5, 999.0),
            frame["integer_1"].scatter(7, -4),
            frame["category_2"].scatter(9, "no such level"),
        )
    frame.write_csv(folder / f"{name}.csv")
    frame.write_parquet(folder / f"{name}.parquet")
    (folder / "checks.json").write_text(json.dumps(CHECKS))
