"""What commands print: tables and words for people, JSON for programs."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from mlops.cli import layout


class Output:
    """Where a command's result goes. Progress and notes go to standard error, so that results can be piped.

    Texts are printed as they are: what a stack says may hold brackets, and must not steer the terminal.

    Parameters
    ----------
    as_json : print results as JSON and no words.
    wide : do not shorten tables to the terminal's width. What is piped is never shortened.
    """

    def __init__(self, as_json: bool, wide: bool = False, console: Console | None = None) -> None:
        self.as_json = as_json
        self.console = console or Console(highlight=False)
        self.notes = Console(stderr=True, highlight=False)
        self.width = None if wide or not self.console.is_terminal else self.console.width

    def result(self, value: Any) -> None:
        """A JSON result; nothing when words for people were asked for."""
        if self.as_json:
            print(json.dumps(plain(value), indent=2, ensure_ascii=False))

    def say(self, text: str, style: str = "") -> None:
        """Words for people on standard output."""
        if not self.as_json:
            self._print(self.console, text, style)

    def note(self, text: str, style: str = "") -> None:
        """Words for people on standard error."""
        self._print(self.notes, text, style)

    def table(
        self,
        title: str,
        headers: Sequence[str],
        rows: Sequence[Sequence[Any]],
        *,
        elastic: Sequence[str] = (),
        details: Sequence[str] | None = None,
    ) -> None:
        """A table for people; see :func:`mlops.cli.layout.lines`."""
        if self.as_json:
            return
        if not rows:
            self.say(f"{title}: none")
            return
        self.say(title, "bold")
        cells = [[cell(v) for v in row] for row in rows]
        texts = None if details is None else [layout.clean(d) for d in details]
        for line in layout.lines(headers, cells, width=self.width, elastic=elastic, details=texts):
            self.say(line)

    @contextmanager
    def spinner(self, text: str) -> Iterator[Any]:
        """Progress without a known end; yields a function that changes the text."""
        with Progress(
            SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn(),
            console=self.notes, transient=True, disable=not sys.stderr.isatty(),
        ) as progress:  # fmt: skip
            task = progress.add_task(text, total=None)
            yield lambda words: progress.update(task, description=words)

    @contextmanager
    def bytes_bar(self, text: str, total: int) -> Iterator[Any]:
        """Progress of a transfer; yields a function that takes the bytes sent since the last call."""
        with Progress(
            TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TimeElapsedColumn(),
            console=self.notes, transient=True, disable=not sys.stderr.isatty(),
        ) as progress:  # fmt: skip
            task = progress.add_task(text, total=total)
            yield lambda sent: progress.advance(task, sent)

    @contextmanager
    def count_bar(self, text: str) -> Iterator[Any]:
        """Progress in counted things; yields a function that takes how many are done, of how many (0: unknown), and
        what they are."""
        with Progress(
            TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeElapsedColumn(), console=self.notes, transient=True, disable=not sys.stderr.isatty(),
        ) as progress:  # fmt: skip
            task = progress.add_task(text, total=None, unit="")
            yield lambda done, total, unit: progress.update(task, completed=done, total=total or None, unit=unit)

    @staticmethod
    def _print(console: Console, text: str, style: str) -> None:
        lines = [layout.clean(line) for line in text.split("\n")]
        console.print(Text("\n".join(lines), style=style), soft_wrap=True)


def plain(value: Any) -> Any:
    """A value as JSON can hold it."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no word for it
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return value.isoformat() if isinstance(value, datetime) else str(value)


def cell(value: Any) -> str:
    """A value as a table shows it."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    return layout.clean(str(value))


def when(time: str) -> str:
    """An ISO 8601 time to the minute, in UTC as the stack writes it.

    >>> when("2026-11-22T11:21:56.950711+00:00")
    '2026-11-22 11:21'
    """
    return time[:16].replace("T", " ")
