"""Parts and versions of a data set.

A *part* holds the rows that one upload added. A *version* is a set of parts. Both are addressed by the rows
in them (:mod:`mlops.data.digests`): the same rows give the same version, whatever the order of rows, columns
and files, and however they were split.

``checks.duplicates`` of the contract decides what "the same rows" means. With ``quarantine`` a data set is a
set: a row that an earlier upload brought adds nothing. With ``allow`` it is a multiset: equal rows count as
often as they occur, in one file or over several; only an upload that equals an earlier part row for row is
taken for the same delivery and adds nothing.

When the contract's columns or types change, earlier parts no longer fit. The next upload then begins a new
data set; the parts stay in the bucket.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlops.contract import Contract
from mlops.data import digests as dg
from mlops.data import part_files
from mlops.data.digests import Digests
from mlops.data.runs import RUN_ROWS, merged
from mlops.data.store import AddressedRows
from mlops.errors import ConflictError
from mlops.features.columns import Columns
from mlops.objects import ObjectStore, dataset_manifest_key, part_prefix
from mlops.registry.entities import DatasetVersion
from mlops.registry.ports import Registry

#: Another upload that advances the data set at the same time costs one round; so many in a row mean a fault.
ATTEMPTS = 20

#: Further files of a part (name -> body), made from its rows and its id.
Extras = Callable[[AddressedRows, str], dict[str, bytes]]


@dataclass(frozen=True, slots=True)
class Growth:
    """What an upload did to the data set.

    Attributes
    ----------
    part_id : the part that holds its rows; empty when it added none.
    version : the data set's version with these rows.
    new : rows added.
    restarted : whether earlier parts were left behind because the contract's columns changed.
    """

    part_id: str
    version: str
    new: int
    rows: int
    restarted: bool = False


def add_rows(
    accepted: AddressedRows,
    *,
    upload_id: str,
    contract: Contract,
    objects: ObjectStore,
    registry: Registry,
    clock: Callable[[], datetime],
    extras: Extras | None = None,
) -> Growth:
    """Add an upload's accepted rows to the model's data set.

    Safe to call again, and from two places at once, for the same upload: its rows count once.

    Parameters
    ----------
    accepted : the rows; distinct ones unless the contract allows duplicates. Files are made in their folder.
    extras : called with the part's rows and id for further files of the part (name -> body).

    Raises
    ------
    ConflictError
        when others kept changing the data set through all attempts.
    """
    model = contract.name
    schema = dg.schema_digest(accepted.columns)
    for _ in range(ATTEMPTS):
        current = registry.current_dataset(model)
        parts = [(part_id, part_info(objects, model, part_id)) for part_id in (current.parts if current else ())]
        fitting = [(part_id, info) for part_id, info in parts if info["schema_digest"] == schema]
        restarted = len(fitting) < len(parts)
        own = next((part_id for part_id, info in fitting if info["upload_id"] == upload_id), None)
        if own and current:  # this very upload was here before: a second delivery, or a run that broke off
            return Growth(own, current.version, int(dict(fitting)[own]["rows"]), current.rows)
        others = [part_digests(objects, model, part_id, accepted.folder) for part_id, _ in fitting]
        known = {part_id for part_id, _ in fitting} | {c for _, info in fitting for c in info.get("files", ())}
        fresh = _fresh(accepted, others, schema, contract, known)
        if not fresh.any():
            return Growth("", current.version if current else "", 0, current.rows if current else 0)
        added = accepted if fresh.all() else accepted.choose(fresh)
        part_id = dg.set_digest(in_order([added.digests]), schema)
        info = {
            "schema": "mlops.part.v1",
            "model": model,
            "part_id": part_id,
            "rows": added.count,
            "schema_digest": schema,
            "contract_digest": contract.digest(),
            "upload_id": upload_id,
            "created_at": clock().isoformat(),
            "columns": [{"name": c.name, "type": c.type} for c in added.columns],
        }
        _write_part(objects, part_prefix(model, part_id), added, extras(added, part_id) if extras else {}, info)
        new = DatasetVersion(
            model=model,
            version=dg.set_digest(in_order([*others, added.digests]), schema),
            parts=(*(p for p, _ in fitting), part_id),
            rows=sum(map(len, others)) + added.count,
            new_rows=added.count,
            created_at=clock().isoformat(),
            contract_digest=contract.digest(),
            source=upload_id,
        )
        body = json.dumps(asdict(new), indent=1).encode()
        objects.put(dataset_manifest_key(model, new.version), body, content_type="application/json", if_absent=True)
        try:
            registry.advance_dataset(new, current.version if current else None)
        except ConflictError:
            continue  # somebody else was faster: look again at what is new
        return Growth(part_id, new.version, new.new_rows, new.rows, restarted)
    raise ConflictError(f"the data set of '{model}' changed under {ATTEMPTS} attempts to add upload {upload_id}")


def load(objects: ObjectStore, model: str, version: str) -> Columns:
    """All rows of a data-set version, part after part."""
    manifest = json.loads(objects.get(dataset_manifest_key(model, version)))
    return Columns.concat([Columns.load(objects.get(part_prefix(model, p) + "columns.npz")) for p in manifest["parts"]])


def _fresh(
    accepted: AddressedRows, others: Sequence[Digests], schema: str, contract: Contract, known: set[str]
) -> npt.NDArray[np.bool_]:
    """Which rows the data set lacks; ``known``: addresses of its parts, and of the files that parts were made of."""
    if contract.checks.duplicates == "allow":
        repeated = dg.set_digest(in_order([accepted.digests]), schema) in known
        return np.full(accepted.count, not repeated)
    fresh = np.ones(accepted.count, dtype=bool)
    for start in range(0, accepted.count, RUN_ROWS):
        mine = accepted.digests[start : start + RUN_ROWS]
        for other in others:
            fresh[start : start + RUN_ROWS] &= ~dg.known(mine, other)
    return fresh


def in_order(sets: Sequence[Digests]) -> Iterator[Digests]:
    """Sorted sets of digests as one sorted sequence, piece by piece."""
    positions = np.broadcast_to(np.int64(0), max(map(len, sets), default=0))  # nobody asks where they came from
    return (digests for digests, _ in merged([(s, positions[: len(s)]) for s in sets]))


def part_info(objects: ObjectStore, model: str, part_id: str) -> dict[str, Any]:
    """What is known of a part: its ``part.json``."""
    info: dict[str, Any] = json.loads(objects.get(part_prefix(model, part_id) + "part.json"))
    return info


def part_digests(objects: ObjectStore, model: str, part_id: str, folder: Path) -> Digests:
    """A part's digests, in ascending order, mapped from a file."""
    path = folder / f"known-{part_id}.npy"
    if not path.exists():
        objects.download(part_prefix(model, part_id) + "digests.npy", str(path))
    digests: Digests = np.load(path, mmap_mode="r", allow_pickle=False)
    return digests


def _write_part(
    objects: ObjectStore, prefix: str, rows: AddressedRows, further: dict[str, bytes], info: dict[str, Any]
) -> None:
    """Store a part's files. All follow from the rows, so writing them twice changes nothing."""
    for name, write in part_files.WRITERS.items():
        path = rows.folder / name
        write(rows, path)
        objects.upload(str(path), prefix + name, if_absent=True)
        path.unlink()  # the disk need not hold all of them at once
    for name, body in further.items():
        objects.put(prefix + name, body, content_type=_content_type(name), if_absent=True)
    # Last, because a part counts as whole once this exists.
    objects.put(prefix + "part.json", json.dumps(info).encode(), content_type="application/json", if_absent=True)


def _content_type(name: str) -> str:
    kinds = {".json": "application/json", ".html": "text/html; charset=utf-8"}
    return next((kind for ending, kind in kinds.items() if name.endswith(ending)), "application/octet-stream")
