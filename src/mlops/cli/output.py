"""What commands print: tables and words for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table


class Output:
    """Where a command's result goes. Progress and notes go to standard error, so that results can be piped."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self.console = Console(highlight=False)
        self.notes = Console(stderr=True, highlight=False)

    def result(self, value: Any) -> None:
        """A JSON result; nothing when words for people were asked for."""
        if self.as_json:
            print(json.dumps(plain(value), indent=2, ensure_ascii=False))

    def say(self, text: str) -> None:
        """Words for people on standard output."""
        if not self.as_json:
            self.console.print(text, soft_wrap=True)

    def note(self, text: str) -> None:
        """Words for people on standard error."""
        self.notes.print(text, soft_wrap=True)

    def table(self, title: str, headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """A table for people."""
        if self.as_json:
            return
        if not rows:
            self.console.print(f"{title}: none")
            return
        table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
        for header in headers:
            table.add_column(header, overflow="fold")
        for row in rows:
            table.add_row(*[_cell(v) for v in row])
        self.console.print(table)

    @contextmanager
    def spinner(self, text: str) -> Iterator[Any]:
        """Progress without a known end; yields a function that changes the text."""
        with Progress(
            SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(),
            console=self.notes, transient=True, disable=not sys.stderr.isatty(),
        ) as progress:  # fmt: skip
            task = progress.add_task(text, total=None)
            yield lambda words: progress.update(task, description=words)

    @contextmanager
    def bytes_bar(self, text: str, total: int) -> Iterator[Any]:
        """Progress of a transfer; yields a function that takes the bytes sent since the last call."""
        with Progress(
            TextColumn(text), BarColumn(), DownloadColumn(), TimeElapsedColumn(),
            console=self.notes, transient=True, disable=not sys.stderr.isatty(),
        ) as progress:  # fmt: skip
            task = progress.add_task(text, total=total)
            yield lambda sent: progress.advance(task, sent)


def plain(value: Any) -> Any:
    """A value as JSON can hold it."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(v) for v in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return str(value)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value).replace("[", "\\[")
