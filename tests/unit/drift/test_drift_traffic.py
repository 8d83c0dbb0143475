"""Captured requests become the same columns as files do."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from mlops.capture.reading import CaptureLine, CaptureRow, CaptureSide
from mlops.drift import traffic
from mlops.features.spec import Feature
from tests.fakes import blocks

FEATURES = [
    Feature("size", "number", nullable=True),
    Feature("rooms", "integer"),
    Feature("new", "boolean"),
    Feature("since", "date"),
    Feature("colour", "category"),
]


def row(features, champion=None, challenger=None) -> CaptureRow:
    return CaptureRow("i", None, features, "champion", champion, challenger)


def line(rows, champion="v1", challenger=None, request_id="r") -> CaptureLine:
    side = CaptureSide(challenger, 1, None) if challenger else None
    moment = datetime(2026, 3, 2, tzinfo=UTC)
    return CaptureLine("m", moment, request_id, None, None, tuple(rows), CaptureSide(champion, 1, None), side)


def test_values_are_typed_by_the_feature():
    features = {"size": 1.5, "rooms": 3, "new": True, "since": "1970-01-02", "colour": 7}
    (found,) = traffic.batches(FEATURES, blocks([line([row(features, (0.2, 0.8))])]), "v1")
    assert found.table.names == ("size", "rooms", "new", "since", "colour")
    assert [float(found.table[n].values[0]) for n in ("size", "rooms", "new", "since")] == [1.5, 3.0, 1.0, 1.0]
    assert found.table["colour"].levels == ("7",)
    assert found.scores is not None
    assert found.scores.tolist() == [[0.2, 0.8]]
    assert found.invalid == {}


def test_what_is_not_of_the_type_counts_as_missing_and_is_told():
    bad = {"size": "big", "rooms": 10**400, "new": 2, "since": "yesterday", "colour": ["red"]}
    (found,) = traffic.batches(FEATURES, blocks([line([row(bad)])]), "v1")
    assert all(bool(c.missing().all()) for c in found.table.columns)
    assert found.invalid == {"size": 1, "rooms": 1, "new": 1, "since": 1, "colour": 1}
    assert found.scores is None


def test_a_feature_that_no_row_has_is_no_column_and_a_null_is_missing():
    (found,) = traffic.batches(FEATURES, blocks([line([row({"size": None}), row({"size": 1.0})])]), "v1")
    assert found.table.names == ("size",)
    assert found.table["size"].missing().tolist() == [True, False]


def test_columns_that_nobody_knows_are_named():
    (found,) = traffic.batches(FEATURES, blocks([line([row({"size": 1.0, "stranger": "x"})])]), "v1")
    assert "stranger" in found.table.names


def test_rows_without_any_feature_still_count():
    (found,) = traffic.batches(FEATURES, blocks([line([row({}), row({})])]), "v1")
    assert found.table.rows == 2


def test_scores_are_those_of_the_version_whoever_answered():
    lines = [
        line([row({"size": 1.0}, (0.1,), (0.9,))], champion="old", challenger="v1"),
        line([row({"size": 1.0}, (0.2,), None)], champion="v1", challenger="next"),
        line([row({"size": 1.0}, (0.3,))], champion="other"),
    ]
    (found,) = traffic.batches(FEATURES, blocks(lines), "v1")
    assert found.scores is not None
    assert found.scores[:, 0] == pytest.approx([0.9, 0.2, np.nan], nan_ok=True)


def test_replayed_requests_are_not_traffic():
    assert list(traffic.batches(FEATURES, blocks([line([row({"size": 1.0})], request_id="replay-1")]), "v1")) == []


def test_memory_is_bounded_by_batches(monkeypatch):
    monkeypatch.setattr(traffic, "BATCH", 10)
    lines = [line([row({"size": 1.0})] * 4)] * 7
    assert [b.table.rows for b in traffic.batches(FEATURES, blocks(lines), "v1")] == [12, 12, 4]
