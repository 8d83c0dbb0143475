"""Two models, one answer: the champion and, during a release, the challenger score every request."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from mlops.inference.errors import ApiError
from mlops.inference.models import Entry, Model, ModelSet
from mlops.inference.parsing import Batch, Record
from mlops.inference.settings import InferenceSettings, Route
from mlops.inference.texts import score_cells

if TYPE_CHECKING:
    from mlops.features.encoding import Matrix

Role = Literal["champion", "challenger"]
Row = list[float] | None

#: After this many faults in a row the challenger is left out for the next :data:`REST` requests of this process.
PATIENCE = 3
REST = 100


class Side:
    """What one of the two did.

    Attributes
    ----------
    rows : a list of probabilities (or ``[value]``) per accepted record, ``None`` where it gave no finite answer.
    us : microseconds for the batch.
    error : a short code, ``None`` if all went well.
    """

    __slots__ = ("error", "model", "rows", "us")

    def __init__(self, model: Model, rows: list[Row]) -> None:
        self.model = model
        self.rows = rows
        self.us = 0
        self.error: str | None = None


class Outcome:
    """A scored request.

    Attributes
    ----------
    answered : one role per accepted record, or ``None`` when the champion answered all of them.
    lead : the version whose features the records were read by: the champion, or the one asked for by name.
    started : seconds since the epoch.
    cells : the champion's scores as JSON text, one a record, without brackets; ``None`` if a record has none.
    """

    __slots__ = (
        "answered", "batch", "cells", "challenger", "champion", "entry", "inference_id", "lead", "records", "route",
        "started",
    )  # fmt: skip

    def __init__(self, entry: Entry, records: Sequence[Record], batch: Batch, lead: Model, champion: Model) -> None:
        self.entry = entry
        self.inference_id = new_inference_id()
        self.records = records
        self.batch = batch
        self.lead = lead
        self.champion = Side(champion, [])
        self.challenger: Side | None = None
        self.answered: list[Role] | None = None
        self.route: Route | None = None
        self.started = time.time()
        self.cells: list[str] | None = None

    def positions(self) -> Sequence[int]:
        """Positions in ``records`` of the rows that were scored."""
        return range(len(self.records)) if self.batch.accepted is None else self.batch.accepted

    def matrix_for(self, model: Model) -> Matrix | None:
        """The scored records as ``model`` reads them; ``None`` when its contract refuses one of them."""
        return matrix_for(model, self.lead, self.batch, [self.records[i] for i in self.positions()])

    def versions(self) -> list[str]:
        """The versions that answered, the champion's first."""
        if self.answered is None or self.challenger is None:
            return [self.champion.model.version]
        sides = {"champion": self.champion, "challenger": self.challenger}
        return [side.model.version for role, side in sides.items() if role in self.answered] or [
            self.champion.model.version
        ]


def new_inference_id() -> str:
    """128 random bits in hex."""
    return os.urandom(16).hex()


def matrix_for(model: Model, lead: Model, batch: Batch, accepted: Sequence[Record]) -> Matrix | None:
    """What ``lead`` read, if ``model`` has the same features; else what ``model`` reads from the same records."""
    if model.parser.features == lead.parser.features:
        return batch.matrix
    other = model.parser.parse(accepted)
    return other.matrix if other.accepted is None else None


def finite_rows(model: Model, matrix: Matrix, options: Any = None) -> tuple[list[Row], str | None]:
    """Scores as lists, ``None`` for rows with a value that is not finite."""
    scores = model.run(matrix, options)
    if scores.ndim != 2 or scores.shape != (len(matrix), model.columns):
        return [None] * len(matrix), "wrong_shape"
    rows: list[Row] = scores.tolist()
    if math.isfinite(sum(map(sum, rows))):  # type: ignore[arg-type]
        return rows, None
    return [row if row is not None and all(map(math.isfinite, row)) else None for row in rows], "not_finite"


class Scorer:
    """Scores records with the model set in force and decides who answers."""

    def __init__(self, models: ModelSet, settings: InferenceSettings) -> None:
        self.models = models
        self.settings = settings
        self._challengers: dict[str, Any] = {}

    def score(self, name: str, records: Sequence[Any], *, version: str | None = None) -> Outcome:
        """Parse and score.

        Parameters
        ----------
        name : model.
        records : JSON objects, checked here.
        version : answer with this version, champion or challenger, whatever the route says.

        Raises
        ------
        ApiError
            for an unknown or unavailable model or version, an empty batch or one that is too large.
        """
        champion = self.models.champion(name)
        entry = self.models.entries[name]
        if not records:
            raise ApiError("empty_batch", "there is no record to score")
        if len(records) > self.settings.max_rows:
            limit = self.settings.max_rows
            raise ApiError("batch_too_large", f"{len(records)} records are more than the {limit} of one request")
        forced = self._forced(entry, version)
        lead = self._lead(entry, champion, forced)
        batch = lead.parser.parse(records)
        outcome = Outcome(entry, records, batch, lead, champion)
        self._run_champion(outcome)
        outcome.cells = score_cells(outcome)
        outcome.route = self.settings.routes.get(name) if entry.challenger is not None else None
        if outcome.route is not None or forced == "challenger":
            self._challenge(outcome, forced)
        return outcome

    def _lead(self, entry: Entry, champion: Model, forced: Role | None) -> Model:
        """Whose features the records are read by: a version asked for by name may have others."""
        if forced != "challenger":
            return champion
        model = self.models.try_load(entry.name, entry.challenger)
        if model is None:
            version = entry.challenger
            raise ApiError("model_unavailable", f"version {version} of the model '{entry.name}' could not be loaded")
        return model

    @staticmethod
    def _run_champion(outcome: Outcome) -> None:
        side = outcome.champion
        matrix = outcome.batch.matrix if side.model is outcome.lead else outcome.matrix_for(side.model)
        started = time.perf_counter_ns()
        if matrix is None:
            side.rows, side.error = [None] * len(outcome.batch.matrix), "features"
        elif len(matrix):
            try:
                side.rows, side.error = finite_rows(side.model, matrix)
            except Exception as error:  # onnxruntime's errors share no base class; the answer is model_failed
                side.rows, side.error = [None] * len(matrix), type(error).__name__
        side.us = (time.perf_counter_ns() - started) // 1000

    @staticmethod
    def _forced(entry: Entry, version: str | None) -> Role | None:
        if version is None:
            return None
        if version == entry.champion:
            return "champion"
        if version == entry.challenger:
            return "challenger"
        raise ApiError("unknown_version", f"version '{version[:40]}' of '{entry.name}' is not deployed here")

    def _challenge(self, outcome: Outcome, forced: Role | None) -> None:
        """Let the challenger score too, and decide for every record who answers it."""
        from mlops.inference.challenger import Challenger  # noqa: PLC0415 - only during a release

        name = outcome.entry.name
        model = self.models.try_load(name, outcome.entry.challenger)
        if model is None:
            return
        challenger = self._challengers.get(name)
        if challenger is None:
            challenger = self._challengers[name] = Challenger(model)
        outcome.challenger = challenger.score(outcome, self.settings.budget_ms)
        outcome.answered = challenger.who_answers(outcome, forced)
