"""A part of the data set made of some files' staged rows, beside what is counted of them."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlops.bulk.comparing import outcomes_of
from mlops.bulk.entities import Bulk, FileOutcome, chunk_key, chunks, contract_of, dump
from mlops.contract import Contract
from mlops.data import digests as dg
from mlops.data import whole_file
from mlops.data.digests import Digests
from mlops.data.part_files import WRITERS
from mlops.data.store import RowWriter
from mlops.data.whole_file import Facts
from mlops.errors import MlopsError
from mlops.features.columns import Columns
from mlops.objects import ObjectStore
from mlops.statistics import baseline
from mlops.statistics.baseline import Baseline, Counts

#: Place of a row in the conflicts that are looked for: the file's number times this, and the row's number.
PLACES = 2**40

Mask = npt.NDArray[np.bool_]


class Parts:
    """Makes parts, below ``work/``: the data set's own folder is not touched before all of them are there."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    def make(self, bulk: Bulk, base: str, group: Mapping[str, Any]) -> dict[str, str]:
        """Make one part; ``{status}``. The same group gives the same bytes."""
        prefix, number = bulk.against(base), int(group["group"])
        done = f"{prefix}group-{number}.json"
        if self._objects.exists(done):
            return {"status": "made"}
        contract = contract_of(self._objects, bulk)
        files = outcomes_of(self._objects, bulk, list(group["files"]))
        with tempfile.TemporaryDirectory(prefix="part-") as folder:
            body = self._made(bulk, prefix, group, contract, files, Path(folder))
        self._objects.put(done, dump(body), content_type="application/json")
        return {"status": "made"}

    def _made(
        self,
        bulk: Bulk,
        prefix: str,
        group: Mapping[str, Any],
        contract: Contract,
        files: list[FileOutcome],
        work: Path,
    ) -> dict[str, Any]:
        first, new = self._masks(f"{prefix}mask-{group['group']}.npz", sum(f.accepted for f in files))
        counted, keyed = Facts(), list[npt.NDArray[np.uint64]]()
        wants_keys = bool(whole_file.keyed_by(contract)) and len(first) <= whole_file.MAX_KEYED
        with RowWriter(work) as writer:
            for outcome, (start, stop) in zip(
                files, pairwise([0, *accumulate(f.accepted for f in files)]), strict=True
            ):
                if not first[start:stop].any():
                    continue
                numbers = self._numbers(outcome, work)
                for i, (a, b) in enumerate(chunks(outcome.accepted)):
                    of_first, of_new = first[start:stop][a:b], new[start:stop][a:b]
                    if not of_first.any():
                        continue
                    table = Columns.load(self._objects.get(chunk_key(outcome.stage, i)))
                    judged = table.take(of_first)
                    columns = ((c.name, c.levels if c.type == "category" else None, [c.values]) for c in judged.columns)
                    counted = counted.plus(whole_file.facts(columns, judged.rows, contract))
                    if wants_keys:
                        keyed.append(_keyed(judged, contract, outcome.number, numbers[a:b][of_first]))
                    if of_new.any():
                        writer.add(table.take(of_new), numbers[a:b][of_new])
            body: dict[str, Any] = {"facts": asdict(counted), "part": None, "counts": None, "keyed": bool(keyed)}
            if keyed:
                path = work / "keyed.npy"
                np.save(path, np.concatenate(keyed))
                self._objects.upload(str(path), f"{prefix}keyed-{group['group']}.npy")
                path.unlink()
            if group["rows"]:
                body |= self._part(bulk, prefix, group, writer, files)
        return body

    def _part(
        self, bulk: Bulk, prefix: str, group: Mapping[str, Any], writer: RowWriter, files: list[FileOutcome]
    ) -> dict[str, Any]:
        rows = writer.finish().addressed()
        frame = axes(self._objects, bulk, prefix)
        counts = baseline.merge_all(frame, (baseline.accumulate(frame, block) for block in rows.blocks()))
        part_id = dg.set_digest([rows.digests], dg.schema_digest(rows.columns))
        if part_id != group["part_id"]:  # the staged rows are not those that were compared
            raise MlopsError(
                f"part {group['group']} of {bulk.bulk_id} has other rows than it should", code="wrong_part"
            )
        for name, write in WRITERS.items():
            path = rows.folder / name
            write(rows, path)
            self._objects.upload(str(path), f"{prefix}parts/{part_id}/{name}")
            path.unlink()
        part = {
            "part_id": part_id,
            "rows": rows.count,
            "columns": [{"name": c.name, "type": c.type} for c in rows.columns],
            "files": [f.content for f in files],
        }
        return {"part": part, "counts": counts.to_dict()}

    def _masks(self, key: str, rows: int) -> tuple[Mask, Mask]:
        with np.load(io.BytesIO(self._objects.get(key)), allow_pickle=False) as masks:
            first, new = (np.unpackbits(masks[name], count=rows).astype(bool) for name in ("first", "new"))
        return first, new

    def _numbers(self, outcome: FileOutcome, work: Path) -> npt.NDArray[np.int64]:
        path = work / "staged-numbers.npy"
        path.unlink(missing_ok=True)  # that of the file before may still be mapped
        self._objects.download(f"{outcome.stage}numbers.npy", str(path))
        found: npt.NDArray[np.int64] = np.load(path, mmap_mode="r", allow_pickle=False)
        return found


def axes(objects: ObjectStore, bulk: Bulk, prefix: str) -> Baseline:
    """The bins that all rows of an upload are counted on; nothing is counted on them yet."""
    chosen = Baseline.from_dict(json.loads(objects.get(f"{prefix}axes.json"))).axes
    return Baseline(chosen, Counts("", 0, ()))


def _keyed(table: Columns, contract: Contract, number: int, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """Whose and when each row is, its answer, and its place: uint64 of shape (rows, 4). By digests, because texts of
    several files have no codes in common."""
    keys: Digests = dg.row_digests(table.select(whole_file.keyed_by(contract)))
    answers = dg.row_digests(table.select([contract.target.name]))[:, :1]
    places = (numbers.astype(np.uint64) + np.uint64(number * PLACES))[:, None]
    return np.concatenate([keys, answers, places], axis=1)
