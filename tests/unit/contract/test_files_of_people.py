"""Files as spreadsheets and exports write them: they are read, or a person is told what, where and what to do."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest

from mlops.contract.infer import Inferred, infer
from mlops.data.local import check_file
from mlops.errors import ContractError

DAYS = [date(2025, 1, 1) + timedelta(days=i) for i in range(300)]
HEADER = ("customer", "tariff", "turnover", "age", "day", "bought")


def rows(
    number: Callable[[float], str] = str, day: Callable[[date], str] = date.isoformat, tariff: str = "Größe L"
) -> list[tuple[str, ...]]:
    return [
        (
            f"C{i:05d}",
            (tariff, "Pro")[i % 2],
            number(1000 + i * 37.25),
            str(18 + i % 60),
            day(d),
            ("yes", "no")[i % 3 == 0],
        )
        for i, d in enumerate(DAYS)
    ]


def text(rows: list[tuple[str, ...]], delimiter: str = ",", end: str = "\n") -> str:
    return "".join(delimiter.join(row) + end for row in (HEADER, *rows))


def german(value: float) -> str:
    return f"{value:,.2f}".translate(str.maketrans(",.", ".,"))


PLAIN = text(rows())
QUOTED = rows(tariff='"L,\n""large"""')


def inferred(path: Path, body: bytes) -> Inferred:
    path.write_bytes(body)
    return infer(path, target="bought")


@pytest.mark.parametrize(
    "body",
    [
        text(rows(), "\t", "\r\n").encode("utf-16"),
        "".join(line + ("\n", "\r\n")[i % 2] for i, line in enumerate(PLAIN.splitlines())).encode(),
        text(QUOTED).encode(),
        gzip.compress(text(QUOTED, end="\r\n").encode()),
        text(rows(lambda v: f"{v:.2f}".replace(".", ",")), ";", "\r\n").encode("utf-8-sig"),
        PLAIN.replace(",", " , ").encode(),
        PLAIN.encode("cp1252"),
    ],
    ids=["UTF-16 with tabs", "mixed line ends", "quoted breaks", "gzip named csv", "Excel, German", "blanks", "cp1252"],
)
def test_what_can_be_read_is_read_whole(tmp_path: Path, body: bytes) -> None:
    found = inferred(tmp_path / "rows.csv", body)
    types = {f.name: f.type for f in found.contract.features}
    assert (types["tariff"], types["turnover"], types["age"]) == ("category", "number", "integer")
    assert ("day" in types and types["day"] == "date") or found.contract.timestamp == "day"
    checked = check_file(tmp_path / "rows.csv", found.contract)
    assert (checked["status"], checked["rows"]["accepted"]) == ("accepted", 300)


@pytest.mark.parametrize(
    ("number", "day", "column", "note"),
    [
        (german, date.isoformat, "turnover", "thousands separators"),
        (lambda v: f"${v:.2f}", date.isoformat, "turnover", "currency"),
        (lambda v: f"{v:.1f} %", date.isoformat, "turnover", "percent"),
        (
            lambda v: f"{v:,.2f}".replace(",", "\u00a0") + " €",
            date.isoformat,
            "turnover",
            "write them plainly, as 1234.5",
        ),
        (str, lambda d: f"{d:%d.%m.%Y}", "day", "write them as 2026-03-01"),
        (str, lambda d: (d.isoformat(), f"{d:%m/%d/%Y}", f"{d:%d.%m.%Y}")[d.day % 3], "day", "ISO 8601"),
    ],
)
def test_numbers_and_dates_for_people_are_named_not_taken_for_free_text(
    tmp_path: Path, number: Callable[[float], str], day: Callable[[date], str], column: str, note: str
) -> None:
    found = inferred(tmp_path / "rows.csv", text(rows(number, day), ";").encode())
    assert note in found.columns[column]
    assert "free text" not in found.columns[column]


def test_ingestion_says_how_to_write_such_numbers_and_which_row_is_the_first(tmp_path: Path) -> None:
    contract = inferred(tmp_path / "plain.csv", PLAIN.encode()).contract
    spoiled = [(*row[:2], german(1e4), *row[3:]) if i else row for i, row in enumerate(rows())]
    (tmp_path / "rows.csv").write_text(text(spoiled, ";"))
    (reason,) = check_file(tmp_path / "rows.csv", contract)["reasons"]
    assert reason["column"] == "turnover"
    for said in ("299 of 300 rows", "first row 2", "such as 1234.5", "thousands separators"):
        assert said in reason["message"]


def test_lines_above_the_header_are_named(tmp_path: Path) -> None:
    contract = inferred(tmp_path / "plain.csv", PLAIN.encode()).contract
    (tmp_path / "rows.csv").write_text("Sales of 2025\nexported by Ada, at night\n\n" + PLAIN)
    (reason,) = check_file(tmp_path / "rows.csv", contract)["reasons"]
    assert "line 4 has them" in reason["message"]
    with pytest.raises(ContractError, match="line 4 has the column names"):
        infer(tmp_path / "rows.csv", target="bought")


def test_a_total_below_the_rows_is_named(tmp_path: Path) -> None:
    found = inferred(tmp_path / "rows.csv", (PLAIN + "Summe,,99000.5,,,\n").encode())
    assert any("total ('Summe')" in remark for remark in found.notes)
    (reason,) = check_file(tmp_path / "rows.csv", found.contract)["reasons"]
    assert (reason["code"], reason["count"]) == ("missing_target", 1)


def test_columns_of_one_name_are_named_by_their_places(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"'age' \(columns 3, 4\) more than once"):
        inferred(tmp_path / "rows.csv", PLAIN.replace("turnover", "age").encode())


def test_nothing_to_learn_from_says_why_column_by_column(tmp_path: Path) -> None:
    body = "id,amount,bought\n" + "".join(f'{i},"{i * 1234.5:,.2f}",{("yes", "no")[i % 2]}\n' for i in range(200))
    with pytest.raises(ContractError, match=r"'id' is taken for the key.*'amount' is ignored: .*thousands separators"):
        inferred(tmp_path / "rows.csv", body.encode())
