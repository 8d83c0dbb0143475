"""What files hold in common, with one another and with the data set: decided from the addresses of rows alone.

All files' sorted digests are walked once as one sorted sequence. Of equal rows the first file's counts; a row that the
data set has adds nothing. On the way the rows with the smallest digests are picked, which is a random sample and the
same one for the same rows, however they lie in files: from it the bins of the statistics are chosen.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlops.bulk.entities import (
    AT_ONCE,
    Bulk,
    FileOutcome,
    bodies,
    chunk_key,
    chunks,
    contract_of,
    dump,
    reference_of,
    uploads_of,
)
from mlops.contract import Contract
from mlops.data import digests as dg
from mlops.data import whole_file
from mlops.data.checks import DUPLICATE
from mlops.data.dataset import ATTEMPTS, in_order, part_digests, part_info
from mlops.data.digests import Digests
from mlops.data.ingest import SAMPLE_ROWS
from mlops.data.outcome import EXAMPLES, Rejection
from mlops.data.profile import SAMPLE_ROWS as PROFILE_ROWS
from mlops.data.profile import profile
from mlops.data.runs import RUN_ROWS, Positions, mapped, merged
from mlops.errors import ConflictError, MlopsError, NotFoundError
from mlops.features.columns import Columns
from mlops.objects import ObjectStore
from mlops.registry.ports import Registry
from mlops.statistics import baseline

#: New rows of one part at most, unless one file has more: what a function writes in one go.
PART_ROWS = 2_000_000
#: Rows that equal one of an earlier file and are listed by file and row; all are counted.
LISTED = 100_000
_JSON = "application/json"

REPEATED = "the row is equal to an earlier one of this upload"

Mask = npt.NDArray[np.bool_]


@dataclass
class _Walk:
    """All accepted rows of all files, one after another in the order of files.

    ``offsets``: where each file begins. ``first``: rows that no earlier file has. ``new``: of these, rows that the data
    set lacks. ``sampled``: places of the rows with the smallest digests, in that order, with their two flags.
    """

    offsets: list[int]
    first: Mask
    new: Mask
    sampled: list[tuple[Positions, Mask, Mask]] = field(default_factory=list)
    repeats: list[tuple[int, int]] = field(default_factory=list)

    def counts(self, mask: Mask) -> list[int]:
        return [int(mask[a:b].sum()) for a, b in pairwise(self.offsets)]


class Comparing:
    """Compares the files of one bulk upload with the data set as it is."""

    def __init__(self, objects: ObjectStore, registry: Registry) -> None:
        self._objects = objects
        self._registry = registry

    def compare(self, bulk: Bulk, attempt: int = 0) -> dict[str, Any]:
        """Decide which rows count, and which parts they make.

        Returns
        -------
        ``{base, groups, groups_key}``: the data set's version that was compared with, and how many parts there are to
        make; 0 when nothing is to be taken.

        Raises
        ------
        ConflictError
            when the data set has changed under so many attempts.
        MlopsError
            when functions broke on too many files: a further run goes on where this one ended.
        """
        if attempt >= ATTEMPTS:
            raise ConflictError(
                f"the data set of '{bulk.model}' changed under {ATTEMPTS} attempts to add {bulk.bulk_id}"
            )
        contract = contract_of(self._objects, bulk)
        outcomes = outcomes_of(self._objects, bulk)
        current = self._registry.current_dataset(bulk.model)
        base = current.version if current else ""
        refused = _too_many_failed(bulk, outcomes)
        if refused:
            return self._store(bulk, base, {"rejection": refused.to_dict()}, [])
        taken = [o for o in outcomes if o.taken]
        with tempfile.TemporaryDirectory(prefix="compare-") as folder:
            return self._compared(bulk, contract, taken, current.parts if current else (), base, Path(folder))

    def _compared(
        self,
        bulk: Bulk,
        contract: Contract,
        taken: list[FileOutcome],
        parts: Sequence[str],
        base: str,
        work: Path,
    ) -> dict[str, Any]:
        schema = taken[0].schema
        infos = {p: part_info(self._objects, bulk.model, p) for p in dict.fromkeys(parts)}
        # Parts of this very upload: it was added before, and broke off before it told.
        fitting = [p for p in parts if infos[p]["schema_digest"] == schema and infos[p]["upload_id"] != bulk.bulk_id]
        others = [part_digests(self._objects, bulk.model, p, work) for p in fitting]
        mine = [self._array(o, "digests", work) for o in taken]
        known = set(fitting) | {c for p in fitting for c in infos[p].get("files", ())}
        distinct = contract.checks.duplicates == "quarantine"
        copies = {} if distinct else _copies(taken, known)
        walk = _walked(mine, others, copies, work, distinct=distinct)
        sample = self._sample(taken, walk)
        groups = [
            self._group(bulk, base, number, files, taken, mine, walk, schema, work)
            for number, files in enumerate(_groups(walk.counts(walk.new)))
        ]
        made = [mapped(Path(g["path"]), np.uint64, 2) for g in groups if g["part_id"]]
        held = reference_of(self._objects, bulk, contract) is not None
        plan = {
            "rejection": None,
            "restarted": any(infos[p]["schema_digest"] != schema for p in parts),
            "schema": schema,
            "parts": fitting,
            "version": dg.set_digest(in_order([*others, *made]), schema),
            "rows": sum(map(len, others)) + sum(map(len, made)),
            "accepted": int(walk.first.sum()) if distinct else len(walk.first),
            "new": int(walk.new.sum()),
            "repeated": int((~walk.first).sum()) if distinct else 0,
            "listed": self._list_repeats(bulk, taken, walk, work),
            "files": {
                str(o.number): {"new": new, "known": first - new, "repeated": o.accepted - first}
                for o, first, new in zip(taken, walk.counts(walk.first), walk.counts(walk.new), strict=True)
            },
            "copies": {str(taken[i].number): key for i, key in copies.items()},
            "held": held,
            **_judged_sample(sample, contract, taken, held=held),
        }
        if sample is not None and plan["new"]:
            chosen = sample.table.take(sample.new)
            frame = baseline.build(contract.features, chosen, target=chosen[contract.target.name])
            self._objects.put(bulk.against(base) + "axes.json", dump(frame.to_dict()), content_type=_JSON)
        for group in groups:
            del group["path"]
        return self._store(bulk, base, plan, groups)

    def _store(self, bulk: Bulk, base: str, plan: Mapping[str, Any], groups: list[dict[str, Any]]) -> dict[str, Any]:
        prefix = bulk.against(base)
        lines = "".join(json.dumps(g) + "\n" for g in groups)
        self._objects.put(f"{prefix}groups.jsonl", lines.encode(), content_type="application/x-ndjson")
        self._objects.put(f"{prefix}plan.json", dump({**plan, "base": base, "groups": len(groups)}), content_type=_JSON)
        return {"base": base, "groups": len(groups), "groups_key": f"{prefix}groups.jsonl"}

    def _group(
        self,
        bulk: Bulk,
        base: str,
        number: int,
        files: range,
        taken: list[FileOutcome],
        mine: list[Digests],
        walk: _Walk,
        schema: str,
        work: Path,
    ) -> dict[str, Any]:
        """One part to be made of some files: its address, and which of their rows count."""
        start, stop = walk.offsets[files.start], walk.offsets[files.stop]
        first, new = walk.first[start:stop], walk.new[start:stop]
        path = work / f"group-{number}.bin"
        sets = [
            _stored(_chosen(mine[i], walk.new[walk.offsets[i] : walk.offsets[i + 1]]), work / f"new-{i}.bin")
            for i in files
        ]
        part = _stored(in_order(sets), path)
        masks = work / f"mask-{number}.npz"
        np.savez(masks, first=np.packbits(first), new=np.packbits(new))
        self._objects.upload(str(masks), f"{bulk.against(base)}mask-{number}.npz")
        rows = int(new.sum())
        return {
            "group": number,
            "files": [taken[i].number for i in files],
            "part_id": dg.set_digest(in_order([part]), schema) if rows else "",
            "rows": rows,
            "path": str(path),
        }

    def _array(self, outcome: FileOutcome, name: str, work: Path) -> Any:
        path = work / f"{name}-{outcome.number}.npy"
        if not path.exists():
            self._objects.download(f"{outcome.stage}{name}.npy", str(path))
        return np.load(path, mmap_mode="r", allow_pickle=False)

    # The sample -------------------------------------------------------------------------------------

    def _sample(self, taken: list[FileOutcome], walk: _Walk) -> _Sample | None:
        """The sampled rows, read from the pieces of staged rows that hold them."""
        if not walk.sampled:
            return None
        places = np.concatenate([p for p, _, _ in walk.sampled])
        files = np.searchsorted(walk.offsets, places, side="right") - 1
        local = places - np.array(walk.offsets)[files]
        tables: list[Columns] = []
        order: list[Positions] = []
        numbers = np.zeros(len(places), dtype=np.int64)
        wanted = [
            (i, n, start, np.flatnonzero((files == i) & (local >= start) & (local < stop)))
            for i in np.unique(files).tolist()
            for n, (start, stop) in enumerate(chunks(taken[i].accepted))
        ]
        wanted = [w for w in wanted if len(w[3])]
        for found, body in zip(
            wanted, bodies(self._objects, (chunk_key(taken[i].stage, n) for i, n, _, _ in wanted)), strict=True
        ):
            i, _, start, where = found
            tables.append(Columns.load(body).take(local[where] - start))
            order.append(where)
            numbers[where] = i
        table = Columns.concat(tables).take(np.argsort(np.concatenate(order)))
        flags = [np.concatenate([w[k] for w in walk.sampled]) for k in (1, 2)]
        return _Sample(table, flags[0], flags[1], numbers, local)

    def _list_repeats(self, bulk: Bulk, taken: list[FileOutcome], walk: _Walk, work: Path) -> int:
        """Where the rows are that equal one of an earlier file, for people; the rows themselves are in the files."""
        if not walk.repeats:
            return 0
        reason = [{"code": DUPLICATE, "column": None, "message": REPEATED}]
        offsets = np.array(walk.offsets)

        def place(position: int) -> dict[str, Any]:
            i = int(np.searchsorted(offsets, position, side="right")) - 1
            number = self._array(taken[i], "numbers", work)[position - offsets[i]]
            return {"file": taken[i].upload.key, "row": int(number)}

        path = work / "repeats.jsonl"
        with path.open("w", encoding="utf-8") as file:
            for position, earlier in sorted(walk.repeats):
                line = {**place(position), "reasons": reason, "same_as": place(earlier)}
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
        self._objects.upload(str(path), f"{bulk.quarantine()}rows.jsonl", content_type="application/x-ndjson")
        return len(walk.repeats)


@dataclass(frozen=True)
class _Sample:
    """Rows with their flags (see :class:`_Walk`), the file of each, and its place among that file's rows."""

    table: Columns
    first: Mask
    new: Mask
    files: Positions
    local: Positions


