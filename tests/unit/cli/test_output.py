"""Words for people fit the terminal and do not steer it; JSON is JSON."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from mlops.cli import layout
from mlops.cli.output import Output, plain, when
from mlops.cli.stacks import duration
from mlops.errors import MlopsError

HEADERS = ["#", "time", "actor", "action", "outcome"]
ROW = ["12", "2026-11-22 11:21", "retrain_launcher", "retrain.decided", "launch:first_model and then some more"]
WORDS = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "Z")), max_size=30)


@dataclass(frozen=True)
class Thing:
    name: str
    size: float


def terminal(width: int, wide: bool = False) -> tuple[Output, io.StringIO]:
    screen = io.StringIO()
    console = Console(file=screen, width=width, force_terminal=True, highlight=False, color_system=None)
    return Output(False, wide, console), screen


def test_a_table_fits_80_columns_and_breaks_no_word():
    lines = layout.lines(
        HEADERS, [ROW], width=80, elastic=["outcome"], details=["model/a: because " + "it is so " * 20]
    )
    assert max(map(cell_len, lines)) <= 80
    assert lines[1].endswith("…")
    assert len(lines) > 3
    assert " ".join(" ".join(lines[2:]).split()) == ("model/a: because " + "it is so " * 20).strip()


def test_what_cannot_be_shortened_becomes_a_block():
    lines = layout.lines(HEADERS, [ROW], width=40)
    assert lines == [
        "#: 12",
        "time: 2026-11-22 11:21",
        "actor: retrain_launcher",
        "action: retrain.decided",
        "outcome: launch:first_model and then",
        "    some more",
    ]


@given(st.lists(st.lists(WORDS, min_size=3, max_size=3), min_size=1, max_size=4), st.integers(45, 120))
def test_no_line_is_wider_than_the_terminal(rows, width):
    rows = [[layout.clean(cell) for cell in row] for row in rows]
    lines = layout.lines(["a", "b", "c"], rows, width=width, elastic=["a", "b", "c"])
    assert len(lines) == len(rows) + 1
    assert all(cell_len(line) <= width for line in lines)


@given(st.lists(st.lists(WORDS, min_size=2, max_size=2), min_size=1, max_size=4))
def test_without_a_width_nothing_is_shortened(rows):
    rows = [[layout.clean(cell) for cell in row] for row in rows]
    lines = layout.lines(["a", "b"], rows, elastic=["a", "b"])
    assert all(cell in line for row, line in zip(rows, lines[1:], strict=True) for cell in [c.rstrip() for c in row])


def test_wide_and_pipes_are_not_shortened():
    for out, screen in (terminal(60, wide=True), (Output(False, console=Console(file=io.StringIO())), None)):
        out.table("t", HEADERS, [ROW], elastic=["outcome"])
        shown = screen.getvalue() if screen else out.console.file.getvalue()  # type: ignore[attr-defined]
        assert "…" not in shown
        assert ROW[-1] in shown
    narrow, screen = terminal(75)
    narrow.table("t", HEADERS, [ROW], elastic=["outcome", "actor"])
    assert ROW[-1] not in screen.getvalue()


def test_a_table_without_rows_says_so():
    out, screen = terminal(80)
    out.table("versions", ["a"], [])
    assert screen.getvalue() == "versions: none\n"


def test_texts_of_others_are_not_markup_and_do_not_steer_the_terminal():
    out, screen = terminal(80)
    evil = "[/] [red]no[/red] \x1b]0;title\x07 \x1b[2J a\rb"
    out.say(evil)
    out.table(evil, ["a"], [[evil]], details=[evil])
    shown = screen.getvalue()
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert "\r" not in shown
    assert shown.count("[/] [red]no[/red]") == 4


def test_json_has_no_words(capsys):
    out = Output(True)
    out.say("hello")
    out.table("t", ["a"], [[1]])
    out.result([Thing("a", float("nan"))])
    assert json.loads(capsys.readouterr().out) == [{"name": "a", "size": None}]


def test_plain_takes_what_the_stack_gives():
    time = datetime(2026, 1, 2, tzinfo=UTC)
    value = {"t": time, "s": ("a", 1, True, None), "d": Thing("x", 1.5), 3: float("inf"), "e": {"deep": [time]}}
    assert plain(value) == {
        "t": "2026-01-02T00:00:00+00:00", "s": ["a", 1, True, None], "d": {"name": "x", "size": 1.5}, "3": None,
        "e": {"deep": ["2026-01-02T00:00:00+00:00"]},
    }  # fmt: skip
    json.dumps(plain(value), allow_nan=False)


def test_cells():
    out, screen = terminal(80)
    out.table("t", ["a", "b", "c"], [[None, 0.123456, "x\ny"]])
    assert screen.getvalue().splitlines()[2].split() == ["-", "0.1235", "x", "y"]
    assert when("2026-11-22T11:21:56.95+00:00") == "2026-11-22 11:21"


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("10m", 600), ("2h", 7200), ("1d", 86400)])
def test_spans_of_time(text, seconds):
    assert duration(text).total_seconds() == seconds


@pytest.mark.parametrize("text", ["", "10", "m", "-1m", "1.5h", "10 m", "1w", "9999999d"])
def test_what_is_no_span_is_refused(text):
    with pytest.raises(MlopsError, match="such as 10m"):
        duration(text)
