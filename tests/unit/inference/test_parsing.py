"""One encoding, three readings: columns, batches of records, records one by one."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.features.columns import Columns, category_column, float_column
from mlops.features.encoding import encode
from mlops.features.parse import category_text, parse_date
from mlops.features.spec import Feature
from mlops.inference.parsing import FLOAT32_MAX, MAX_PROBLEMS, Parser
from tests.unit.inference.small_models import MIXED, MIXED_RECORD, TUMOUR, TUMOUR_RECORD

DATES = st.datetimes().map(lambda d: d.isoformat()) | st.dates().map(lambda d: d.isoformat())
NUMBERS = st.floats(-1e30, 1e30) | st.integers(-(2**63), 2**64 - 1)
WHOLE = st.integers(-(2**53), 2**53) | st.integers(-1000, 1000).map(float)


@st.composite
def feature_lists(draw: st.DrawFn) -> tuple[Feature, ...]:
    kinds = draw(
        st.lists(st.sampled_from(["number", "integer", "boolean", "date", "category"]), min_size=1, max_size=7)
    )
    features = []
    for i, kind in enumerate(kinds):
        levels = draw(st.lists(st.sampled_from(["a", "b", "1", "true", "ü"]), min_size=1, unique=True))
        features.append(
            Feature(
                f"f{i}",
                kind,  # type: ignore[arg-type]
                nullable=draw(st.booleans()),
                minimum=draw(st.sampled_from([None, -5.0])) if kind in ("number", "integer") else None,
                categories=tuple(levels) if kind == "category" else (),
                on_unknown=draw(st.sampled_from(["other", "reject"])),
                pooled=tuple(draw(st.sets(st.sampled_from(levels)))) if kind == "category" else (),
            )
        )
    return tuple(features)


def value_of(feature: Feature) -> st.SearchStrategy[Any]:
    known = st.sampled_from(feature.categories or ("-",))
    strange = st.sampled_from(["zzz", 7, 1, 1.0, True, "1"])
    values: dict[str, st.SearchStrategy[Any]] = {
        "number": NUMBERS,
        "integer": WHOLE,
        "boolean": st.booleans(),
        "date": DATES,
        "category": known | strange if feature.on_unknown == "other" else known,
    }
    return values[feature.type] | st.none() if feature.nullable else values[feature.type]


@st.composite
def tables(draw: st.DrawFn) -> tuple[tuple[Feature, ...], list[dict[str, Any]]]:
    features = draw(feature_lists())
    record = st.fixed_dictionaries({f.name: value_of(f) for f in features})
    return features, draw(st.lists(record, min_size=1, max_size=8))


def as_columns(features: tuple[Feature, ...], records: list[dict[str, Any]]) -> Columns:
    columns = []
    for feature in features:
        values = [r[feature.name] for r in records]
        if feature.type == "category":
            columns.append(category_column(feature.name, [None if v is None else category_text(v) for v in values]))
        elif feature.type == "date":
            days = [None if v is None else parse_date(v) for v in values]
            columns.append(float_column(feature.name, "date", days))
        else:
            columns.append(float_column(feature.name, feature.type, [None if v is None else float(v) for v in values]))
    return Columns(tuple(columns))


@given(tables())
@settings(max_examples=200, deadline=None)
def test_records_encode_as_the_same_values_in_columns_do(
    table: tuple[tuple[Feature, ...], list[dict[str, Any]]],
) -> None:
    features, records = table
    through_json = orjson.loads(orjson.dumps(records))
    expected = encode(features, as_columns(features, through_json))
    parser = Parser(features)
    bulk = parser.parse(through_json)
    careful = parser.careful(through_json)
    assert bulk.problem_count == careful.problem_count == 0
    assert bulk.matrix.dtype == np.float32
    assert bulk.matrix.flags.c_contiguous
    np.testing.assert_array_equal(bulk.matrix, expected)
    np.testing.assert_array_equal(careful.matrix, expected)
    assert bulk.warnings == careful.warnings


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["red", "S", "2026-01-01"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
NAMES = st.sampled_from([f.name for f in MIXED] + ["customer", "price", "", "Amount"])


@given(st.lists(st.dictionaries(NAMES, ANYTHING, max_size=9) | ANYTHING, min_size=1, max_size=4))
@settings(max_examples=250, deadline=None)
def test_nothing_that_a_record_holds_raises_and_both_readings_agree(records: list[Any]) -> None:
    parser = Parser(MIXED, ("customer",), "price")
    bulk, careful = parser.parse(records), parser.careful(records)
    assert bulk.problems == careful.problems
    assert len(bulk.matrix) == len(records) - len({p["record"] for p in bulk.problems})
    np.testing.assert_array_equal(bulk.matrix, careful.matrix)


@given(st.lists(st.integers(0, len(MIXED) - 1), min_size=1, max_size=5), ANYTHING)
@settings(max_examples=200, deadline=None)
def test_a_bad_value_is_named_and_does_not_touch_its_neighbours(positions: list[int], value: Any) -> None:
    records: list[Any] = [dict(MIXED_RECORD) for _ in range(3)]
    for position in positions:
        records[1][MIXED[position].name] = value
    parser = Parser(MIXED)
    batch = parser.parse(records)
    assert {p["record"] for p in batch.problems} <= {1}
    assert {p["field"] for p in batch.problems} <= {MIXED[p].name for p in positions}
    good = parser.parse([MIXED_RECORD]).matrix
    np.testing.assert_array_equal(batch.matrix[0], good[0])
    np.testing.assert_array_equal(batch.matrix[-1], good[0])


def problem(record: Any, **parser: Any) -> dict[str, Any]:
    batch = Parser(parser.get("features", MIXED), parser.get("key", ()), parser.get("target", "")).parse([record])
    assert len(batch.problems) == 1, batch.problems
    found: dict[str, Any] = batch.problems[0]
    return found


@pytest.mark.parametrize(
    ("name", "value", "code", "says"),
    [
        ("amount", "12.5", "wrong_type", "without quotes"),
        ("amount", True, "wrong_type", "a boolean"),
        ("amount", [1], "wrong_type", "an array"),
        ("amount", {}, "wrong_type", "an object"),
        ("amount", None, "null_not_allowed", "required"),
        ("amount", 1e39, "out_of_range", "32-bit"),
        ("amount", 10**400, "out_of_range", "32-bit"),
        ("amount", math.nan, "not_finite", "finite"),
        ("amount", -math.inf, "not_finite", "finite"),
        ("age", 1.5, "not_integer", "whole"),
        ("active", "yes", "wrong_type", "true or false"),
        ("active", 2, "wrong_type", "true or false"),
        ("since", "31.01.2026", "invalid_date", "ISO 8601"),
        ("since", 20260131, "wrong_type", "ISO 8601"),
        ("size", "m", "unknown_category", "'S', 'M', 'L'"),
        ("size", [], "wrong_type", "an array"),
    ],
)
def test_each_mistake_has_its_code_and_says_what_to_do(name: str, value: Any, code: str, says: str) -> None:
    found = problem({**MIXED_RECORD, name: value})
    assert (found["record"], found["field"], found["code"]) == (0, name, code)
    assert says in found["message"]


def test_a_missing_field_is_named() -> None:
    record = {k: v for k, v in TUMOUR_RECORD.items() if k != "radius"}
    assert problem(record, features=TUMOUR)["code"] == "missing_field"


def test_a_nullable_field_may_be_absent_or_null() -> None:
    parser = Parser(TUMOUR)
    absent = parser.parse([{"radius": 1, "cells": 2}]).matrix
    null = parser.parse([{"radius": 1, "cells": 2, "texture": None}]).matrix
    np.testing.assert_array_equal(absent, null)
    assert np.isnan(absent[0, 1])


def test_a_misspelt_field_is_guessed() -> None:
    found = problem({**TUMOUR_RECORD, "Radius ": 3}, features=TUMOUR)
    assert found["code"] == "unknown_field"
    assert "did you mean 'radius'" in found["message"]


def test_the_target_is_refused_with_its_reason() -> None:
    found = problem({**TUMOUR_RECORD, "diagnosis": "benign"}, features=TUMOUR, target="diagnosis")
    assert "what the model predicts" in found["message"]


def test_the_entity_key_is_accepted_and_is_no_feature() -> None:
    parser = Parser(TUMOUR, ("patient",))
    with_key = parser.parse([{**TUMOUR_RECORD, "patient": "p-1"}])
    np.testing.assert_array_equal(with_key.matrix, parser.parse([TUMOUR_RECORD]).matrix)
    assert problem({**TUMOUR_RECORD, "patient": {}}, features=TUMOUR, key=("patient",))["code"] == "wrong_type"


def test_the_largest_float32_is_accepted() -> None:
    batch = Parser(TUMOUR).parse([{**TUMOUR_RECORD, "radius": FLOAT32_MAX}])
    assert batch.matrix[0, 0] == np.finfo(np.float32).max


@pytest.mark.parametrize("rows", [1, 3])
def test_a_value_outside_its_range_is_scored_with_a_warning(rows: int) -> None:
    records = [dict(TUMOUR_RECORD) for _ in range(rows)]
    records[-1]["radius"] = 41
    batch = Parser(TUMOUR).parse(records)
    assert [(w["record"], w["field"], w["code"]) for w in batch.warnings] == [(rows - 1, "radius", "outside_range")]
    assert len(batch.matrix) == rows


def test_a_bound_is_compared_before_rounding() -> None:
    feature = Feature("x", "number", maximum=0.1)
    assert Parser([feature]).parse([{"x": 0.1}]).warnings == []


def test_problems_are_listed_up_to_a_limit_and_counted_beyond() -> None:
    batch = Parser(TUMOUR).parse([{"radius": "x", "cells": "y"} for _ in range(100)])
    assert len(batch.problems) == MAX_PROBLEMS
    assert batch.problem_count == 200


def test_guesses_are_bounded_so_that_mistakes_cannot_be_made_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("mlops.inference.careful.did_you_mean", lambda name, known: asked.append(name))
    Parser(TUMOUR).parse([{f"radius{i}": 1 for i in range(1000)} for _ in range(50)])
    assert len(asked) < 20


def test_problems_are_json() -> None:
    batch = Parser(MIXED).parse([{}, [], {"amount": "x" * 500}])
    assert json.loads(json.dumps(batch.problems)) == batch.problems