def outcomes_of(objects: ObjectStore, bulk: Bulk, numbers: Sequence[int] | None = None) -> list[FileOutcome]:
    """What was found of every file, or of some, in their order; one of which nothing was written down has failed."""
    uploads = uploads_of(objects, bulk)

    def one(number: int) -> FileOutcome:
        try:
            return FileOutcome.from_dict(json.loads(objects.get(bulk.file_prefix(uploads[number]) + "file.json")))
        except NotFoundError:
            reason = {"code": "fault", "column": None, "count": None, "message": "the file was not checked to its end"}
            return FileOutcome(uploads[number], number, "failed", reasons=(reason,))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(one, range(len(uploads)) if numbers is None else numbers))


def _too_many_failed(bulk: Bulk, outcomes: Sequence[FileOutcome]) -> Rejection | None:
    rejected = [o for o in outcomes if o.status == "rejected"]
    broken = [o for o in outcomes if o.status == "failed"]
    bound = bulk.max_failed * len(outcomes)
    if len(rejected) > bound or len(rejected) == len(outcomes):
        first = rejected[0]
        why = f"{first.upload.key.rsplit('/', 1)[-1]}: {first.reasons[0]['message']}"
        return Rejection(
            "too_many_failed_files",
            f"{len(rejected):,} of {len(outcomes):,} files were rejected ({len(rejected) / len(outcomes):.0%}), and at "
            f"most {bulk.max_failed:.0%} may be (mlops upload --max-failed). The report names each. For example {why}",
        )
    if len(rejected) + len(broken) > bound or len(rejected) + len(broken) == len(outcomes):
        raise MlopsError(
            f"functions broke on {len(broken)} of {len(outcomes)} files; start again, which goes on from here",
            code="files_failed",
        )
    return None


