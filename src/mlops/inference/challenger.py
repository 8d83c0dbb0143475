"""The challenger: scored beside the champion, on a leash.

It runs in a thread of its own. A challenger that raises, gives NaN, or takes longer than its budget changes
nothing of the champion's answer; what it did is in the capture line, where the release looks for it.
"""

from __future__ import annotations

import queue
import threading
import time
from typing import Any

from mlops.inference.engine import run_options
from mlops.inference.hashing import identity, position
from mlops.inference.models import Model
from mlops.inference.scoring import PATIENCE, REST, Outcome, Role, Row, Side, finite_rows


class Challenger:
    """One challenger of this process and the thread it scores in."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self._work: queue.SimpleQueue[tuple[Outcome, queue.SimpleQueue[Any], Any]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._busy = False
        self._faults = 0
        self._resting = 0

    def score(self, outcome: Outcome, budget_ms: float) -> Side:
        """Score the batch within ``budget_ms`` plus ten times what the champion took.

        A fault is a value of ``Side.error``: ``budget`` (took too long), ``busy`` (still at an earlier request),
        ``resting`` (left out after repeated faults), ``features`` (its contract refuses these records),
        ``not_finite``, ``wrong_shape``, or the name of an exception.
        """
        rows = len(outcome.batch.matrix)
        side = Side(self.model, [None] * rows)
        if self._resting > 0:
            self._resting -= 1
            side.error = "resting"
        elif self._busy:
            side.error = "busy"
        elif rows:
            self._run(side, outcome, budget_ms / 1000 + outcome.champion.us / 100_000)
        self._count(side.error)
        return side

    def _count(self, error: str | None) -> None:
        if error is None:
            self._faults = 0
        elif error != "resting":
            self._faults += 1
            if self._faults >= PATIENCE:
                self._faults, self._resting = 0, REST

    def _run(self, side: Side, outcome: Outcome, seconds: float) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="challenger", daemon=True)
            self._thread.start()
        options = run_options()
        answer: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._busy = True
        self._work.put((outcome, answer, options))
        try:
            side.rows, side.error, side.us = answer.get(timeout=seconds)
        except queue.Empty:
            options.terminate = True  # ends the run at its next node; until then the challenger is busy
            side.error, side.us = "budget", int(seconds * 1e6)

    def _serve(self) -> None:
        while True:
            outcome, answer, options = self._work.get()
            rows: list[Row] = [None] * len(outcome.batch.matrix)
            fault: str | None
            started = time.perf_counter_ns()  # here, so that waking this thread does not count as the model's time
            try:
                rows, fault = self._answer(outcome, options)
            except Exception as error:  # a challenger may fail in any way whatever and must not hurt the champion
                fault = type(error).__name__
            elapsed = (time.perf_counter_ns() - started) // 1000
            self._busy = False
            answer.put((rows, fault, elapsed))

    def _answer(self, outcome: Outcome, options: Any) -> tuple[list[Row], str | None]:
        matrix = outcome.matrix_for(self.model)
        if matrix is None:
            return [None] * len(outcome.batch.matrix), "features"
        return finite_rows(self.model, matrix, options)

    def who_answers(self, outcome: Outcome, forced: Role | None) -> list[Role] | None:
        """A role per scored record; ``None`` when the champion answers all.

        Those whose stable position is below the share get the challenger, if it has an answer for them.
        """
        side, route = outcome.challenger, outcome.route
        if side is None or forced == "champion":
            return None
        if forced == "challenger":
            return ["challenger"] * len(side.rows)
        if route is None or route.share <= 0.0 or side.error not in (None, "not_finite"):
            return None
        if self.model.manifest.classes != outcome.champion.model.manifest.classes:
            return None  # one answer cannot mix two lists of classes; such a challenger is only watched
        key = outcome.champion.model.parser.key
        roles: list[Role] = []
        for row, index in zip(side.rows, outcome.positions(), strict=True):
            where = position(outcome.entry.name, route.release, identity(outcome.records[index], key))
            roles.append("challenger" if row is not None and where < route.share else "champion")
        return roles
