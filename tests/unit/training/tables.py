"""Tables of every kind of feature, with a target that depends on them."""

from __future__ import annotations

import numpy as np

from mlops.contract import Contract, Target, Training
from mlops.features.columns import Column, Columns
from mlops.features.spec import Feature

NUMBERS = (Feature("a", "number", minimum=-1000.0, maximum=1000.0), Feature("b", "integer"))
MISSING = (Feature("a", "number", nullable=True), Feature("b", "integer", nullable=True))
CATEGORIES = (
    Feature("a", "number"),
    Feature("c", "category", categories=("p", "q", "r", "s"), nullable=True, on_unknown="other"),
    Feature("g", "category", categories=("x", "y")),
)
DATES = (Feature("a", "number"), Feature("d", "date"), Feature("e", "date", nullable=True))
BOOLEANS = (Feature("b", "integer"), Feature("f", "boolean"), Feature("h", "boolean", nullable=True))
EVERYTHING = (*MISSING, *CATEGORIES[1:], *DATES[1:], *BOOLEANS[1:])

KINDS = {
    "numbers": NUMBERS,
    "missing": MISSING,
    "categories": CATEGORIES,
    "many levels": (
        *CATEGORIES,
        Feature("l", "category", categories=tuple("abcdefghij"), nullable=True, on_unknown="other", pooled=("c", "i")),
    ),
    "dates": DATES,
    "booleans": BOOLEANS,
    "everything": EVERYTHING,
}
CLASSES = {"binary": ("no", "yes"), "multiclass": ("low", "mid", "high"), "regression": ()}


def contract(task: str, features: tuple[Feature, ...], **training: object) -> Contract:
    classes = CLASSES[task]
    return Contract(
        name="example",
        task="classification" if classes else "regression",
        target=Target("y", classes, "yes" if task == "binary" else None),
        features=features,
        training=Training(**training),  # type: ignore[arg-type]
    )


def table(task: str, features: tuple[Feature, ...], rows: int = 240, seed: int = 0) -> Columns:
    rng = np.random.default_rng(seed)
    signal = np.zeros(rows)
    columns = []
    for feature in features:
        if feature.type == "category":
            levels = (*feature.categories, *(("unheard-of",) if feature.on_unknown == "other" else ()))
            codes = rng.integers(-1 if feature.nullable else 0, len(levels), rows).astype(np.int32)
            signal += 0.8 * codes
            columns.append(Column(feature.name, "category", codes, levels))
            continue
        if feature.type == "number":
            values = rng.normal(50, 20, rows)
        elif feature.type == "integer":
            values = rng.integers(0, 100, rows).astype(float)
        elif feature.type == "boolean":
            values = rng.integers(0, 2, rows).astype(float)
        else:
            values = 20_000 + np.round(rng.random(rows) * 400 * 86_400) / 86_400
        signal += (values - values.mean()) / values.std()
        if feature.nullable:
            values[rng.random(rows) < 0.15] = np.nan
        columns.append(Column(feature.name, feature.type, values))
    signal += rng.normal(0, 0.3, rows)
    return Columns((*columns, target(task, signal)))


def target(task: str, signal: np.ndarray) -> Column:
    if task == "regression":
        return Column("y", "number", 1000 + 250 * signal)
    edges = [np.median(signal)] if task == "binary" else list(np.quantile(signal, [0.3, 0.7]))
    return Column("y", "category", np.digitize(signal, edges).astype(np.int32), CLASSES[task])
