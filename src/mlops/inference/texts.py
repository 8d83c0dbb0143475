"""Answers and capture lines written as text: for plain requests, which are nearly all.

An answer repeats its model's names in every row, and a capture line repeats the request's own records. So neither is
built as Python values first: the constant pieces of a version are made once, the records are cut out of the body as
they came, and one ``join`` writes the whole. What is not plain (a challenger, personal data, an entity key, a wrong
record, an odd layout) returns ``None`` and is built by :mod:`mlops.inference.answers` and :mod:`mlops.inference.emit`;
tests hold that both give the same JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from mlops.inference.scoring import Outcome
    from mlops.manifest import Manifest

#: Positions of records as text; longer batches make their own.
_NUMBERS = tuple(map(str, range(1000)))


def quoted(text: str) -> str:
    """A JSON string."""
    return orjson.dumps(text).decode()


class Texts:
    """The constant pieces of one version."""

    __slots__ = ("answer", "between", "capture", "champion", "end", "labels", "positive", "threshold")

    def __init__(self, manifest: Manifest) -> None:
        model, version = quoted(manifest.model), quoted(manifest.version)
        self.answer = f'{{"model":{model},"version":{version},"inference_id":"'
        self.capture = f'{{"kind":"mlops.capture.v1","model":{model},"time":"'
        self.champion = f'],"champion":{{"version":{version},"us":'
        self.threshold = manifest.threshold
        self.positive: int | None = None
        self.labels: list[str] = []
        self.between: list[str] = []
        self.end = "},"
        if manifest.task == "classification":
            names = [quoted(c) for c in manifest.classes]
            self.labels = [f'","label":{n},"probabilities":{{{names[0]}:' for n in names]
            self.between = [f",{n}:" for n in names[1:]]
            self.end = "}},"
            if manifest.positive is not None and len(names) == 2:
                self.positive = manifest.classes.index(manifest.positive)

    def answer_one(self, prefix: str, row: Sequence[float], cell: str) -> str:
        """The answer for a single record: the same as for many, without the lists."""
        if self.positive is None:
            (start,) = self.starts_of((row,))
        else:
            start = self.labels[self.positive if row[self.positive] >= self.threshold else 1 - self.positive]
        if len(self.between) == 1:
            cell = cell.replace(",", self.between[0])
        elif self.between:
            first, *others = cell.split(",")
            cell = first + "".join([a + b for a, b in zip(self.between, others, strict=True)])
        return f'{self.answer}{prefix}","predictions":[{{"id":"{prefix}-0{start}{cell}{self.end[:-1]}]}}'

    def capture_one(self, time: str, request_id: str, prefix: str, record: str, cell: str, us: int) -> str:
        """The capture line of a single record; ``request_id`` is JSON."""
        return (
            f'{self.capture}{time}","request_id":{request_id},"step":null,"release":null,"rows":[{{"id":"'
            f'{prefix}-0","entity":null,"features":{{{record}}},"answered":"champion","champion":['
            f'{cell}],"challenger":null}}{self.champion}{us},"error":null}},"challenger":null}}'
        )

    def starts_of(self, rows: Sequence[Sequence[float]]) -> list[str]:
        """What stands between a row's position and its first score: the label, by the rule of ``label_index``."""
        if not self.labels:
            return ['","value":'] * len(rows)
        if self.positive is None:
            return [self.labels[row.index(max(row))] for row in rows]
        at, threshold = self.positive, self.threshold
        yes, no = self.labels[at], self.labels[1 - at]
        return [yes if row[at] >= threshold else no for row in rows]


def numbers(rows: int) -> Sequence[str]:
    """``"0"``, ``"1"``, … for as many rows."""
    return _NUMBERS[:rows] if rows <= len(_NUMBERS) else tuple(map(str, range(rows)))


def score_cells(outcome: Outcome) -> list[str] | None:
    """The champion's scores as text, one a row; ``None`` when a row has none."""
    side = outcome.champion
    if side.error is not None or not side.rows or outcome.batch.accepted is not None:
        return None
    return orjson.dumps(side.rows).decode()[2:-2].split("],[")


def answer_text(outcome: Outcome) -> str | None:
    """The body of the answer to ``POST /predict`` when the champion answers every record and there is no warning."""
    cells = outcome.cells
    if cells is None or outcome.answered is not None or outcome.batch.warnings:
        return None
    rows, prefix = outcome.champion.rows, outcome.inference_id
    texts = outcome.champion.model.texts
    if len(rows) == 1:
        return texts.answer_one(prefix, rows[0], cells[0])  # type: ignore[arg-type]
    columns: list[str | Sequence[str]] = [f'{{"id":"{prefix}-', numbers(len(rows)), texts.starts_of(rows)]  # type: ignore[arg-type]
    if len(texts.between) == 0:
        columns.append(cells)
    else:
        scores = list(chain.from_iterable(cell.split(",") for cell in cells))
        width = len(texts.between) + 1
        columns.append(scores[::width])
        for position, name in enumerate(texts.between, 1):
            columns += (name, scores[position::width])
    columns.append(texts.end)
    return f'{texts.answer}{prefix}","predictions":[{_weave(columns, len(rows))[:-1]}]}}'


def capture_text(outcome: Outcome, body: str, time: str, request_id: str) -> str | None:
    """The capture line of a request outside a release whose records may be kept as they came."""
    model, cells = outcome.champion.model, outcome.cells
    if cells is None or not outcome.batch.is_exact or outcome.route is not None or outcome.challenger is not None:
        return None
    records = record_texts(body, len(cells))
    if records is None:
        return None
    texts = model.texts
    if len(cells) == 1:
        prefix, us = outcome.inference_id, outcome.champion.us
        return texts.capture_one(time, quoted(request_id), prefix, records[0], cells[0], us)
    columns = [
        f'{{"id":"{outcome.inference_id}-',
        numbers(len(cells)),
        '","entity":null,"features":{',
        records,
        '},"answered":"champion","champion":[',
        cells,
        '],"challenger":null},',
    ]
    return (
        f'{texts.capture}{time}","request_id":{quoted(request_id)},"step":null,"release":null,'
        f'"rows":[{_weave(columns, len(cells))[:-1]}{texts.champion}{outcome.champion.us},"error":null}},'
        '"challenger":null}'
    )


def record_texts(body: str, rows: int) -> list[str] | None:
    """What stands between the braces of each record in the body of a parsed request, or ``None`` if in doubt.

    One opening brace for the request and one for each record means that none stands elsewhere, neither in a text nor
    before a nested object. So ``}, {`` can only stand between records, and as many parts as records are all; the last
    one ends at the last brace but one, unless a text behind it holds one.
    """
    if "\n" in body or "\r" in body:
        return None
    if rows == 1:
        parts = body.split("{")
        inside, *rest = parts[2].split("}") if len(parts) == 3 else [""]
        return [inside] if len(rest) == 2 and "}" not in parts[1] else None
    if body.count("{") != rows + 1:
        return None
    first = body.index("{", body.index("{") + 1) + 1
    inner = body[first : body.rindex("}", first, body.rindex("}"))]
    parts = inner.split("}, {")
    if len(parts) == 1:
        parts = inner.split("},{")
    return parts if len(parts) == rows and "}" not in parts[-1] else None


def _weave(columns: Sequence[str | Sequence[str]], rows: int) -> str:
    """Row after row, one piece of each column; a column that is a text is the same in every row."""
    width = len(columns)
    pieces = [""] * (width * rows)
    for position, column in enumerate(columns):
        pieces[position::width] = [column] * rows if type(column) is str else column
    return "".join(pieces)
