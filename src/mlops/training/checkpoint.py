"""What a search has done so far, so that a training that was interrupted goes on where it stopped.

A search is a list of trials in a fixed order, each of them seeded. Whoever has the trials of an interrupted search
has all of it: the rest is decided as if nothing had happened, and the model is the same to the byte but for its times.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mlops.training.families import Candidate

SCHEMA = "mlops.checkpoint.v1"
FILE = "trials.jsonl"


@dataclass(frozen=True, slots=True)
class Trial:
    """A candidate's score on one rung. ``score`` is the contract's metric, the mean over ``folds`` folds."""

    candidate: Candidate
    rung: int
    rows: int
    folds: int
    score: float
    seconds: float


class Checkpoint(Protocol):
    """Remembers trials beyond the end of the process."""

    def recall(self, candidate: Candidate, rung: int) -> Trial | None:
        """The trial of an earlier process, if it was made."""
        ...

    def keep(self, trial: Trial) -> None:
        """Keep a trial; it is safe once this returns."""
        ...


class _Nothing:
    def recall(self, candidate: Candidate, rung: int) -> Trial | None:
        return None

    def keep(self, trial: Trial) -> None:
        return None


#: For a training that nobody interrupts.
NOTHING_KEPT: Checkpoint = _Nothing()


class FileCheckpoint:
    """Trials as lines of JSON in ``folder``, each written and synced before the next trial begins.

    Parameters
    ----------
    key : what the trials belong to (version, libraries). A file with another key is of another training: it is
        put aside and never used.

    A process that is killed while it writes leaves half a line, which does not count.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self._path = folder / FILE
        self._key = key
        folder.mkdir(parents=True, exist_ok=True)
        self._known = self._read()

    @property
    def trials(self) -> int:
        """How many were found."""
        return len(self._known)

    def recall(self, candidate: Candidate, rung: int) -> Trial | None:
        line = self._known.get((candidate.name, rung))
        if line is None:
            return None
        # NaN is a score too (no fold had two classes); JSON has no word for it.
        score = float("nan") if line["score"] is None else float(line["score"])
        return Trial(candidate, rung, int(line["rows"]), int(line["folds"]), score, float(line["seconds"]))

    def keep(self, trial: Trial) -> None:
        line = {
            "name": trial.candidate.name,
            "rung": trial.rung,
            "rows": trial.rows,
            "folds": trial.folds,
            "score": trial.score if trial.score == trial.score else None,
            "seconds": trial.seconds,
        }
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _read(self) -> dict[tuple[str, int], dict[str, Any]]:
        lines = self._lines()
        good: list[dict[str, Any]] = []
        if lines and lines[0] == {"schema": SCHEMA, "key": self._key}:
            good = [line for line in lines[1:] if {"name", "rung", "rows", "folds", "score", "seconds"} <= line.keys()]
        # Written anew: appending to half a line would spoil the next trial as well.
        text = "".join(json.dumps(line) + "\n" for line in [{"schema": SCHEMA, "key": self._key}, *good])
        fresh = self._path.with_suffix(".new")
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(self._path)
        return {(str(line["name"]), int(line["rung"])): line for line in good}

    def _lines(self) -> list[dict[str, Any]]:
        """Whole lines up to the first that is none."""
        try:
            text = self._path.read_text(encoding="utf-8")
        except (FileNotFoundError, UnicodeDecodeError):
            return []
        found: list[dict[str, Any]] = []
        for line in text.splitlines():
            try:
                data = json.loads(line)
            except ValueError:
                break
            if not isinstance(data, dict):
                break
            found.append(data)
        return found
