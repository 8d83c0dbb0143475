"""Good rows are taken, bad rows are kept apart with all their reasons, and files as a whole are judged."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mlops.contract import Checks, Contract, FileFormat, Target
from mlops.data.local import check_file
from mlops.data.outcome import Rejection
from mlops.data.validation import Validated, validate_file
from mlops.features.spec import Feature
from tests.rows import apart

CONTRACT = Contract(
    "shop",
    "classification",
    Target("bought", ("no", "yes"), "yes"),
    (
        Feature("age", "integer", minimum=0, maximum=120),
        Feature("income", "number", nullable=True),
        Feature("size", "category", categories=("small", "large")),
        Feature("region", "category", categories=("north",), on_unknown="other"),
        Feature("member", "boolean"),
        Feature("since", "date"),
    ),
    key=("customer",),
)
HEADER = "customer,age,income,size,region,member,since,bought"
GOOD = "c1,33,1200.5,small,north,yes,2020-01-31,no"


def check(tmp_path: Path, *rows: str, contract: Contract = CONTRACT, header: str = HEADER) -> Validated:
    path = tmp_path / "upload.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    result = validate_file(path, contract, tmp_path)
    assert isinstance(result, Validated)
    return result


def refused(tmp_path: Path, body: bytes, contract: Contract = CONTRACT) -> Rejection:
    path = tmp_path / "upload"
    path.write_bytes(body)
    result = validate_file(path, contract, tmp_path)
    assert isinstance(result, Rejection)
    return result


def found(checked: Validated) -> dict[tuple[str | None, str], int]:
    return {(f.column, f.code): f.count for f in checked.findings}


def good_rows(count: int) -> list[str]:
    return [GOOD.replace("c1", f"g{i}") for i in range(count)]


def test_a_good_row_becomes_typed(tmp_path: Path) -> None:
    checked = check(tmp_path, GOOD)
    assert checked.findings == ()
    assert checked.rejection is None
    table = checked.accepted.table()
    assert table.names == ("age", "income", "size", "region", "member", "since", "bought", "customer")
    assert [c.values.tolist() for c in table.columns[:2]] == [[33.0], [1200.5]]
    assert table["size"].levels == ("small",)
    assert table["member"].values.tolist() == [1.0]
    assert table["since"].values.tolist() == [18292.0]


CASES: list[tuple[str, str, str | None, str]] = [
    ("33", "", "age", "missing_value"),
    ("33", "x", "age", "wrong_type"),
    ("33", "3.5", "age", "wrong_type"),
    ("33", "-1", "age", "below_minimum"),
    ("33", "121", "age", "above_maximum"),
    ("1200.5", "inf", "income", "not_finite"),
    ("1200.5", "12 EUR", "income", "wrong_type"),
    ("small", "medium", "size", "unknown_category"),
    ("yes", "perhaps", "member", "wrong_type"),
    ("2020-01-31", "31.01.2020", "since", "bad_date"),
    ("NO", "", "bought", "missing_target"),
    ("NO", "maybe", "bought", "unknown_class"),
    ("c1", "", "customer", "missing_value"),
    (GOOD, GOOD + ",x", None, "too_many_cells"),
    (",no", "", None, "too_few_cells"),
]


@pytest.mark.parametrize(("cell", "spoiled", "column", "code"), CASES)
def test_a_spoiled_row_is_kept_apart(cell: str, spoiled: str, column: str | None, code: str, tmp_path: Path) -> None:
    last = {",no": GOOD.removesuffix(",no"), "NO": GOOD.removesuffix("no") + spoiled}  # "no" is in "north" too
    bad = last.get(cell) or GOOD.replace(cell, spoiled)
    checked = check(tmp_path, *good_rows(2), bad)
    assert found(checked) == {(column, code): 1}
    assert checked.findings[0].rows == [3]
    assert checked.accepted.count == 2
    (line,) = apart(checked)
    body = json.loads(line)
    assert body["row"] == 3
    assert [(r["column"], r["code"]) for r in body["reasons"]] == [(column, code)]
    if column:
        assert body["values"][column] == (spoiled or None)
        assert body["reasons"][0]["message"].startswith(f"'{column}' is ")


def test_a_row_is_told_all_its_reasons(tmp_path: Path) -> None:
    checked = check(tmp_path, *good_rows(1), "c2,-1,x,medium,south,perhaps,never,maybe")
    (line,) = apart(checked)
    codes = {r["code"] for r in json.loads(line)["reasons"]}
    assert codes == {"below_minimum", "wrong_type", "unknown_category", "bad_date", "unknown_class"}
    assert len(json.loads(line)["reasons"]) == 6


def test_accepted_with_a_remark(tmp_path: Path) -> None:
    checked = check(tmp_path, GOOD.replace("north", "south"), GOOD.replace("1200.5", "?"))
    assert found(checked) == {("region", "unknown_category"): 1}
    assert checked.findings[0].severity == "warn"
    assert checked.accepted.count == 2
    table = checked.accepted.table()
    assert table["region"].levels == ("north", "south")
    assert table["income"].missing().tolist() == [False, True]


def test_duplicates_are_kept_apart_or_allowed(tmp_path: Path) -> None:
    lines = [GOOD, GOOD.replace("33", "33.0"), *good_rows(1), GOOD]
    checked = check(tmp_path, *lines)
    assert found(checked) == {(None, "duplicate_row"): 2}
    assert [json.loads(q)["row"] for q in apart(checked)] == [2, 4]
    assert checked.accepted.count == 2
    allowed = replace(CONTRACT, checks=Checks(duplicates="allow"))
    assert check(tmp_path, *lines, contract=allowed).accepted.count == 4


def test_duplicates_alone_do_not_reject_a_file(tmp_path: Path) -> None:
    checked = check(tmp_path, *[GOOD] * 9)
    assert checked.rejection is None
    assert checked.accepted.count == 1


def severe(severity: Any) -> Contract:
    first = replace(CONTRACT.features[0], severity=severity)
    return replace(CONTRACT, features=(first, *CONTRACT.features[1:]))


def test_severity_of_a_column(tmp_path: Path) -> None:
    lines = [*good_rows(2), GOOD.replace("33", "130"), GOOD.replace("33", "x").replace("c1", "c2")]
    warned = check(tmp_path, *lines, contract=severe("warn"))
    assert warned.accepted.count == 4
    ages = warned.accepted.table()["age"]
    assert sorted(ages.values[~ages.missing()].tolist()) == [33.0, 33.0, 130.0]
    rejected = check(tmp_path, *lines, contract=severe("reject"))
    assert rejected.rejection is not None
    assert rejected.rejection.column == "age"
    assert "severity: reject" in rejected.rejection.message


def test_too_many_bad_rows(tmp_path: Path) -> None:
    bad = [GOOD.replace("33", str(-i - 1)) for i in range(3)]
    assert check(tmp_path, *good_rows(3), *bad).rejection is None
    rejection = check(tmp_path, *good_rows(2), *bad).rejection
    assert rejection is not None
    assert rejection.code == "too_many_bad_rows"
    assert "3 of 5 rows (60%)" in rejection.message
    assert "'age' is below the minimum 0 (3 rows, first row 3)" in rejection.message


def test_too_few_rows(tmp_path: Path) -> None:
    contract = replace(CONTRACT, checks=Checks(min_rows=3))
    rejection = check(tmp_path, *good_rows(2), contract=contract).rejection
    assert rejection is not None
    assert rejection.code == "too_few_rows"


def test_a_header_without_rows(tmp_path: Path) -> None:
    rejection = check(tmp_path).rejection
    assert rejection is not None
    assert rejection.code == "no_rows"


# Schema ---------------------------------------------------------------------------------------------


def test_a_changed_schema_names_the_columns(tmp_path: Path) -> None:
    body = f"{HEADER}\n{GOOD}\n".replace("age", "Age_").replace(",since", "").replace(",2020-01-31", "")
    rejection = refused(tmp_path, body.encode())
    assert rejection.code == "missing_columns"
    assert "'age' (the file has 'Age_': renamed?), 'since'" in rejection.message


def test_order_of_columns_does_not_matter_and_extra_ones_are_left_out(tmp_path: Path) -> None:
    table = pl.read_csv(io.StringIO(f"{HEADER}\n{GOOD}\n"), infer_schema=False).with_columns(pl.lit("z").alias("new"))
    reverse = table.select(reversed(table.columns))
    path = tmp_path / "upload.csv"
    reverse.write_csv(path)
    checked = validate_file(path, CONTRACT, tmp_path)
    assert isinstance(checked, Validated)
    assert checked.accepted.addressed().digests.tolist() == check(tmp_path, GOOD).accepted.addressed().digests.tolist()
    assert checked.notes == ("columns that the contract does not name were left out: 'new'",)
    strict = replace(CONTRACT, checks=Checks(extra_columns="reject"))
    rejection = validate_file(path, strict, tmp_path)
    assert isinstance(rejection, Validated)  # the file was replaced by the line above
    reverse.write_csv(path)
    rejection = validate_file(path, strict, tmp_path)
    assert isinstance(rejection, Rejection)
    assert rejection.code == "extra_columns"
    assert isinstance(validate_file(path, replace(strict, ignore=("new",)), tmp_path), Validated)


def test_files_that_are_no_tables_are_rejected(tmp_path: Path) -> None:
    assert refused(tmp_path, b"").code == "empty"
    assert refused(tmp_path, b"PK\x03\x04").code == "not_a_table"
    small = replace(CONTRACT, checks=Checks(max_bytes=10))
    assert refused(tmp_path, f"{HEADER}\n{GOOD}\n".encode(), small).code == "too_large"


def test_decimal_commas_of_a_whole_file(tmp_path: Path) -> None:
    lines = [g.replace(",", ";").replace("1200.5", "1200,5") for g in good_rows(2)]
    checked = check(tmp_path, *lines, header=HEADER.replace(",", ";"))
    assert checked.accepted.addressed().table()["income"].values.tolist() == [1200.5, 1200.5]
    told = replace(CONTRACT, file=FileFormat(decimal="."))
    assert ("income", "wrong_type") in found(check(tmp_path, *lines, header=HEADER.replace(",", ";"), contract=told))


# The same rows in any kind of file -----------------------------------------------------------------


def test_every_kind_of_file_gives_the_same_rows(tmp_path: Path) -> None:
    records = [
        {"customer": "c1", "age": 33, "income": 0.1, "size": "small", "region": "north", "member": True,
         "since": "2020-01-31", "bought": "no"},
        {"customer": "c2", "age": 7, "income": None, "size": "large", "region": "north", "member": False,
         "since": "2021-06-01", "bought": "yes"},
    ]  # fmt: skip
    frame = pl.DataFrame(records)
    typed = frame.with_columns(
        pl.col("since").str.to_date(), pl.col("age").cast(pl.Int16), pl.col("size").cast(pl.Categorical)
    )
    files = {"a.csv": frame.write_csv, "b.jsonl": frame.write_ndjson, "c.parquet": typed.write_parquet}
    digests = []
    for name, write in files.items():
        write(tmp_path / name)
        checked = validate_file(tmp_path / name, CONTRACT, tmp_path)
        assert isinstance(checked, Validated)
        assert checked.findings == ()
        digests.append(checked.accepted.addressed().digests.tolist())
    assert digests[0] == digests[1] == digests[2]


# Personal data --------------------------------------------------------------------------------------


def test_findings_never_show_personal_values(tmp_path: Path) -> None:
    secret = replace(CONTRACT.features[2], pii="pseudonymise")
    contract = replace(CONTRACT, features=(*CONTRACT.features[:2], secret, *CONTRACT.features[3:]))
    lines = [*good_rows(2), GOOD.replace("small", "Ada Lovelace").replace("33", "-77")]
    checked = check(tmp_path, *lines, contract=contract)
    told = json.dumps([f.to_dict(checked.read) for f in checked.findings])
    assert "Ada" not in told
    assert "-77" in told  # ages are not personal here, and an example helps
    assert all("Ada" not in f.message and "-77" not in f.message for f in checked.findings)


def test_spoiled_lines_of_a_malformed_file(tmp_path: Path) -> None:
    checked = check(tmp_path, *good_rows(2), GOOD.replace("small", '"small'), GOOD)
    assert found(checked) == {(None, "malformed_row"): 1}
    assert '"small' in json.loads(apart(checked)[0])["values"]["line"]
    assert checked.accepted.count == 3


def test_batches_do_not_change_the_outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [GOOD.replace("33", str(i % 150)).replace("c1", f"c{i % 40}") for i in range(200)]
    whole = check(tmp_path, *lines)
    monkeypatch.setattr("mlops.data.reading.BATCH_ROWS", 7)
    parts = check(tmp_path, *lines)
    assert parts.accepted.addressed().digests.tolist() == whole.accepted.addressed().digests.tolist()
    assert found(parts) == found(whole)
    assert [f.rows for f in parts.findings] == [f.rows for f in whole.findings]
    assert len(apart(parts)) == len(apart(whole))
    assert [c.name for c in parts.accepted.columns] == [c.name for c in whole.accepted.columns]


@pytest.mark.parametrize(
    ("rows", "status", "counts"),
    [
        (good_rows(2), "accepted", (2, 2, 0)),
        ([*good_rows(2), GOOD.replace("33", "-1")], "partial", (3, 2, 1)),
        ([GOOD.replace("33", "-1")], "rejected", (1, 0, 0)),
    ],
)
def test_a_file_can_be_checked_before_it_is_uploaded(
    rows: list[str], status: str, counts: tuple[int, int, int], tmp_path: Path
) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    result = check_file(path, CONTRACT)
    assert result["status"] == status
    assert result["rows"] == dict(zip(("read", "accepted", "quarantined", "new"), (*counts, counts[1]), strict=True))
    assert len(result["reasons"]) == (status != "accepted")
    path.write_bytes(b"")
    assert check_file(path, CONTRACT)["reasons"][0]["code"] == "empty"