def _copies(taken: Sequence[FileOutcome], known: set[str]) -> dict[int, str]:
    """Files whose rows equal those of an earlier file, or of a part: where equal rows count, these are the same
    delivery and add nothing."""
    seen: dict[str, str] = dict.fromkeys(known, "the data set")
    found: dict[int, str] = {}
    for i, outcome in enumerate(taken):
        if outcome.content in seen:
            found[i] = seen[outcome.content]
        seen.setdefault(outcome.content, outcome.upload.key)
    return found


def _walked(
    mine: Sequence[Digests], others: Sequence[Digests], copies: Mapping[int, str], work: Path, *, distinct: bool
) -> _Walk:
    offsets = [0, *accumulate(map(len, mine))]
    total = offsets[-1]
    walk = _Walk(offsets, np.ones(total, dtype=bool), np.ones(total, dtype=bool))
    for i in copies:
        walk.first[offsets[i] : offsets[i + 1]] = walk.new[offsets[i] : offsets[i + 1]] = False
    # On disk, because they are as large as half the digests.
    places = np.lib.format.open_memmap(work / "places.npy", mode="w+", dtype=np.int64, shape=(max(total, 1),))
    for start in range(0, total, PART_ROWS):
        places[start : start + PART_ROWS] = np.arange(start, min(start + PART_ROWS, total))
    picked = dict.fromkeys(("first", "new"), 0)
    for digests, positions in merged([(d, places[a:b]) for d, (a, b) in zip(mine, pairwise(offsets), strict=True)]):
        first = walk.first[positions]
        if distinct:
            first[1:] &= (digests[1:] != digests[:-1]).any(axis=1)
            _note_repeats(walk, positions, first)
        new = first & walk.new[positions]
        for other in others if distinct else ():
            new &= ~dg.known(digests, other)
        walk.first[positions], walk.new[positions] = first, new
        of_first = first & (np.cumsum(first) <= whole_file.SAMPLE_ROWS - picked["first"])
        of_new = new & (np.cumsum(new) <= SAMPLE_ROWS - picked["new"])
        picked = {"first": picked["first"] + int(of_first.sum()), "new": picked["new"] + int(of_new.sum())}
        either = of_first | of_new
        if either.any():
            walk.sampled.append((positions[either], of_first[either], of_new[either]))
    return walk


