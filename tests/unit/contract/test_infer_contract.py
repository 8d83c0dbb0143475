"""A first contract from a first file is sound, says what it guessed, and accepts the file it came from."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mlops.contract import Contract, FileFormat
from mlops.contract.infer import Inferred, infer
from mlops.contract.source import dump, load_text
from mlops.data.validation import Validated, validate_file
from mlops.errors import ContractError
from mlops.features.spec import Feature
from tests.rows import apart


def stranger(rows: int, seed: int = 1) -> pl.DataFrame:
    """What a stranger brings: categories, missing values, dates, booleans, an id, a constant and free text."""
    rng = random.Random(seed)
    day = date(2024, 1, 1)

    def maybe(value: Any, share: float) -> Any:
        return None if rng.random() < share else value

    return pl.DataFrame(
        {
            "customer_id": [f"C{i:06d}" for i in range(rows)],
            "signed_up": [str(day + timedelta(days=rng.randrange(700))) for _ in range(rows)],
            "age": [maybe(rng.randrange(18, 90), 0.05) for _ in range(rows)],
            "balance": [round(rng.gauss(1000, 400), 2) for _ in range(rows)],
            "plan": [rng.choice(["basic", "plus", "pro"]) for _ in range(rows)],
            "city": [maybe(rng.choice(["Aachen", "Bonn", "Köln"] * 400 + ["Rare"]), 0.02) for _ in range(rows)],
            "active": [rng.choice(["yes", "no"]) for _ in range(rows)],
            "zip": [f"0{rng.randrange(1000, 1020)}" for _ in range(rows)],
            "comment": [f"text {rng.random()}" for _ in range(rows)],
            "country": ["DE"] * rows,
            "nothing": [None] * rows,
            "churned": [rng.choice(["no", "no", "no", "yes"]) for _ in range(rows)],
        },
        schema_overrides={"nothing": pl.String},
    )


def written(frame: pl.DataFrame, path: Path, write: Callable[[pl.DataFrame, Path], None]) -> Path:
    write(frame, path)
    return path


def accepts(contract: Contract, path: Path, work: Path) -> Validated:
    checked = validate_file(path, contract, work)
    assert isinstance(checked, Validated), checked
    assert checked.rejection is None
    return checked


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("infer")


def test_thirty_thousand_mixed_rows(folder: Path) -> None:
    path = folder / "Customer Churn.csv"
    stranger(30_000).write_csv(path)
    found = infer(path, "churned")
    contract = found.contract
    assert contract.name == "customer-churn"
    assert (contract.task, contract.target.classes, contract.target.positive) == (
        "classification",
        ("no", "yes"),
        "yes",
    )
    assert contract.key == ("customer_id",)
    assert contract.ignore == ("comment", "country", "nothing")
    types = {f.name: f.type for f in contract.features}
    assert types == {
        "signed_up": "date",
        "age": "integer",
        "balance": "number",
        "plan": "category",
        "city": "category",
        "active": "boolean",
        "zip": "category",
    }
    assert contract.feature("age") == Feature("age", "integer", True, 0.0, 110.0)
    assert contract.feature("plan").categories == ("basic", "plus", "pro")
    assert contract.feature("city").nullable
    assert set(found.columns) == {"customer_id", "comment", "country", "nothing"}
    assert any("ranges are those of this file" in r for r in found.notes)
    assert "country: ignored: it has the same value in every row" in found.notes
    assert load_text(dump(contract, found.columns)) == contract
    checked = accepts(contract, path, folder)
    assert apart(checked) == []
    assert checked.accepted.count == 30_000


WRITERS: dict[str, Callable[[pl.DataFrame, Path], None]] = {
    "rows.csv": lambda f, p: f.write_csv(p),
    "rows.parquet": lambda f, p: f.write_parquet(p),
    "rows.jsonl": lambda f, p: f.write_ndjson(p),
    "semicolon.csv": lambda f, p: f.write_csv(p, separator=";", decimal_comma=True),
    "windows.csv": lambda f, p: p.write_bytes(f.write_csv().encode("cp1252")),
    "mark.csv": lambda f, p: p.write_bytes(b"\xef\xbb\xbf" + f.write_csv().encode()),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_kind_of_file_gives_the_same_contract(name: str, folder: Path) -> None:
    frame = stranger(800)
    reference = infer(written(frame, folder / "reference.csv", WRITERS["rows.csv"]), "churned", "m").contract
    path = written(frame, folder / name, WRITERS[name])
    contract = infer(path, "churned", "m").contract
    assert contract.features == reference.features
    assert (contract.target, contract.key, contract.ignore) == (reference.target, reference.key, reference.ignore)
    expected = {
        "semicolon.csv": FileFormat(decimal=","),
        "windows.csv": FileFormat(encoding="windows-1252"),
    }.get(name, FileFormat())
    assert contract.file == expected
    assert apart(accepts(contract, path, folder)) == []


def test_types_of_parquet(folder: Path) -> None:
    frame = stranger(400).with_columns(pl.col("signed_up").str.to_date(), active=pl.col("active") == "yes")
    path = written(frame.with_columns(list=[[1]] * 400), folder / "typed.parquet", WRITERS["rows.parquet"])
    contract = infer(path, "churned").contract
    types = {f.name: f.type for f in contract.features}
    assert (types["signed_up"], types["active"]) == ("date", "boolean")
    assert "list" in contract.ignore
    assert apart(accepts(contract, path, folder)) == []


def test_no_header(folder: Path) -> None:
    path = folder / "plain.csv"
    path.write_text("".join(f"{i % 7 + 0.5},{i % 3},{'ab'[i % 2]}\n" for i in range(60)))
    contract = infer(path, "column_3").contract
    assert contract.file.header is False
    assert [f.name for f in contract.features] == ["column_1", "column_2"]
    assert contract.checks.duplicates == "allow"
    assert accepts(contract, path, folder).accepted.count == 60


def numbers(folder: Path, values: list[object], name: str = "y") -> Inferred:
    path = folder / "target.csv"
    lines = [f"{name},x"] + [f"{v},{i % 13 + i / 7}" for i, v in enumerate(values)]
    path.write_text("\n".join(lines) + "\n")
    return infer(path, name)


@pytest.mark.parametrize(
    ("values", "task", "classes", "positive"),
    [
        ([0, 1] * 20, "classification", ("0", "1"), "1"),
        ([1, 2, 2] * 20, "classification", ("1", "2"), "1"),
        (["1.0", "2.0"] * 20, "classification", ("1", "2"), "2"),
        ([10, 9, 2] * 20, "classification", ("2", "9", "10"), None),
        (["true", "false"] * 20, "classification", ("false", "true"), "true"),
        (["good", "bad"] * 20, "classification", ("bad", "good"), "bad"),
        (["x", "y", "y"] * 20, "classification", ("x", "y"), "x"),
        (list(range(60)), "regression", (), None),
        ([0.5, 1.5] * 20, "regression", (), None),
        ([1, 2, 3, 4, 5, 6, 7, 8], "regression", (), None),
    ],
)
def test_the_task_follows_from_the_target(
    values: list[object], task: str, classes: tuple[str, ...], positive: str | None, folder: Path
) -> None:
    contract = numbers(folder, values).contract
    assert (contract.task, contract.target.classes) == (task, classes)
    if positive and len(set(map(str, values))) == 2 and values.count(values[0]) * 2 == len(values) and "2" in classes:
        assert contract.target.positive in classes  # neither is rarer, and neither says yes
    else:
        assert contract.target.positive == positive


def test_told_task_key_and_timestamp_win(folder: Path) -> None:
    path = folder / "told.csv"
    lines = [f"{i % 3},2024-01-{i % 28 + 1:02d},{i % 5},{i / 3}" for i in range(90)]
    path.write_text("\n".join(["y,when,group,x", *lines]) + "\n")
    contract = infer(path, "y", task="regression", key=("group",), timestamp="when").contract
    assert (contract.task, contract.key, contract.timestamp) == ("regression", ("group",), "when")
    assert [f.name for f in contract.features] == ["x"]


def test_a_time_by_which_rows_are_ordered(folder: Path) -> None:
    path = folder / "ordered.csv"
    lines = [f"{date(2024, 1, 1) + timedelta(days=i)},{i % 7},{i * 1.5}" for i in range(50)]
    path.write_text("\n".join(["date,a,y", *lines]) + "\n")
    assert infer(path, "y").contract.timestamp == "date"


def test_rare_levels_spoiled_cells_and_far_values_are_noted(folder: Path) -> None:
    path = folder / "notes.csv"
    rng = random.Random(3)
    rows = [
        [
            str(rng.random()) if i != 5 else "oops",
            str(rng.gauss(0, 1)) if i != 6 else "1e6",
            "rare" if i == 7 else "ab"[i % 2],
            i,
            rng.choice("pq"),
        ]
        for i in range(400)
    ]
    path.write_text("\n".join(["n,far,c,row,y", *(",".join(map(str, r)) for r in rows)]) + "\n")
    found = infer(path, "y")
    assert "1 cell is no number" in found.columns["n"]
    assert "1 value lies far outside" in found.columns["far"]
    assert "1 rare level counts" in found.columns["c"]
    assert "counts rows" in found.columns["row"]
    assert found.contract.feature("c") == Feature("c", "category", categories=("a", "b"), on_unknown="other")


@pytest.mark.parametrize(
    ("body", "target", "message"),
    [
        ("a,b\n1,2\n", "c", "has no column 'c'. Its columns are: a, b"),
        ("length,b\n1,2\n", "lenght", "Did you mean 'length'?"),
        ("a,b\n", "b", "no rows"),
        ("a,b\n1,2\n1,2\n", "b", "same value in every row"),
        ("a,b\n1,x\n1,y\n", "b", "no column beside 'b'"),
        ("", "b", "The file is empty"),
        ("hello\n", "b", "not a table"),
    ],
)
def test_files_that_give_no_contract(body: str, target: str, message: str, folder: Path) -> None:
    path = folder / "bad.csv"
    path.write_text(body)
    with pytest.raises(ContractError, match=message.replace("?", r"\?")):
        infer(path, target)


def test_a_target_of_free_text(folder: Path) -> None:
    with pytest.raises(ContractError, match="150 different values"):
        numbers(folder, [f"text {i}" for i in range(150)])
    with pytest.raises(ContractError, match="no such file"):
        infer(folder / "none.csv", "y")


@pytest.mark.parametrize("name", ["breast-cancer", "diabetes"])
def test_shipped_contracts_accept_their_data(name: str, folder: Path) -> None:
    from sklearn.datasets import load_breast_cancer, load_diabetes

    from mlops.contract.source import load

    contract = load(Path(__file__).parents[3] / "models" / f"{name}.yaml")
    if name == "breast-cancer":
        data = load_breast_cancer()
        label = pl.Series("diagnosis", [str(data.target_names[t]) for t in data.target])
    else:
        data = load_diabetes(scaled=False)
        label = pl.Series("progression", data.target)
    frame = pl.DataFrame(data.data, schema=[str(n) for n in data.feature_names]).with_columns(
        label, pl.Series("patient_id", [f"P{i}" for i in range(len(data.target))])
    )
    path = written(frame, folder / f"{name}.csv", WRITERS["rows.csv"])
    checked = accepts(contract, path, folder)
    assert checked.findings == ()
    assert checked.accepted.count == len(data.target)
    assert contract.name == name
    if name == "breast-cancer":
        assert contract.target.positive == "malignant"
    else:
        assert checked.accepted.table()["sex"].levels == ("1", "2")


def test_batches_change_nothing_of_a_contract(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are read batch by batch; repeats and spoiled lines in several batches, and the last row, are seen."""
    frame = stranger(300)
    path = folder / "rows.csv"
    pl.concat([frame, frame.head(40)]).write_csv(path, separator=";", decimal_comma=True)
    with path.open("a") as file:
        file.write("spoiled\n" + ";".join(["Total", *[""] * (frame.width - 1)]) + "\n")
    whole = infer(path, "churned", "m", key=())
    monkeypatch.setattr("mlops.data.reading.BATCH_ROWS", 90)
    assert infer(path, "churned", "m", key=()) == whole
    assert any("looks like a total ('Total')" in note for note in whole.notes)
    assert any(note.startswith("40 rows are equal to others") for note in whole.notes)
    assert any(note.startswith("1 lines are no rows") for note in whole.notes)
