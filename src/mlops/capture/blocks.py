"""Many capture lines as one JSON document with a list for every field: how folded hours are stored.

A block says each name once, so it is a third smaller than its lines after gzip, and a reader takes whole columns out of
it. Nothing is lost: :func:`unpack` gives back the lines that :func:`pack` was given. Standard library only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

LINE = "mlops.capture.v1"
BLOCK = "mlops.captures.v1"
#: Request ids of records that the release replayed start with this; they are not live traffic.
REPLAY = "replay-"
#: Records in a block; bounds what a reader holds at a time.
MAX_ROWS = 2000

Document = dict[str, Any]

_LINE = {"kind", "model", "time", "request_id", "step", "release", "rows", "champion", "challenger"}
_ROW = {"id", "entity", "features", "answered", "champion", "challenger"}
_SIDE = {"version", "us", "error"}
_PER_LINE = ("time", "request_id", "rows", "champion_us", "champion_error", "challenger_us", "challenger_error")
_PER_ROW = ("id", "entity", "answered", "champion_scores", "challenger_scores")


def pack(lines: Iterable[Any]) -> tuple[list[Document], list[Any]]:
    """Blocks of what ``predict`` prints, and the lines that look otherwise, in the order given.

    Lines of one block have the same model, versions and step, and are all replayed or all live.
    """
    open_: dict[tuple[Any, ...], _Growing] = {}
    done: list[Document] = []
    others: list[Any] = []
    for line in lines:
        header = _header(line)
        if header is None:
            others.append(line)
            continue
        growing = open_.get(header)
        if growing is None:
            growing = open_[header] = _Growing(header)
        growing.add(line)
        if growing.count >= MAX_ROWS:
            done.append(growing.document)
            del open_[header]
    return done + [g.document for g in open_.values()], others


def _header(line: Any) -> tuple[Any, ...] | None:
    """What lines of a block have in common; None for a line that says more or less than a block can."""
    if not isinstance(line, dict) or line.keys() != _LINE or line["kind"] != LINE:
        return None
    champion, challenger, rows = line["champion"], line["challenger"], line["rows"]
    if not _is_side(champion) or not (challenger is None or _is_side(challenger)) or not isinstance(rows, list):
        return None
    if not all(isinstance(r, dict) and r.keys() == _ROW and isinstance(r["features"], dict) for r in rows):
        return None
    step, release, request_id = line["step"], line["release"], line["request_id"]
    texts = (line["model"], line["time"], request_id)
    if not all(isinstance(t, str) for t in texts) or not all(t is None or isinstance(t, str) for t in (step, release)):
        return None
    other = challenger["version"] if challenger else None
    return line["model"], step, release, champion["version"], other, request_id.startswith(REPLAY)


def _is_side(side: Any) -> bool:
    return isinstance(side, dict) and side.keys() == _SIDE and isinstance(side["version"], str)


class _Growing:
    """A block that lines are added to."""

    def __init__(self, header: tuple[Any, ...]) -> None:
        model, step, release, champion, challenger, _ = header
        self.count = 0
        self._features: dict[str, list[Any]] = {}
        self._absent: dict[str, list[int]] = {}
        self.document: Document = {
            "kind": BLOCK, "model": model, "step": step, "release": release, "champion": champion,
            "challenger": challenger, **{name: [] for name in (*_PER_LINE, *_PER_ROW)},
            "features": self._features, "absent": self._absent,
        }  # fmt: skip

    def add(self, line: Mapping[str, Any]) -> None:
        document, challenger = self.document, line["challenger"]
        document["time"].append(line["time"])
        document["request_id"].append(line["request_id"])
        document["rows"].append(len(line["rows"]))
        document["champion_us"].append(line["champion"]["us"])
        document["champion_error"].append(line["champion"]["error"])
        document["challenger_us"].append(challenger["us"] if challenger else None)
        document["challenger_error"].append(challenger["error"] if challenger else None)
        for row in line["rows"]:
            document["id"].append(row["id"])
            document["entity"].append(row["entity"])
            document["answered"].append(row["answered"])
            document["champion_scores"].append(row["champion"])
            document["challenger_scores"].append(row["challenger"])
            self._add_features(row["features"])
            self.count += 1

    def _add_features(self, values: Mapping[str, Any]) -> None:
        columns = self._features
        if values.keys() != columns.keys():
            for name in values.keys() - columns.keys():
                columns[name] = [None] * self.count
                if self.count:
                    self._absent[name] = list(range(self.count))
            for name in columns.keys() - values.keys():
                columns[name].append(None)
                self._absent.setdefault(name, []).append(self.count)
        for name, value in values.items():
            columns[name].append(value)


def unpack(document: Mapping[str, Any]) -> Iterator[Document]:
    """The lines of a block.

    Raises
    ------
    ValueError, KeyError, TypeError, IndexError
        when it is not a whole block.
    """
    check(document)
    absent = {name: set(positions) for name, positions in document["absent"].items()}
    first = 0
    for i, count in enumerate(document["rows"]):
        line = {name: document[name] for name in ("model", "step", "release")}
        line |= {"kind": LINE, "time": document["time"][i], "request_id": document["request_id"][i]}
        for side in ("champion", "challenger"):
            line[side] = None if document[side] is None else {
                "version": document[side], "us": document[f"{side}_us"][i], "error": document[f"{side}_error"][i]
            }  # fmt: skip
        line["rows"] = [
            {
                "id": document["id"][row], "entity": document["entity"][row], "answered": document["answered"][row],
                "features": features_of(document["features"], absent, row),
                "champion": document["champion_scores"][row], "challenger": document["challenger_scores"][row],
            }
            for row in range(first, first + count)
        ]  # fmt: skip
        first += count
        yield line


def features_of(features: Mapping[str, list[Any]], absent: Mapping[str, Iterable[int]], row: int) -> dict[str, Any]:
    """The features of one record of a block, without those that it did not have."""
    return {name: values[row] for name, values in features.items() if row not in absent.get(name, ())}


def check(document: Mapping[str, Any]) -> None:
    """Raise ValueError or KeyError or TypeError unless every list of a block has the length that it must have."""
    lines, rows = len(document["time"]), sum(document["rows"])
    lists = [(document[name], lines) for name in _PER_LINE] + [(document[name], rows) for name in _PER_ROW]
    lists += [(values, rows) for values in document["features"].values()]
    if document["kind"] != BLOCK or any(len(values) != length for values, length in lists):
        raise ValueError("not a whole block")
