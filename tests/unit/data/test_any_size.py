"""What makes large files fast and small in memory changes no value, finding, or address."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.contract import Checks, Contract, FileFormat, Target
from mlops.data import digests as dg
from mlops.data import runs, store
from mlops.data.checks import column_checks
from mlops.data.glance import clean_columns
from mlops.data.part_files import WRITERS
from mlops.data.validation import Validated, validate_file
from mlops.features.columns import Columns, category_column, float_column
from mlops.features.spec import Feature
from mlops.statistics import baseline
from tests.rows import apart, stored

CONTRACT = Contract(
    "shop",
    "regression",
    Target("paid"),
    (
        Feature("n", "number", nullable=True, minimum=-5, maximum=50),
        Feature("i", "integer", minimum=0),
        Feature("c", "category", nullable=True, categories=("a", "b", " c", "NA")),
        Feature("f", "boolean", nullable=True),
    ),
    key=("who",),
    checks=Checks(max_bad_share=1.0),
)
CELLS = st.one_of(
    st.sampled_from(
        [
            "1",
            " 1",
            "1.5",
            "2,5",
            ",5",
            "1,2,3",
            "1e1",
            "+2",
            "",
            "NA",
            "-999",
            "inf",
            "nan",
            "x",
            "a",
            "b",
            "true",
            "No",
            "60",
        ]
    ),
    st.text("0123456789+-.eEinfa _,", max_size=5),
)


@given(st.lists(CELLS, min_size=1, max_size=8), st.sampled_from([("", "NA"), ("", "-999"), ()]), st.sampled_from(".,"))
@settings(deadline=None, max_examples=200)
def test_a_glance_says_what_the_full_check_says(cells: list[str], missing: tuple[str, ...], decimal: str) -> None:
    batch = pl.DataFrame({c.name: cells for c in column_checks(CONTRACT)})
    clean = clean_columns(batch, column_checks(CONTRACT), missing, decimal)
    for check in column_checks(CONTRACT):
        parsed = check.parse(batch[check.name], missing, decimal)
        if check.name in clean:
            assert not parsed.wrong
            assert clean[check.name].to_list() == parsed.values.to_list()


TYPED = st.one_of(
    st.none(), st.sampled_from([float("nan"), float("inf"), 3.5, 0.0, -0.0, 1e39, 51.0]), st.integers(-9, 60)
)


@given(
    st.lists(TYPED, min_size=1, max_size=6), st.sampled_from([pl.Float64, pl.Float32, pl.Int64, pl.UInt8, pl.Boolean])
)
@settings(deadline=None, max_examples=150)
def test_a_glance_at_typed_columns(values: list[Any], dtype: type[pl.DataType]) -> None:
    cells = pl.Series(values, strict=False).cast(dtype, strict=False)
    batch = pl.DataFrame({c.name: cells for c in column_checks(CONTRACT)})
    clean = clean_columns(batch, column_checks(CONTRACT), ("",), ".")
    for check in column_checks(CONTRACT):
        parsed = check.parse(batch[check.name], ("",), ".")
        if check.name in clean:
            assert not parsed.wrong
            assert clean[check.name].to_list() == parsed.values.to_list()


def outcome(path: Path, folder: Path, contract: Contract) -> tuple[Any, ...]:
    checked = validate_file(path, contract, folder)
    assert isinstance(checked, Validated), checked
    found = [f.to_dict(checked.read) for f in checked.findings]
    return checked.read, checked.apart, found, apart(checked), checked.accepted.addressed().digests.tolist()


@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=6))
@settings(deadline=None, max_examples=60)
def test_numbers_read_at_once_are_those_of_the_text(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    folder = tmp_path_factory.mktemp("csv")
    contract = replace(CONTRACT, file=FileFormat(delimiter=";", decimal="."), checks=Checks(max_bad_share=1.0))
    path = folder / "rows.csv"
    path.write_text("who;n;i;c;f;paid\n" + "".join(f"k{k};{n};{i};a;yes;1.5\n" for k, (n, i) in enumerate(rows)))
    fast = outcome(path, folder, contract)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlops.data.validation._numbers", lambda *_: [])
        patch.setattr("mlops.data.validation.clean_columns", lambda *_: {})
        assert outcome(path, folder, contract) == fast


def table(values: Sequence[float]) -> Columns:
    return Columns(
        (
            float_column("x", "number", list(values)),
            category_column("k", [f"key {v:g}" if v % 3 else None for v in values]),
        )
    )


@given(st.lists(st.integers(0, 12), max_size=40), st.lists(st.integers(0, 40), max_size=3), st.booleans())
@settings(deadline=None, max_examples=80)
def test_runs_on_disk_sort_as_memory_does(
    tmp_path_factory: pytest.TempPathFactory, values: list[int], cuts: list[int], distinct: bool
) -> None:
    bounds = sorted({0, len(values), *(min(c, len(values)) for c in cuts)})
    batches = [table(values[a:b]) for a, b in itertools.pairwise(bounds)]
    wanted = sorted(set(values)) if distinct else sorted(values)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "RUN_ROWS", 7)
        patch.setattr(store, "BLOCK_ROWS", 3)
        rows = stored(*batches, folder=tmp_path_factory.mktemp("rows"), distinct=distinct)
        if not values:
            assert rows.count == 0
            return
        digests = rows.digests.tolist()
        assert digests == sorted(digests)
        assert sorted(rows.table()["x"].values.tolist()) == wanted
        assert dg.row_digests(rows.table()).tolist() == digests
        assert Columns.concat([*rows.blocks()])["x"].values.tolist() == rows.table()["x"].values.tolist()
        mask = np.arange(rows.count) % 2 == 0
        chosen = rows.choose(mask)
        assert dg.row_digests(chosen.table()).tolist() == rows.digests[mask].tolist()
        path = rows.folder / "columns.npz"
        WRITERS["columns.npz"](chosen, path)
        read = Columns.load(path.read_bytes())
        assert dg.row_digests(read).tolist() == chosen.digests.tolist()
        assert list(read["k"].levels) == sorted({f"key {v:g}" for v in chosen.table()["x"].values if v % 3})


def test_of_equal_rows_the_first_counts_also_over_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "RUN_ROWS", 5)
    monkeypatch.setattr("mlops.data.reading.BATCH_ROWS", 4)
    path = tmp_path / "rows.csv"
    path.write_text("who,n,i,c,f,paid\n" + "".join(f"k{k % 6},1,2,a,yes,3\n" for k in range(20)))
    checked = validate_file(path, CONTRACT, tmp_path)
    assert isinstance(checked, Validated)
    (finding,) = checked.findings
    assert (finding.code, finding.count, finding.rows[:3]) == ("duplicate_row", 14, [7, 8, 9])
    assert checked.accepted.count == 6
    assert len(apart(checked)) == 14


def test_short_records_are_seen_over_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlops.data.reading.BATCH_ROWS", 3)
    monkeypatch.setattr("mlops.data.reading.CHUNK", 17)
    path = tmp_path / "rows.csv"
    last = replace(
        CONTRACT,
        target=Target("n"),
        key=(),
        features=(Feature("i", "integer"), Feature("c", "category", nullable=True, categories=("a",))),
    )
    lines = ["1,2,a", "2,3,", '3,"4",a', "4,5", "5,6,", '6,7,"a\n\nb"', "7", "8,9,"]
    path.write_text("n,i,c\n" + "\n".join(lines))
    checked = validate_file(path, replace(last, checks=Checks(max_bad_share=1.0)), tmp_path)
    assert isinstance(checked, Validated)
    found = {f.code: f.rows for f in checked.findings}
    assert found["too_few_cells"] == [4, 7]
    path.write_text("n,i,c\n" + "\n".join(["1,2,a", "2,3,"] * 20))
    whole = validate_file(path, last, tmp_path)
    assert isinstance(whole, Validated)
    assert {f.code for f in whole.findings} == {"duplicate_row"}


def test_bins_from_a_sample_count_every_row() -> None:
    features = [Feature("x", "number")]
    rng = np.random.default_rng(7)
    everything = Columns((float_column("x", "number", rng.normal(size=5000)),))
    blocks = [everything.take(np.arange(i, i + 500)) for i in range(0, 5000, 500)]
    counted = baseline.recount(baseline.build(features, blocks[0]), lambda: blocks)
    (axis,), (tally,) = counted.axes, counted.counts.tallies
    assert sum(tally.counts) == counted.counts.rows == 5000
    assert (axis.edges[0], axis.edges[-1]) == (everything["x"].values.min(), everything["x"].values.max())
    assert tally.mean(axis) == pytest.approx(everything["x"].values.mean(), abs=1e-9)
    assert baseline.accumulate(counted, everything) == counted.counts
