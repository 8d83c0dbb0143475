"""Two versions side by side, from what lies beside them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops.errors import NotFoundError
from mlops.features.columns import Column, Columns
from mlops.features.spec import Feature
from mlops.manifest import Manifest
from mlops.objects import version_prefix
from mlops.registry import comparing, comparing_page
from mlops.registry.entities import ModelVersion
from mlops.statistics.baseline import build
from tests.fakes import MemoryObjects

AGE, PLAN, NAME = Feature("age", "number"), Feature("plan", "category"), Feature("name", "category", pii="direct")
LEVELS = ("basic", "plus", "premium")


def table(ages: list[float], plans: list[int]) -> Columns:
    return Columns(
        (
            Column("age", "number", np.array(ages, dtype=np.float64)),
            Column("plan", "category", np.array(plans, dtype=np.int32), LEVELS),
            Column("name", "category", np.zeros(len(ages), dtype=np.int32), ("Ann",)),
        )
    )


def store(
    bucket: MemoryObjects,
    name: str,
    *,
    rows: Columns | None = None,
    features: tuple[Feature, ...] = (AGE, PLAN, NAME),
    evaluation: dict[str, Any] | None = None,
    auc: float = 0.9,
    **lineage: Any,
) -> comparing.Side:
    prefix, metrics = version_prefix("churn", name), {"roc_auc": auc}
    manifest = Manifest("churn", name, "classification", features, "left", lineage=lineage, metrics=metrics)
    bucket.put(prefix + "manifest.json", json.dumps(manifest.to_dict()).encode())
    bucket.put(prefix + "model.onnx", b"x" * (100 + len(name)))
    if rows is not None:
        baseline = build(features, rows)
        bucket.put(prefix + "baseline.json", json.dumps(baseline.to_dict()).encode())
    if evaluation is not None:
        bucket.put(prefix + "evaluation.json", json.dumps(evaluation).encode())
    version = ModelVersion("churn", name, "archived", "2026-03-01T00:00:00+00:00", f"d-{name}", "c", metrics)
    return comparing.read(bucket, version)


@given(
    st.lists(st.tuples(st.integers(0, 80), st.integers(-1, 2)), min_size=2, max_size=40),
    st.lists(st.tuples(st.integers(0, 80), st.integers(-1, 2)), min_size=2, max_size=40),
)
def test_how_far_data_moved_is_what_its_rows_say(before: list[tuple[int, int]], after: list[tuple[int, int]]) -> None:
    bucket = MemoryObjects()
    sides = [
        store(bucket, name, rows=table([float(a) for a, _ in rows], [p for _, p in rows]))
        for name, rows in (("one", before), ("two", after))
    ]
    moved = {s.column: s for s in comparing.compare(*sides).data}
    ages = [np.array([a for a, _ in rows], dtype=float) for rows in (before, after)]
    if ages[0].std() > 0:
        assert moved["age"].moved == pytest.approx(abs(ages[1].mean() - ages[0].mean()) / ages[0].std(), rel=1e-6)
    else:
        assert moved["age"].moved is None
    shares = []
    for rows in (before, after):
        known = [p for _, p in rows if p >= 0]
        shares.append([known.count(level) / len(known) for level in range(3)] if known else None)
    if shares[0] and shares[1]:
        total = sum(abs(x - y) for x, y in zip(*shares, strict=True)) / 2
        assert moved["plan"].moved == pytest.approx(total)
    else:
        assert moved["plan"].moved is None
    assert moved["plan"].first_missing == pytest.approx(sum(p < 0 for _, p in before) / len(before))
    assert (moved["name"].first, moved["name"].moved) == ("-", None), "of a person nothing is told"


def judged(low: float, high: float, **more: Any) -> dict[str, Any]:
    return {"metric": "roc_auc", "interval": {"low": low, "high": high}, "intervals": {}, "checks": [], **more}


def test_what_differs_and_what_the_intervals_say() -> None:
    bucket, gain = MemoryObjects(), {"value": -0.04, "low": -0.06, "high": -0.02, "confidence": 0.95}
    rows = table([1.0, 2.0, 3.0], [0, 1, 2])
    first = store(
        bucket, "one", rows=rows, evaluation=judged(0.88, 0.92), family="forest", parameters={"trees": 100}, seed=1
    )
    second = store(
        bucket, "second", rows=rows, evaluation=judged(0.8, 0.87, champion="one", gain=gain), auc=0.86,
        features=(Feature("age", "integer"), PLAN, NAME), family="linear", parameters={"penalty": 0.1}, seed=1,
    )  # fmt: skip
    found = comparing.compare(first, second)
    (auc,) = found.metrics
    assert (auc.apart, auc.difference) == (True, pytest.approx(-0.04))
    assert {p.name: (p.first, p.second) for p in found.parameters} == {
        "family": ("forest", "linear"), "trees": (100, None), "penalty": (None, 0.1),
    }  # fmt: skip
    assert {p.name for p in found.features} == {"age"}
    assert [p.same for p in found.lineage if p.name == "seed"] == [True]
    assert {p.name: (p.first, p.second) for p in found.serving}["bytes of model.onnx"] == (103, 106)
    told = found.to_dict()
    assert (told["metrics"][0]["difference"], told["parameters"][0]["same"]) == (auc.difference, False)
    assert found.paired is not None
    assert "second gains -0.04 in roc_auc over one (-0.06 to -0.02 with 95%): worse." in comparing.paired_words(
        found.paired
    )
    assert comparing.compare(second, first).paired == found.paired, "whoever stands first"
    assert "different data" in found.notes[0]
    page = comparing_page.render(found)
    for words in ("0.88 to 0.92", "apart", "penalty", "d-second", "worse", "mean 2"):
        assert words in page, words


def test_what_is_missing_is_said_and_a_page_is_escaped() -> None:
    bucket = MemoryObjects()
    first = store(bucket, "one", parameters={"note": "<script>alert(1)</script>"})
    second = store(bucket, "two", evaluation=judged(0.89, 0.95))
    bucket.delete(version_prefix("churn", "two") + "model.onnx")
    found = comparing.compare(first, comparing.read(bucket, second.version))
    assert found.metrics[0].apart is None
    assert found.paired is None
    assert found.serving[0].second is None
    assert sum("has no baseline.json" in note for note in found.notes) == 2
    assert "<script>" not in comparing_page.render(found)
    bucket.delete(version_prefix("churn", "one") + "manifest.json")
    with pytest.raises(NotFoundError, match=r"churn/one has no manifest\.json"):
        comparing.read(bucket, first.version)
