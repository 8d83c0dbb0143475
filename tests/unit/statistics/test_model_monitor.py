"""The files of SageMaker Model Monitor, written and read."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mlops.features.columns import Column, Columns, category_column
from mlops.features.spec import Feature
from mlops.statistics import model_monitor
from mlops.statistics.axis import BaselineError
from mlops.statistics.baseline import accumulate, build

FEATURES = [Feature("size", "number"), Feature("rooms", "integer"), Feature("colour", "category", nullable=True)]


def table(n: int = 300, seed: int = 5) -> Columns:
    rng = np.random.default_rng(seed)
    colours = [None if v < 0.1 else ("red" if v < 0.7 else "blue") for v in rng.random(n)]
    return Columns(
        (
            Column("size", "number", rng.normal(50, 9, n)),
            Column("rooms", "integer", rng.integers(1, 6, n).astype(float)),
            category_column("colour", colours),
        )
    )


def test_statistics_have_the_layout_of_the_developer_guide():
    data = table()
    document = json.loads(model_monitor.dump(model_monitor.statistics(build(FEATURES, data))))
    assert document["version"] == 0
    assert document["dataset"] == {"item_count": 300}
    size, rooms, colour = document["features"]
    assert (size["inferred_type"], rooms["inferred_type"], colour["inferred_type"]) == (
        "Fractional",
        "Integral",
        "String",
    )
    numbers = size["numerical_statistics"]
    assert numbers["common"] == {"num_present": 300, "num_missing": 0}
    assert numbers["mean"] == pytest.approx(data["size"].values.mean(), rel=1e-12)
    assert numbers["std_dev"] == pytest.approx(data["size"].values.std(), rel=1e-6)
    assert numbers["sum"] == pytest.approx(data["size"].values.sum(), rel=1e-12)
    assert (numbers["min"], numbers["max"]) == (data["size"].values.min(), data["size"].values.max())
    buckets = numbers["distribution"]["kll"]["buckets"]
    assert set(buckets[0]) == {"lower_bound", "upper_bound", "count"}
    assert sum(b["count"] for b in buckets) == 300
    strings = colour["string_statistics"]
    assert strings["distinct_count"] == 2
    assert strings["common"]["num_missing"] == int(data["colour"].missing().sum())
    assert {b["value"] for b in strings["distribution"]["categorical"]["buckets"]} == {"red", "blue"}


def test_constraints_are_kept_by_the_data_itself():
    document = json.loads(model_monitor.dump(model_monitor.constraints(build(FEATURES, table()))))
    size, rooms, colour = document["features"]
    assert size["completeness"] == 1.0
    assert rooms["num_constraints"] == {"is_non_negative": True}
    assert colour["string_constraints"] == {"domains": ["red", "blue"]}
    assert 0.8 < colour["completeness"] < 1.0
    assert document["monitoring_config"]["distribution_constraints"]["comparison_method"] in ("Simple", "Robust")


def test_what_is_written_can_be_read_as_a_baseline():
    baseline = build(FEATURES, table())
    again = model_monitor.read(json.loads(model_monitor.dump(model_monitor.statistics(baseline))))
    assert again.counts.rows == 300
    for (axis, tally), (old_axis, old) in zip(again.of("feature"), baseline.of("feature"), strict=True):
        assert (axis.name, axis.edges, axis.levels) == (old_axis.name, old_axis.edges, old_axis.levels)
        assert (tally.counts, tally.missing) == (old.counts, old.missing)
        if axis.kind == "numeric":
            assert tally.mean(axis) == pytest.approx(old.mean(old_axis), rel=1e-9)
            assert tally.deviation(axis) == pytest.approx(old.deviation(old_axis), rel=1e-5)
    counted = accumulate(again, table(50, seed=6))
    assert all(t.present + t.missing == 50 for t in counted.tallies)


def test_a_file_of_model_monitor_with_sketches_can_be_read():
    buckets = [{"lower_bound": i * 10.0, "upper_bound": (i + 1) * 10.0, "count": 10.0} for i in range(10)]
    document = {
        "version": 0.0,
        "dataset": {"item_count": 110},
        "features": [
            {
                "name": "charge",
                "inferred_type": "Fractional",
                "numerical_statistics": {
                    "common": {"num_present": 100, "num_missing": 10},
                    "mean": 50.0,
                    "sum": 5000.0,
                    "std_dev": 28.0,
                    "min": 0.0,
                    "max": 100.0,
                    "distribution": {
                        "kll": {
                            "buckets": buckets,
                            "sketch": {"parameters": {"c": 0.64, "k": 2048.0}, "data": [[1.0, 2.0]]},
                        }
                    },
                },
            }
        ],
    }
    baseline = model_monitor.read(document)
    assert baseline.counts.tallies[0].counts == (10,) * 10
    assert baseline.counts.tallies[0].missing == 10


@pytest.mark.parametrize(
    "broken",
    [{}, {"dataset": {"item_count": 3}}, {"dataset": {"item_count": 3}, "features": [{"name": "x"}]}],
)
def test_a_file_that_lacks_fields_is_refused(broken):
    with pytest.raises(BaselineError, match=r"statistics\.json"):
        model_monitor.read(broken)


def test_an_empty_table_still_makes_valid_files():
    baseline = build(FEATURES, table(0))
    for document in (model_monitor.statistics(baseline), model_monitor.constraints(baseline)):
        assert b"NaN" not in model_monitor.dump(document)
