from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mlops.contract import Contract
from mlops.features.columns import Column, Columns, category_column
from mlops.training.dataset import NotTrainableError, prepare, row_hash
from mlops.training.split import folds, holdout
from tests.unit.training import tables


def with_columns(table: Columns, *columns: Column) -> Columns:
    names = {c.name for c in columns}
    return Columns((*(c for c in table.columns if c.name not in names), *columns))


def example(task: str = "binary", rows: int = 400, **training: object) -> tuple[Contract, Columns]:
    contract = tables.contract(task, tables.EVERYTHING, **training)
    return contract, tables.table(task, contract.features, rows)


def test_rows_without_a_usable_target_are_left_out() -> None:
    contract, table = example()
    column = table["y"]
    codes = column.values.copy()
    codes[:3] = -1
    codes[3:5] = 2
    changed = Column("y", "category", codes, (*column.levels, "maybe"))

    data = prepare(contract, with_columns(table, changed))

    assert (data.rows, data.dropped) == (395, 5)
    assert len(data.matrix) == data.table.rows == 395


def test_a_value_beyond_float32_leaves_its_row_out() -> None:
    contract, table = example()
    values = table["a"].values.copy()
    values[0] = 1e39

    assert prepare(contract, with_columns(table, Column("a", "number", values))).dropped == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.take(np.arange(30)), "30 rows with a target, and training.min_rows of the contract asks for 50"),
        (lambda t: t.select([n for n in t.names if n != "a"]), "lacks column 'a'"),
        (lambda t: with_columns(t, category_column("y", ["yes"] * t.rows)), "two classes .* too few rows of 'no'"),
        (lambda t: with_columns(t, category_column("y", ["yes"] * (t.rows - 1) + ["no"])), "too few rows of 'no'"),
        (lambda t: with_columns(t, category_column("y", ["other"] * t.rows)), "0 rows with a target"),
        (lambda t: with_columns(t, Column("y", "number", np.zeros(t.rows))), "holds numbers where class labels"),
    ],
)
def test_rows_that_give_no_model_say_why(change: object, message: str) -> None:
    contract, table = example()
    with pytest.raises(NotTrainableError, match=message):
        prepare(contract, change(table))  # type: ignore[operator]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (lambda n: Column("y", "number", np.full(n, 3.0)), "the same value in every row"),
        (lambda n: category_column("y", ["1"] * n), "holds text, and the contract's task is regression"),
    ],
)
def test_a_regression_without_variation_or_numbers_says_so(target: object, message: str) -> None:
    contract, table = example("regression")
    with pytest.raises(NotTrainableError, match=message):
        prepare(contract, with_columns(table, target(table.rows)))  # type: ignore[operator]


def test_equal_rows_have_equal_hashes_whatever_their_bits() -> None:
    nan = np.array([0x7FC00000, 0x7F800001, 0x7FC00000], dtype=np.uint32).view(np.float32)
    matrix = np.stack([np.array([0.0, -0.0, 0.0], dtype=np.float32), nan], axis=1)
    assert len(set(row_hash(matrix, np.zeros(3), 7).tolist())) == 1
    assert row_hash(matrix, np.zeros(3), 7)[0] != row_hash(matrix, np.zeros(3), 8)[0]
    assert row_hash(matrix, np.zeros(3), 7)[0] != row_hash(matrix, np.ones(3), 7)[0]


def test_a_stratified_split_keeps_the_classes_shares() -> None:
    contract, table = example("multiclass")
    data = prepare(contract, table)
    train, test, kind = holdout(contract, data)

    assert kind == "stratified"
    assert not set(train) & set(test)
    assert len(train) + len(test) == data.rows
    shares = [np.bincount(data.target[i]) / len(i) for i in (train, test)]
    assert np.allclose(*shares, atol=0.01)


def test_a_row_held_out_stays_held_out_when_the_data_set_grows() -> None:
    contract, table = example(rows=4000)
    small = prepare(contract, table.take(np.arange(2000)))
    large = prepare(contract, table)
    out = set(row_hash(small.matrix, small.target, 0)[holdout(contract, small)[1]].tolist())
    trained = set(row_hash(large.matrix, large.target, 0)[holdout(contract, large)[0]].tolist())

    assert len(out & trained) / len(out) < 0.1  # only rows near the cut


def test_the_order_of_rows_does_not_change_what_is_held_out() -> None:
    contract, table = example()
    shuffled = table.take(np.random.default_rng(0).permutation(table.rows))
    held = []
    for each in (table, shuffled):
        data = prepare(contract, each)
        held.append(set(row_hash(data.matrix, data.target, 0)[holdout(contract, data)[1]].tolist()))
    assert held[0] == held[1]