def _note_repeats(walk: _Walk, positions: Positions, first: Mask) -> None:
    again = np.flatnonzero(~first)[: max(0, LISTED - len(walk.repeats))]
    if len(again):
        begins = np.maximum.accumulate(np.where(first, np.arange(len(first)), 0))
        walk.repeats += zip(positions[again].tolist(), positions[begins[again]].tolist(), strict=True)


def _groups(new: Sequence[int]) -> Iterator[range]:
    """Files that make one part: neighbours, up to so many new rows."""
    start = rows = 0
    for i, count in enumerate(new):
        if rows and rows + count > PART_ROWS:
            yield range(start, i)
            start, rows = i, 0
        rows += count
    yield range(start, len(new))


def _chosen(digests: Digests, mask: Mask) -> Iterator[Digests]:
    for start in range(0, len(digests), RUN_ROWS):
        yield digests[start : start + RUN_ROWS][mask[start : start + RUN_ROWS]]


def _stored(blocks: Iterable[Digests], path: Path) -> Digests:
    """Digests in a file, which they are mapped from: a large file has more than memory should hold."""
    with path.open("wb") as file:
        for block in blocks:
            file.write(np.ascontiguousarray(block).data)
    found: Digests = mapped(path, np.uint64, 2)
    return found


def _judged_sample(
    sample: _Sample | None, contract: Contract, taken: Sequence[FileOutcome], *, held: bool
) -> dict[str, Any]:
    """What the checks over a sample find, and how columns are distributed."""
    if sample is None:
        return {"findings": [], "columns": []}
    table = sample.table.take(sample.first)
    files, found = sample.files[sample.first], []
    if table.rows >= whole_file.MIN_ROWS:
        found = whole_file.of_sample(table, contract, np.arange(table.rows), held=held)
    for finding in found:
        # Rows are numbered within their files, so a finding names files.
        named = dict.fromkeys(taken[files[i]].upload.key.rsplit("/", 1)[-1] for i in finding.rows)
        finding.rows, finding.examples = [], list(named)[:EXAMPLES]
    columns = profile(table.take(np.arange(min(table.rows, PROFILE_ROWS))), contract)
    return {"findings": [asdict(f) for f in found], "columns": columns}
