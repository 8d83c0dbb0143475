"""The same rows are the same data-set version; every upload counts once, whatever happens at the same time."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.contract import Checks, Contract, Target
from mlops.data import digests as dg
from mlops.data.dataset import ATTEMPTS, Growth, add_rows, load
from mlops.data.part_files import WRITERS
from mlops.errors import ConflictError
from mlops.features.columns import Column, Columns, category_column, float_column
from mlops.features.spec import Feature
from mlops.registry.entities import DatasetVersion
from tests.fakes import Clock, MemoryObjects, MemoryRegistry
from tests.rows import stored

CONTRACT = Contract(
    "m", "regression", Target("y"), (Feature("x", "number"), Feature("c", "category", categories=("a",)))
)
ALLOW = replace(CONTRACT, checks=Checks(duplicates="allow"))


def table(values: Sequence[float]) -> Columns:
    return Columns(
        (
            float_column("x", "number", list(values)),
            category_column("c", ["a" if v % 2 else None for v in values]),
            float_column("y", "number", [-v for v in values]),
        )
    )


class World:
    def __init__(self, contract: Contract = CONTRACT, registry: MemoryRegistry | None = None) -> None:
        self.objects = MemoryObjects()
        self.registry = registry or MemoryRegistry()
        self.contract = contract

    def add(self, upload_id: str, values: Sequence[float], **changes: Any) -> Growth:
        options: dict[str, Any] = {
            "upload_id": upload_id,
            "contract": self.contract,
            "objects": self.objects,
            "registry": self.registry,
            "clock": Clock(),
        }
        rows = stored(table(values), distinct=self.contract.checks.duplicates == "quarantine")
        return add_rows(rows, **options | changes)

    def values(self) -> list[float]:
        current = self.registry.current_dataset("m")
        assert current is not None
        return sorted(load(self.objects, "m", current.version)["x"].values.tolist())


def test_a_first_part_and_a_second() -> None:
    world = World()
    first = world.add("u1", [1, 2, 3])
    second = world.add("u2", [3, 4])
    assert (first.new, first.rows, second.new, second.rows) == (3, 3, 1, 4)
    assert world.values() == [1, 2, 3, 4]
    current = world.registry.current_dataset("m")
    assert current == DatasetVersion(
        "m", second.version, (first.part_id, second.part_id), 4, 1, Clock()().isoformat(), CONTRACT.digest(), "u2"
    )
    manifest = world.objects.json(f"datasets/m/versions/{second.version}/manifest.json")
    assert DatasetVersion(**manifest | {"parts": tuple(manifest["parts"])}) == current


def test_the_files_of_a_part() -> None:
    world = World()
    growth = world.add("u1", [2, 1], extras=lambda columns, part_id: {"more.json": part_id.encode()})
    prefix = f"datasets/m/parts/{growth.part_id}/"
    names = {key.removeprefix(prefix) for key in world.objects.versions if key.startswith(prefix)}
    assert names == {"data.parquet", "columns.npz", "digests.npy", "sample.npz", "part.json", "more.json"}
    columns = Columns.load(world.objects.get(prefix + "columns.npz"))
    digests = np.load(io.BytesIO(world.objects.get(prefix + "digests.npy")), allow_pickle=False)
    assert columns.names == ("x", "c", "y")
    assert digests.dtype == np.uint64
    assert dg.row_digests(columns).tolist() == digests.tolist()
    read = pl.read_parquet(world.objects.get(prefix + "data.parquet"))
    assert read["x"].to_list() == columns["x"].values.tolist()
    assert json.loads(world.objects.get(prefix + "part.json"))["upload_id"] == "u1"


@given(st.lists(st.integers(0, 30), min_size=1, max_size=20), st.lists(st.integers(0, 30), max_size=20), st.randoms())
@settings(deadline=None, max_examples=40)
def test_any_split_and_order_gives_the_same_version(one: list[int], other: list[int], random: Any) -> None:
    for contract in (CONTRACT, ALLOW):
        split, whole = World(contract), World(contract)
        split.add("u1", one)
        if other and not (contract is ALLOW and sorted(one) == sorted(other)):
            split.add("u2", other)
        elif contract is ALLOW:
            continue
        rows = one + other
        random.shuffle(rows)
        whole.add("u3", rows)
        last, only = split.registry.current_dataset("m"), whole.registry.current_dataset("m")
        assert last is not None
        assert only is not None
        assert (last.version, last.rows) == (only.version, only.rows)
        assert split.values() == whole.values()
        assert split.values() == (sorted(rows) if contract is ALLOW else sorted(set(rows)))


def test_the_same_rows_give_the_same_bytes() -> None:
    one, other = World(), World()
    one.add("u1", [1, 2, 3])
    other.add("u1", [3, 1, 2])
    assert one.objects.versions == other.objects.versions


def test_an_upload_counts_once() -> None:
    world = World()
    first = world.add("u1", [1, 2])
    world.add("u2", [5])
    again = world.add("u1", [1, 2])
    assert (again.part_id, again.new, again.rows) == (first.part_id, 2, 3)
    assert world.values() == [1, 2, 5]


def test_nothing_new() -> None:
    world = World()
    first = world.add("u1", [1, 2])
    again = world.add("u2", [2, 1])
    assert again == Growth("", first.version, 0, 2)


def test_allowed_duplicates_count_as_often_as_they_occur_but_a_file_twice_does_not() -> None:
    world = World(ALLOW)
    first = world.add("u1", [1, 1, 2])
    assert first.new == 3
    assert world.add("u2", [1, 2, 1]) == Growth("", first.version, 0, 3)
    assert world.add("u3", [1]).rows == 4
    assert world.values() == [1, 1, 1, 2]


class Racing(MemoryRegistry):
    """Somebody else adds rows just before the first attempts to advance."""

    def __init__(self, intruders: list[list[float]]) -> None:
        super().__init__()
        self.intruders = intruders
        self.world: World | None = None

    def advance_dataset(self, new: DatasetVersion, expected: str | None) -> None:
        if self.intruders and self.world:
            values, world, self.world = self.intruders.pop(0), self.world, None
            world.add(f"intruder-{len(self.intruders)}", values)
            self.world = world
        super().advance_dataset(new, expected)


def test_two_uploads_at_once_both_count() -> None:
    registry = Racing([[7.0], [2.0, 8.0]])
    world = World(registry=registry)
    registry.world = world
    growth = world.add("u1", [1, 2])
    assert growth.new == 1  # an intruder was first with 2
    assert world.values() == [1, 2, 7, 8]


def test_the_same_upload_twice_at_once_counts_once() -> None:
    class Twin(Racing):
        def advance_dataset(self, new: DatasetVersion, expected: str | None) -> None:
            if self.world:
                world, self.world = self.world, None
                world.add("u1", [1, 2])
            super().advance_dataset(new, expected)

    registry = Twin([])
    world = World(registry=registry)
    registry.world = world
    growth = world.add("u1", [1, 2])
    assert (growth.new, growth.rows) == (2, 2)
    assert world.values() == [1, 2]


def test_endless_conflict_is_a_fault() -> None:
    registry = Racing([[float(i + 100)] for i in range(ATTEMPTS + 5)])
    world = World(registry=registry)
    registry.world = world
    with pytest.raises(ConflictError, match="changed under"):
        world.add("u1", [1])


def test_a_changed_contract_begins_anew() -> None:
    world = World()
    world.add("u1", [1, 2])
    rows = Columns((*table([3]).columns, float_column("z", "number", [1.0])))
    growth = world.add("u2", [3])
    assert not growth.restarted
    changed = add_rows(
        stored(rows),
        upload_id="u3",
        contract=CONTRACT,
        objects=world.objects,
        registry=world.registry,
        clock=Clock(),
    )
    assert changed.restarted
    assert (changed.new, changed.rows) == (1, 1)


def test_parquet_for_people(tmp_path: Path) -> None:
    table_ = Columns(
        (
            float_column("i", "integer", [3.0, None]),
            float_column("b", "boolean", [1.0, None]),
            category_column("c", ["x", None]),
            Column("d", "date", np.array([18292.0, np.nan])),
            Column("t", "date", np.array([18292.5, np.nan])),
        )
    )
    WRITERS["data.parquet"](stored(table_), tmp_path / "data.parquet")
    shown = pl.read_parquet(tmp_path / "data.parquet").sort("i", nulls_last=True)
    assert [str(v) for v in shown.row(0)] == ["3", "True", "x", "2020-01-31", "2020-01-31 12:00:00+00:00"]
    assert shown.row(1) == (None,) * 5


def test_arrays_for_functions(tmp_path: Path) -> None:
    table_ = Columns((Column("c", "category", np.array([0, 1, -1], dtype=np.int32), ("z", "a", "never used")),))
    rows = stored(table_)
    WRITERS["columns.npz"](rows, tmp_path / "columns.npz")
    read = Columns.load((tmp_path / "columns.npz").read_bytes())
    assert read["c"].levels == ("a", "z")
    assert dg.row_digests(read).tolist() == rows.digests.tolist() == dg.row_digests(rows.table()).tolist()
