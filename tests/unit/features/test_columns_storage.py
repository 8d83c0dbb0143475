"""Typed columns: storing, joining, selecting and recoding lose nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.features.columns import MISSING, Column, Columns, category_column, float_column, from_mapping

TEXT = st.none() | st.text(st.characters(codec="utf-8"), max_size=5)
ROWS = st.lists(st.tuples(st.none() | st.floats(allow_nan=False), TEXT), max_size=20)


def table(rows: list[tuple[Any, Any]]) -> Columns:
    return Columns((float_column("n", "number", [r[0] for r in rows]), category_column("ü c", [r[1] for r in rows])))


def plain(columns: Columns) -> list[tuple[Any, Any]]:
    number, category = columns.columns
    texts = [None if c == MISSING else category.levels[c] for c in category.values]
    numbers = [None if np.isnan(v) else v for v in number.values.tolist()]
    return list(zip(numbers, texts, strict=True))


@given(ROWS)
@settings(deadline=None)
def test_what_is_stored_comes_back(rows: list[tuple[Any, Any]]) -> None:
    columns = table(rows)
    again = Columns.load(columns.save())
    assert plain(again) == rows
    assert again.names == columns.names
    assert [c.type for c in again.columns] == ["number", "category"]
    assert again["n"].values.dtype == np.float64
    assert again["ü c"].values.dtype == np.int32
    assert columns.save() == again.save()


@given(ROWS, ROWS, ROWS)
@settings(deadline=None)
def test_joined_tables_hold_the_rows_of_each(a: list[Any], b: list[Any], c: list[Any]) -> None:
    joined = Columns.concat([table(a), table(b), table(c)])
    assert plain(joined) == a + b + c
    assert joined["ü c"].values.dtype == np.int32
    assert plain(Columns.concat([Columns.concat([table(a), table(b)]), table(c)])) == a + b + c


@given(ROWS, st.lists(st.integers(0, 19)))
@settings(deadline=None)
def test_rows_that_are_taken(rows: list[Any], index: list[int]) -> None:
    inside = [i for i in index if i < len(rows)]
    assert plain(table(rows).take(np.array(inside, dtype=np.int64))) == [rows[i] for i in inside]


@given(st.lists(TEXT, max_size=20), st.lists(st.text(max_size=3), unique=True, max_size=6))
@settings(deadline=None)
def test_recoding(values: list[str | None], levels: list[str]) -> None:
    codes = category_column("c", values).recode(levels)
    expected = [MISSING if v is None else levels.index(v) if v in levels else len(levels) for v in values]
    assert codes.tolist() == expected


def test_missing() -> None:
    columns = table([(None, "a"), (1.0, None)])
    assert columns["n"].missing().tolist() == [True, False]
    assert columns["ü c"].missing().tolist() == [False, True]


def test_names_and_lengths() -> None:
    columns = table([(1.0, "a")])
    assert "n" in columns
    assert "x" not in columns
    assert columns.select(["ü c"]).names == ("ü c",)
    assert from_mapping({c.name: c for c in columns.columns}).names == columns.names
    with pytest.raises(KeyError):
        columns["x"]
    with pytest.raises(ValueError, match="differ in length"):
        Columns((Column("a", "number", np.zeros(1)), Column("b", "number", np.zeros(2))))
    assert Columns.concat([]).rows == 0


def test_archives_with_pickles_are_refused() -> None:
    import io

    buffer = io.BytesIO()
    np.savez(buffer, header=np.array([{"name": "a"}], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle"):
        Columns.load(buffer.getvalue())
