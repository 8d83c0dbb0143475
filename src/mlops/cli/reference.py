"""The reference of the commands in Markdown, made from the commands themselves: ``python -m mlops.cli.reference``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from mlops.cli.app import application

#: Where the written part of docs/cli.md ends.
MARK = "<!-- from here on: python -m mlops.cli.reference docs/cli.md -->"


def reference() -> str:
    """A heading for every command, with its help, arguments and options."""
    root = typer.main.get_command(application())
    return "\n".join(line for words, command in _leaves(root) for line in _section(words, command))


def update(path: Path) -> None:
    """Write the reference below the mark of a page."""
    written = path.read_text(encoding="utf-8").split(MARK)[0]
    path.write_text(f"{written}{MARK}\n\n{reference()}", encoding="utf-8")


def _leaves(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield " ".join(words), command
    for name, below in (inner or {}).items():
        yield from _leaves(below, (*words, name))


def _section(words: str, command: Any) -> Iterator[str]:
    yield f"### `mlops {words}`"
    yield from (line.strip() for line in command.help.strip().split("\n"))
    yield ""
    shown = [p for p in command.params if p.name != "help"]
    for parameter in shown:
        yield f"- `{_name(parameter)}`: {parameter.help}{_default(parameter)}"
    if shown:
        yield ""


def _name(parameter: Any) -> str:
    options = [*parameter.opts, *parameter.secondary_opts]
    return " / ".join(o for o in options if o.startswith("--")) or f"{parameter.name}"


def _default(parameter: Any) -> str:
    if parameter.required:
        return " Required."
    default = parameter.default
    return f" Default: {default}." if isinstance(default, str | int | float) and not isinstance(default, bool) else ""


if __name__ == "__main__":
    update(Path(sys.argv[1]))
