"""Pictures of columns: few bins, one far value hides nothing, dates and booleans in words."""

from __future__ import annotations

import numpy as np

from mlops.contract import Contract, Target
from mlops.data.profile import profile
from mlops.features.columns import Columns, category_column, float_column
from mlops.features.spec import Feature


def test_bins_of_every_type() -> None:
    features = (
        Feature("n", "number"),
        Feature("d", "date"),
        Feature("f", "boolean"),
        Feature("c", "category"),
        Feature("empty", "number"),
        Feature("name", "category", pii="drop"),
    )
    values = np.append(np.linspace(0, 10, 999), 1e9)
    table = Columns(
        (
            float_column("y", "number", values),
            float_column("n", "number", values),
            float_column("d", "date", 20_000 + np.arange(1_000) % 3),
            float_column("f", "boolean", [1.0, None] * 500),
            category_column("c", [f"level {i % 20}" for i in range(1_000)]),
            float_column("empty", "number", [None] * 1_000),
            category_column("name", ["Ada"] * 1_000),
        )
    )
    found = {c["name"]: c for c in profile(table, Contract("m", "regression", Target("y"), features))}
    assert list(found) == ["y", "n", "d", "f", "c", "empty"]
    counts = [b["count"] for b in found["n"]["bins"]]
    assert sum(counts) == 1_000
    assert min(counts) > 90
    assert [b["label"] for b in found["d"]["bins"]] == ["2024-10-04", "2024-10-05", "2024-10-06"]
    assert (found["f"]["missing"], found["f"]["bins"]) == (0.5, [{"label": "true", "count": 500}])
    assert found["c"]["bins"][-1] == {"label": "12 more", "count": 600}
    assert (found["empty"]["missing"], found["empty"]["bins"]) == (1.0, [])