def test_duplicates_never_lie_on_both_sides() -> None:
    contract, table = example()
    data = prepare(contract, Columns.concat([table, table]))
    train, test, _ = holdout(contract, data)
    hashes = row_hash(data.matrix, data.target, 0)
    assert not set(hashes[train].tolist()) & set(hashes[test].tolist())


def test_repeated_entities_are_split_as_groups_even_when_not_asked() -> None:
    contract, table = example()
    customers = category_column("customer", [f"c{i % 60}" for i in range(table.rows)])
    contract = replace(contract, key=("customer",))
    data = prepare(contract, with_columns(table, customers))
    train, test, kind = holdout(contract, data)
    assert data.entity is not None

    assert kind == "group"
    assert 0.2 < len(test) / data.rows < 0.3
    assert not set(data.entity[train].tolist()) & set(data.entity[test].tolist())
    for fold_train, fold_test in folds(contract, data, kind):
        assert not set(data.entity[fold_train].tolist()) & set(data.entity[fold_test].tolist())


def test_unique_numeric_keys_do_not_make_groups() -> None:
    contract, table = example()
    contract = replace(contract, key=("id",))
    data = prepare(contract, with_columns(table, Column("id", "integer", np.arange(table.rows, dtype=float))))
    assert holdout(contract, data)[2] == "stratified"


def test_a_time_split_holds_out_the_newest_and_folds_look_forward() -> None:
    contract, table = example("regression", split="time")
    when = np.random.default_rng(3).permutation(table.rows).astype(float)
    when[5] = np.nan
    contract = replace(contract, timestamp="when")
    data = prepare(contract, with_columns(table, Column("when", "date", when)))
    train, test, kind = holdout(contract, data)
    known = train[train != 5]

    assert kind == "time"
    assert 5 in train
    assert when[known].max() < when[test].min()
    part = data.take(train)
    pairs = folds(contract, part, kind)
    assert len(pairs) == contract.training.folds
    for before, after in pairs:
        assert np.nanmax(part.order[before]) < np.nanmin(part.order[after])  # type: ignore[index]


def test_rows_of_one_moment_lie_on_one_side_of_a_time_split() -> None:
    contract, table = example("regression", split="time")
    contract = replace(contract, timestamp="when")
    days = np.repeat(np.arange(20_000.0, 20_020.0), 20)  # 20 days of 20 rows; the share of rows cuts within a day
    days[:7] = np.nan
    contract = replace(contract, training=replace(contract.training, test_share=0.23))
    data = prepare(contract, with_columns(table, Column("when", "date", days)))
    assert data.order is not None

    train, test, kind = holdout(contract, data)
    assert not set(data.order[train]) & set(data.order[test])
    assert len(test) == 100  # 92 rows were asked for; 80 or 100 make whole days
    assert np.isnan(data.order[train]).sum() == 7
    part = data.take(train)
    assert part.order is not None
    pairs = folds(contract, part, kind)
    assert len(pairs) == contract.training.folds
    for before, after in pairs:
        assert np.nanmax(part.order[before]) < part.order[after].min()


def test_a_data_set_of_one_moment_can_still_be_cut() -> None:
    contract, table = example("regression", split="time")
    contract = replace(contract, timestamp="when")
    data = prepare(contract, with_columns(table, Column("when", "date", np.full(400, 20_000.0))))
    train, test, _ = holdout(contract, data)
    assert (len(train), len(test)) == (300, 100)


@pytest.mark.parametrize("kind", ["random", "stratified"])
def test_equal_rows_lie_in_one_fold(kind: str) -> None:
    contract, table = example("regression" if kind == "random" else "binary", rows=90)
    thrice = table.take(np.tile(np.arange(90), 3))
    data = prepare(contract, thrice)
    hashes = row_hash(data.matrix, data.target, 0)
    for train, test in folds(contract, data, kind):  # type: ignore[arg-type]
        assert not set(hashes[train]) & set(hashes[test])


@pytest.mark.parametrize("kind", ["group", "time"])
def test_a_split_that_the_data_cannot_give_is_refused(kind: str) -> None:
    contract, table = example(split=kind)
    with pytest.raises(NotTrainableError, match=f"training.split is '{kind}', but the contract has no"):
        holdout(contract, prepare(contract, table))


def test_one_entity_cannot_be_split() -> None:
    contract, table = example(split="group")
    contract = replace(contract, key=("customer",))
    data = prepare(contract, with_columns(table, category_column("customer", ["c"] * table.rows)))
    with pytest.raises(NotTrainableError, match="the split leaves 400 rows to train on and 0 to hold out"):
        holdout(contract, data)


def test_folds_cover_every_row_once() -> None:
    contract, table = example("multiclass")
    data = prepare(contract, table)
    pairs = folds(contract, data, "stratified")
    assert sorted(np.concatenate([test for _, test in pairs]).tolist()) == list(range(data.rows))
