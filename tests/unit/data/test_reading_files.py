"""Every kind of file that a person may bring is read, or rejected with a reason they understand."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlops.contract import Contract, FileFormat, Target
from mlops.contract.evolve import propose
from mlops.contract.infer import infer
from mlops.data import reading
from mlops.data.label_file import canonical
from mlops.data.local import check_file
from mlops.data.outcome import Rejection, UnreadableError
from mlops.data.reading import LINE, PROBLEM, ROW, Table, open_table, read_through
from mlops.errors import MlopsError
from mlops.features.spec import Feature
from tests.rows import FATAL_PARQUET

MAX = 10_000_000
PLAIN = FileFormat()


def opened(tmp_path: Path, body: bytes, fmt: FileFormat = PLAIN, **options: Any) -> Table:
    path = tmp_path / "upload"
    path.write_bytes(body)
    return open_table(path, fmt, options.pop("max_bytes", MAX), tmp_path, **options)


def rows(table: Table) -> list[tuple[Any, ...]]:
    def everything(t: Table) -> list[tuple[Any, ...]]:
        return [row for batch in t.batches() for row in batch.select(table.names).rows()]

    return read_through(table, everything)


def problems(table: Table) -> dict[int, str]:
    def everything(t: Table) -> dict[int, str]:
        return {r[ROW]: r[PROBLEM] for b in t.batches() for r in b.iter_rows(named=True) if r[PROBLEM] is not None}

    return read_through(table, everything)


def rejected(tmp_path: Path, body: bytes, fmt: FileFormat = PLAIN, **options: Any) -> Rejection:
    with pytest.raises(UnreadableError) as caught:
        rows(opened(tmp_path, body, fmt, **options))
    return caught.value.rejection


def parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


TABLE = [("1", "x"), ("2", "y")]

READABLE = {
    "comma": b"a,b\n1,x\n2,y\n",
    "no last line break": b"a,b\n1,x\n2,y",
    "semicolon": b"a;b\n1;x\n2;y\n",
    "tab": b"a\tb\n1\tx\n2\ty\n",
    "pipe": b"a|b\n1|x\n2|y\n",
    "windows line ends": b"a,b\r\n1,x\r\n2,y\r\n",
    "old mac line ends": b"a,b\r1,x\r2,y\r",
    "excel's hint": b"sep=;\na;b\n1;x\n2;y\n",
    "blank lines": b"\n\na,b\n1,x\n\n2,y\n\n",
    "quotes": b'"a","b"\n"1","x"\n2,"y"\n',
    "blanks in the header": b" a , b \n1,x\n2,y\n",
    "utf-8 mark": b"\xef\xbb\xbfa,b\n1,x\n2,y\n",
    "utf-16": "a,b\n1,x\n2,y\n".encode("utf-16"),
    "utf-16 big-endian": b"\xfe\xff" + "a,b\n1,x\n2,y\n".encode("utf-16-be"),
    "utf-32": "a,b\n1,x\n2,y\n".encode("utf-32"),
    "gzip": gzip.compress(b"a,b\n1,x\n2,y\n"),
    "json lines": b'{"a": 1, "b": "x"}\n{"b": "y", "a": 2}\n',
    "json lines, packed": gzip.compress(b'{"a": "1", "b": "x"}\n\n{"a": 2, "b": "y"}'),
    "parquet of texts": parquet(pl.DataFrame({"a": ["1", "2"], "b": ["x", "y"]})),
}


@pytest.mark.parametrize("body", READABLE.values(), ids=READABLE.keys())
def test_what_can_be_read(body: bytes, tmp_path: Path) -> None:
    table = opened(tmp_path, body)
    assert table.names == ("a", "b")
    assert rows(table) == TABLE
    assert problems(table) == {}


def test_zstd(tmp_path: Path) -> None:
    target = tmp_path / "packed.zst"
    pl.DataFrame({"a": ["1", "2"], "b": ["x", "y"]}).lazy().sink_csv(target, compression="zstd", check_extension=False)
    body = target.read_bytes()
    assert body.startswith(b"\x28\xb5\x2f\xfd")
    assert rows(opened(tmp_path, body)) == TABLE
    assert rejected(tmp_path, body[:-5]).code == "truncated"
    assert rejected(tmp_path, body, max_bytes=8).code == "too_large"


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    frame = pl.DataFrame({"n": [1.5, None], "i": [1, 2], "t": [True, None]})
    table = opened(tmp_path, parquet(frame))
    assert table.kind == "parquet"
    batch = next(iter(table.batches()))
    assert batch.select("n", "i", "t").equals(frame)
    assert batch[ROW].to_list() == [1, 2]


BAD = {
    "empty": (b"", "empty"),
    "blanks": (b" \n\t\n", "empty"),
    "empty inside gzip": (gzip.compress(b""), "empty"),
    "prose": (b"Dear all,\nplease find the data below.\nRegards\n", "not_a_table"),
    "one column of words": (b"hello\nworld\n", "not_a_table"),
    "zip": (b"PK\x03\x04" + bytes(100), "not_a_table"),
    "pdf": (b"%PDF-1.7\n1,2\n", "not_a_table"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "not_a_table"),
    "noise": (bytes(range(256)) * 4, "not_a_table"),
    "web page": (b"<!DOCTYPE html><html><body>Not found</body></html>", "not_a_table"),
    "error of a bucket": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "not_a_table"),
    "one json array": (b'[{"a": 1}, {"a": 2}]', "json_array"),
    "one json object over lines": (b'{\n"a": 1\n}\n', "not_a_table"),
    "latin-1": ("größe,b\n1,ä\n".encode("latin-1"), "bad_encoding"),
    "utf-16 without a mark": ("a,b\n1,x\n".encode("utf-16-le") * 20, "bad_encoding"),
    "cut utf-8": ("a,b\n1,ä".encode()[:-1], "bad_encoding"),
    "names twice": (b"a,b,a\n1,2,3\n", "duplicate_columns"),
    "truncated gzip": (gzip.compress(b"a,b\n1,x\n2,y\n" * 100)[:-20], "truncated"),
    "damaged gzip": (gzip.compress(b"a,b\n1,x\n" * 50)[:-8] + b"\0" * 8, "damaged_archive"),
    "gzip mark only": (b"\x1f\x8b", "truncated"),
    "damaged zstd": (b"\x28\xb5\x2f\xfd" + b"\xff" * 50, "truncated damaged_archive"),
    "truncated parquet": (parquet(pl.DataFrame({"a": [1], "b": [2]}))[:-9], "truncated"),
    "tiny parquet": (b"PAR1", "truncated"),
    "encrypted parquet": (b"PARE" + bytes(40) + b"PARE", "encrypted"),
    "parquet with an encrypted footer": (b"PAR1" + bytes(40) + b"PARE", "encrypted"),
    "damaged parquet": (b"PAR1" + b"\x15" * 60 + b"\x20\0\0\0PAR1", "damaged"),
}


@pytest.mark.parametrize(("body", "code"), BAD.values(), ids=BAD.keys())
def test_what_cannot_be_read_says_why(body: bytes, code: str, tmp_path: Path) -> None:
    rejection = rejected(tmp_path, body)
    assert rejection.code in code.split()
    assert rejection.message.endswith(".")
    assert str(tmp_path) not in rejection.message


def test_a_real_workbook_is_named(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    assert "Excel" in rejected(tmp_path, buffer.getvalue()).message


def test_damage_inside_parquet_is_found_while_reading(tmp_path: Path) -> None:
    frame = pl.DataFrame({"a": range(50_000), "b": [str(i * 7919) for i in range(50_000)]})
    body = bytearray(parquet(frame))
    body[2000:60000] = b"\xab" * 58000
    assert rejected(tmp_path, bytes(body)).code == "damaged"


def test_too_large_as_stored_and_unpacked(tmp_path: Path) -> None:
    body = b"a,b\n" + b"1,2\n" * 10_000
    assert "checks.max_bytes" in rejected(tmp_path, body, max_bytes=len(body) - 1).message
    assert rejected(tmp_path, gzip.compress(body), max_bytes=len(body) - 1).code == "too_large"
    assert len(rows(opened(tmp_path, gzip.compress(body), max_bytes=len(body)))) == 10_000


# What the contract settles --------------------------------------------------------------------------


def test_told_encoding(tmp_path: Path) -> None:
    body = "größe,b\n1,ä\n".encode("cp1252")
    assert rows(opened(tmp_path, body, FileFormat(encoding="windows-1252"))) == [("1", "ä")]
    assert rejected(tmp_path, body, FileFormat(encoding="utf-8")).code == "bad_encoding"
    assert "line 2" in rejected(tmp_path, "a,b\n1,ä\n".encode("cp1252")).message
    wide = "a,b\n1,ä\n".encode("utf-16-le")
    assert rows(opened(tmp_path, wide, FileFormat(encoding="utf-16-le"))) == [("1", "ä")]


def test_an_unknown_encoding_is_read_as_windows_1252_only_when_asked(tmp_path: Path) -> None:
    table = opened(tmp_path, "a,b\n1,ä\n".encode("cp1252"), guess_encoding=True)
    assert rows(table) == [("1", "ä")]
    assert "Windows-1252" in table.notes[0]


@pytest.mark.parametrize("fmt", ["csv", "jsonl", "parquet"])
def test_told_format_must_be_true(fmt: Any, tmp_path: Path) -> None:
    bodies = {"csv": READABLE["comma"], "jsonl": READABLE["json lines"], "parquet": READABLE["parquet of texts"]}
    for kind, body in bodies.items():
        if kind == fmt:
            assert rows(opened(tmp_path, body, FileFormat(format=fmt))) == TABLE
        else:
            assert rejected(tmp_path, body, FileFormat(format=fmt)).code == "wrong_format"


def test_told_delimiter_and_expected_names_settle_what_a_file_alone_leaves_open(tmp_path: Path) -> None:
    body = b"a,1;b\n1,5;2\n"
    assert opened(tmp_path, body, FileFormat(delimiter=";")).names == ("a,1", "b")
    assert opened(tmp_path, b"a;b,c\n1;2,3\n", expected=("b,c",)).names == ("a", "b,c")
    assert rows(opened(tmp_path, b"a^b\n1^2\n", FileFormat(delimiter="^"))) == [("1", "2")]


def test_no_header(tmp_path: Path) -> None:
    body = b"5.1,3.5,setosa\n4.9,3.0,setosa\n"
    assert opened(tmp_path, body).names == ("column_1", "column_2", "column_3")
    assert opened(tmp_path, body, expected=("column_1", "column_3")).names[0] == "column_1"
    rejection = rejected(tmp_path, body, expected=("length", "width", "species"))
    assert rejection.code == "missing_header"
    assert "file.header: false" in rejection.message
    told = opened(tmp_path, body, FileFormat(header=False), expected=("length",))
    assert len(rows(told)) == 2
    assert opened(tmp_path, b"1,2\n3,4\n", FileFormat(header=True)).names == ("1", "2")


def test_a_header_of_several_lines_and_a_column_without_a_name(tmp_path: Path) -> None:
    table = opened(tmp_path, b',"mean\nradius"\n0,1.5\n1,2.5\n')
    assert table.names == ("column_1", "mean\nradius")
    assert rows(table) == [("0", "1.5"), ("1", "2.5")]


# Rows that are no rows ------------------------------------------------------------------------------


def test_rows_of_another_width(tmp_path: Path) -> None:
    table = opened(tmp_path, b'a,b,c\n1,2,3\n1,2\n1,2,3,4\n"1,\n1",2,3\n1,,\n1,2')
    assert problems(table) == {2: "too_few_cells", 3: "too_many_cells", 6: "too_few_cells"}
    assert rows(table)[3] == ("1,\n1", "2", "3")


def test_stray_quotes_spoil_their_line_only(tmp_path: Path) -> None:
    table = opened(tmp_path, b'a,b\n1,"open\n2,y\n3,"x" y\n4,5" pipe\n')
    assert problems(table) == {1: "malformed_row", 3: "malformed_row"}
    assert [r for r in rows(table) if r[0]] == [("2", "y"), ("4", '5" pipe')]


def test_lines_that_are_no_json(tmp_path: Path) -> None:
    body = b'{"a": 1, "b": [1, 2]}\nno json\n[1]\n{"a": NaN}\n{"a": 2.50, "b": true}\n'
    table = opened(tmp_path, body)
    assert problems(table) == {2: "malformed_row", 3: "malformed_row"}
    good = [r for r in rows(table) if r != (None, None)]
    assert good == [("1", "[1, 2]"), ("NaN", None), ("2.5", "true")]


def test_the_line_itself_is_kept(tmp_path: Path) -> None:
    table = opened(tmp_path, b'{"a": 1}\n{"a": \n')
    batch = read_through(table, lambda t: pl.concat(list(t.batches())))
    assert batch[LINE].to_list() == [None, '{"a": ']


def test_optional_keys_of_json_lines(tmp_path: Path) -> None:
    table = opened(tmp_path, b'{"a": 1}\n{"a": 2}\n', expected=("a", "b"), optional=("b",))
    assert rows(table) == [("1", None), ("2", None)]


# Properties -----------------------------------------------------------------------------------------

cell = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=8).map(str.strip)


@given(
    st.lists(st.tuples(cell, cell, cell), min_size=1, max_size=12),
    st.sampled_from([",", ";", "\t", "|"]),
    st.booleans(),
)
@settings(max_examples=120, deadline=None)
def test_any_table_that_is_written_with_quotes_comes_back(
    tmp_path_factory: pytest.TempPathFactory, table: list[tuple[str, str, str]], delimiter: str, crlf: bool
) -> None:
    end = "\r\n" if crlf else "\n"
    quoted = [
        delimiter.join('"' + c.replace('"', '""') + '"' for c in row) for row in [("alpha", "beta", "gamma"), *table]
    ]
    folder = tmp_path_factory.mktemp("csv")
    read = opened(folder, (end.join(quoted) + end).encode(), expected=("alpha", "beta", "gamma"))
    assert read.names == ("alpha", "beta", "gamma")
    assert [tuple(c or "" for c in row) for row in rows(read)] == table
    assert problems(read) == {}


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_rows_or_a_rejection(tmp_path_factory: pytest.TempPathFactory, body: bytes) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    with contextlib.suppress(UnreadableError):
        assert rows(opened(folder, body)) is not None


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.none() | st.booleans() | st.integers() | cell), min_size=1))
@settings(max_examples=80, deadline=None)
def test_json_lines_mean_the_same_to_the_fast_and_the_lenient_reader(
    tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, Any]]
) -> None:
    folder = tmp_path_factory.mktemp("jsonl")
    body = "\n".join(json.dumps(r) for r in [{"a": 1, "b": 2, "c": 3}, *records]).encode()
    fast = rows(opened(folder, body))
    broken = rows(opened(folder, body + b"\nbroken"))
    assert fast == broken[:-1]


SOUND = parquet(
    pl.DataFrame({"a": [i * 1.5 for i in range(300)], "b": [str(i) for i in range(300)], "c": [None, 1, 2] * 100})
)


def spoiled(damage: dict[int, int]) -> bytes:
    body = bytearray(SOUND)
    for position, byte in damage.items():
        body[position] = byte
    return bytes(body)


#: A first attempt at each of some files, in order: says which ones are done with, as rows or as a rejection.
FIRST_ATTEMPTS = """
import sys
from pathlib import Path
from mlops.contract import Contract, FileFormat, Target
from mlops.contract.evolve import propose
from mlops.contract.infer import infer
from mlops.data.outcome import UnreadableError
from mlops.data.reading import open_table
for name in sys.argv[1:]:
    try:
        for _ in open_table(Path(name), FileFormat(), 10_000_000, Path(name).parent).batches():
            pass
    except UnreadableError:
        pass
    print(name, flush=True)
