"""Tells the story on the terminal and keeps it for the report."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console


class StepError(AssertionError):
    """A step of the story did not happen as it must."""


@dataclass
class Step:
    """One chapter: what was checked, with the figures."""

    title: str
    facts: list[tuple[str, Any]] = field(default_factory=list)
    seconds: float = 0.0


class Narrator:
    """Prints each step with its facts; everything said is kept in ``steps``."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        self.steps: list[Step] = []
        self.started = time.monotonic()

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """A step; an exception inside ends the story."""
        step = Step(title)
        self.steps.append(step)
        number = len(self.steps)
        self.console.print(f"\n[bold]{number}. {title}[/]")
        began = time.monotonic()
        try:
            yield step
        finally:
            step.seconds = time.monotonic() - began

    @contextmanager
    def long(self, what: str) -> Iterator[Any]:
        """A long piece of work; yields a function that says where it is."""
        began = time.monotonic()
        if not self.console.is_terminal:
            self.console.print(f"   … {what}")
            yield lambda words: None
            return
        with self.console.status(f"{what} …") as status:
            yield lambda words: status.update(f"{what}: {words} ({time.monotonic() - began:.0f} s)")

    def fact(self, label: str, value: Any) -> None:
        """Something that is so; printed and kept."""
        self.steps[-1].facts.append((label, value))
        self.console.print(f"   {label}: [cyan]{str(value).replace('[', chr(92) + '[')}[/]", soft_wrap=True)

    def check(self, label: str, expected: Any, found: Any) -> None:
        """Assert and tell.

        Raises
        ------
        StepError
            when ``found`` is not ``expected``.
        """
        if found != expected:
            raise StepError(f"{label}: expected {expected!r}, found {found!r}")
        self.fact(label, found)

    def require(self, label: str, truth: Any, shown: Any = "yes") -> None:
        """Assert that ``truth`` holds, and tell ``shown``.

        Raises
        ------
        StepError
            when it does not.
        """
        if not truth:
            raise StepError(f"{label}: not so ({shown})")
        self.fact(label, shown)

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.started
