"""How far a training is, as values that a caller shows or stores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """``percent`` 0..100 of the whole run; ``best``: name and score of the best candidate so far."""

    stage: str  # loading | searching | fitting | exporting | done
    percent: int
    message: str
    best: str | None = None
    score: float | None = None


#: Receives progress; returning False asks the run to stop with its best so far.
Listener = Callable[[Progress], bool | None]


def silent(progress: Progress) -> None:
    """The listener of a caller that does not listen."""