"""


def done_at_first(paths: list[Path]) -> int:
    """How many files a process comes through before one of them ends it."""
    command = [sys.executable, "-c", FIRST_ATTEMPTS, *map(str, paths)]
    ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=300, check=False)
    done = len(ended.stdout.split())
    assert ended.returncode == 0 if done == len(paths) else ended.returncode < 0
    return done


@given(
    st.lists(
        st.dictionaries(st.integers(4, len(SOUND) - 5), st.integers(0, 255), min_size=1, max_size=20),
        min_size=40,
        max_size=40,
    )
)
@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_damage_to_parquet_is_rows_or_a_rejection(
    tmp_path_factory: pytest.TempPathFactory, damages: list[dict[int, int]]
) -> None:
    """As the pipeline reads: plainly at first; again, as a suspect, the file over which a process ended."""
    folder = tmp_path_factory.mktemp("parquet")
    paths = [folder / f"{i}.parquet" for i in range(len(damages))]
    for path, damage in zip(paths, damages, strict=True):
        path.write_bytes(spoiled(damage))
    while (done := done_at_first(paths)) < len(paths):
        with pytest.raises(UnreadableError) as caught:
            open_table(paths[done], PLAIN, MAX, folder, suspect=True)
        assert caught.value.rejection.code == "damaged"
        paths = paths[done + 1 :]


def test_parquet_that_ends_the_process_is_damaged(tmp_path: Path) -> None:
    assert done_at_first([FATAL_PARQUET]) == 0
    with pytest.raises(UnreadableError) as caught:
        open_table(FATAL_PARQUET, PLAIN, MAX, tmp_path, suspect=True)
    rejection = caught.value.rejection
    assert (rejection.code, "SIGABRT" in rejection.message) == ("damaged", True)
    assert str(FATAL_PARQUET) not in rejection.message


def test_a_suspect_that_can_be_read_is_read(tmp_path: Path) -> None:
    assert len(rows(opened(tmp_path, SOUND, suspect=True))) == 300
    assert len(rows(opened(tmp_path, gzip.compress(SOUND), suspect=True))) == 300
    assert rejected(tmp_path, b"PAR1" + b"\x15" * 60 + b"\x20\0\0\0PAR1", suspect=True).code == "damaged"


def test_a_suspect_whose_reading_does_not_end_is_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "CHILD_SECONDS", 0.01)
    assert "does not end" in rejected(tmp_path, SOUND, suspect=True).message


def test_a_fault_of_the_child_is_not_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_CHILD", "raise SystemExit(3)")
    with pytest.raises(subprocess.CalledProcessError):
        opened(tmp_path, SOUND, suspect=True)


def test_a_panic_of_the_reader_is_damage_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = opened(tmp_path, SOUND)

    def panic(*args: Any, **kwargs: Any) -> None:
        raise pl.exceptions.PanicException("called `Option::unwrap()` on a `None` value")

    monkeypatch.setattr(pl.LazyFrame, "collect_batches", panic)
    with pytest.raises(UnreadableError) as caught:
        rows(table)
    assert caught.value.rejection.code == "damaged"


@pytest.mark.parametrize(
    "line", [b"1,\xe9", b"\xe9,x", b"1,x,\xe9", b"1\n\xe9,x", b'1,"\xe9"', b'1,"x\n\xe9"', b'1,"x"y\n2,\xe9']
)
def test_bytes_that_are_no_utf8_are_named_by_their_line_wherever_they_are(tmp_path: Path, line: bytes) -> None:
    start = b"n,t\n" + b"12,x\n" * 20_000
    path = tmp_path / "rows.csv"
    path.write_bytes(start + line + b"\n5,y\n")
    table = open_table(path, FileFormat(), 10**9, tmp_path)
    number = 20_002 + line[: line.index(b"\xe9")].count(b"\n")
    with pytest.raises(UnreadableError, match=f"first in line {number}") as caught:
        read_through(table, lambda t: [*t.batches()], ["n"])
    assert caught.value.rejection.code == "bad_encoding"


def test_a_persons_own_process_outlives_such_a_file(tmp_path: Path) -> None:
    """Where nobody would try again, a child reads first: ``mlops check``, ``init``, ``contract diff``, labels."""
    contract = Contract("m", "regression", Target("n"), (Feature("c", "number"),))
    (reason,) = check_file(FATAL_PARQUET, contract)["reasons"]
    assert (reason["code"], "SIGABRT" in reason["message"]) == ("damaged", True)
    for asked in (
        lambda: infer(FATAL_PARQUET, target="n"),
        lambda: propose(contract, FATAL_PARQUET),
        lambda: canonical(FATAL_PARQUET, contract),
    ):
        with pytest.raises(MlopsError, match="damaged") as caught:
            asked()
        assert caught.value.code == "damaged"
