"""How far a training is, as values that a caller shows or stores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Progress:
    """``percent`` 0..100 of the whole run; ``best``: name and score of the best candidate so far."""

    stage: str  # loading | searching | fitting | exporting | done
    percent: int
    message: str
    best: str | None = None
    score: float | None = None


#: Lines of a trace at most, which a state machine's history can hold many times over.
MOST_LINES = 100

#: Receives progress; returning False asks the run to stop with its best so far.
Listener = Callable[[Progress], bool | None]


def silent(progress: Progress) -> None:
    """The listener of a caller that does not listen."""


@dataclass
class Trace:
    """Listens in another listener's place and keeps how the training went: a line for each stage and each new best.

    Attributes
    ----------
    listen : hears everything.
    clock : seconds since any moment.
    lines : ``{after_seconds, percent, stage, best, score, message}``, at most :data:`MOST_LINES`; a training has few.
    """

    listen: Listener
    clock: Callable[[], float]
    lines: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._started = self.clock()

    def __call__(self, progress: Progress) -> bool | None:
        last = self.lines[-1] if self.lines else {}
        score = None if progress.score is None else round(progress.score, 6)
        told = (progress.stage, progress.best, score)
        if told != (last.get("stage"), last.get("best"), last.get("score")) and len(self.lines) < MOST_LINES:
            self.lines.append(
                {
                    "after_seconds": round(self.clock() - self._started, 1),
                    "percent": progress.percent,
                    "stage": progress.stage,
                    "best": progress.best,
                    "score": score,
                    "message": progress.message,
                }
            )
        return self.listen(progress)
