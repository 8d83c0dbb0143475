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

import io
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from mlops.contract import Contract
from mlops.data import digests as dg
from mlops.data.digests import Digests
from mlops.errors import ConflictError
from mlops.features.columns import MISSING, Column, Columns
from mlops.objects import ObjectStore, dataset_manifest_key, part_prefix
from mlops.registry.entities import DatasetVersion
from mlops.registry.ports import Registry

#: Another upload that advances the data set at the same time costs one round; so many in a row mean a fault.
ATTEMPTS = 20
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


#: Further files of a part (name -> body), made from its rows and its id.
Extras = Callable[[Columns, str], dict[str, bytes]]


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
    columns: Columns,
    digests: Digests,
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
    columns, digests : the accepted rows and their digests, in the same order.
    extras : called with the part's rows and id for further files of the part (name -> body).

    Raises
    ------
    ConflictError
        when others kept changing the data set through all attempts.
    """
    model = contract.name
    schema = dg.schema_digest(columns)
    for _ in range(ATTEMPTS):
        current = registry.current_dataset(model)
        parts = [(part_id, _part(objects, model, part_id)) for part_id in (current.parts if current else ())]
        fitting = [(part_id, info) for part_id, info in parts if info["schema_digest"] == schema]
        restarted = len(fitting) < len(parts)
        own = next((part_id for part_id, info in fitting if info["upload_id"] == upload_id), None)
        if own and current:  # this very upload was here before: a second delivery, or a run that broke off
            return Growth(own, current.version, int(dict(fitting)[own]["rows"]), current.rows)
        others = [_digests(objects, model, part_id) for part_id, _ in fitting]
        known = np.concatenate(others) if others else np.empty((0, 2), dtype=np.uint64)
        fresh = _fresh(digests, known, schema, contract, [part_id for part_id, _ in fitting])
        if not fresh.any():
            return Growth("", current.version if current else "", 0, current.rows if current else 0)
        added, added_digests = canonical(columns.take(fresh), digests[fresh])
        part_id = dg.set_digest(added_digests, schema)
        info = {
            "schema": "mlops.part.v1",
            "model": model,
            "part_id": part_id,
            "rows": added.rows,
            "schema_digest": schema,
            "contract_digest": contract.digest(),
            "upload_id": upload_id,
            "created_at": clock().isoformat(),
            "columns": [{"name": c.name, "type": c.type} for c in added.columns],
        }
        files = _part_files(added, added_digests) | (extras(added, part_id) if extras else {})
        _write_part(objects, part_prefix(model, part_id), files, info)
        new = DatasetVersion(
            model=model,
            version=dg.set_digest(np.concatenate([known, added_digests]), schema),
            parts=(*(p for p, _ in fitting), part_id),
            rows=len(known) + len(added_digests),
            new_rows=len(added_digests),
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


def canonical(columns: Columns, digests: Digests) -> tuple[Columns, Digests]:
    """The rows in the order of their digests, levels sorted: the same rows give the same bytes."""
    order = dg.order(digests)
    return Columns(tuple(_canonical(c) for c in columns.take(order).columns)), digests[order]


def frame(columns: Columns) -> pl.DataFrame:
    """The rows as people like to read them: whole numbers, booleans, dates, texts."""
    return pl.DataFrame([_series(c) for c in columns.columns])


def _fresh(
    digests: Digests, known: Digests, schema: str, contract: Contract, part_ids: list[str]
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    if contract.checks.duplicates == "allow":
        repeated = dg.set_digest(digests, schema) in part_ids
        return np.full(len(digests), not repeated)
    return ~dg.known(digests, known) & dg.first_occurrences(digests)


def _part(objects: ObjectStore, model: str, part_id: str) -> dict[str, Any]:
    info: dict[str, Any] = json.loads(objects.get(part_prefix(model, part_id) + "part.json"))
    return info


def _digests(objects: ObjectStore, model: str, part_id: str) -> Digests:
    body = objects.get(part_prefix(model, part_id) + "digests.npy")
    digests: Digests = np.load(io.BytesIO(body), allow_pickle=False)
    return digests


def _part_files(columns: Columns, digests: Digests) -> dict[str, bytes]:
    parquet, array = io.BytesIO(), io.BytesIO()
    frame(columns).write_parquet(parquet)
    np.save(array, digests, allow_pickle=False)
    return {"data.parquet": parquet.getvalue(), "columns.npz": columns.save(), "digests.npy": array.getvalue()}


def _write_part(objects: ObjectStore, prefix: str, files: dict[str, bytes], info: dict[str, Any]) -> None:
    """Store a part's files. All follow from the rows, so writing them twice changes nothing."""
    for name, body in files.items():
        objects.put(prefix + name, body, content_type=_content_type(name), if_absent=True)
    # Last, because a part counts as whole once this exists.
    objects.put(prefix + "part.json", json.dumps(info).encode(), content_type="application/json", if_absent=True)


def _content_type(name: str) -> str:
    kinds = {".json": "application/json", ".html": "text/html; charset=utf-8"}
    return next((kind for ending, kind in kinds.items() if name.endswith(ending)), "application/octet-stream")


def _canonical(column: Column) -> Column:
    if column.type != "category":
        return column
    used = np.unique(column.values[column.values != MISSING])
    levels = tuple(sorted(column.levels[i] for i in used))
    return Column(column.name, "category", column.recode(levels), levels)


def _series(column: Column) -> pl.Series:
    if column.type == "category":
        texts = pl.Series([*column.levels, None], dtype=pl.String)
        return texts.gather(pl.Series(np.where(column.values == MISSING, len(column.levels), column.values))).alias(
            column.name
        )
    values = pl.Series(column.name, column.values).fill_nan(None)
    if column.type == "integer":
        return values.cast(pl.Int64)
    if column.type == "boolean":
        return values.cast(pl.Boolean)
    if column.type == "date":
        if (values.drop_nulls() == values.drop_nulls().floor()).all():
            return values.cast(pl.Int32).cast(pl.Date)
        moments = [None if v is None else _EPOCH + timedelta(days=v) for v in values.to_list()]
        return pl.Series(column.name, moments, dtype=pl.Datetime("us", "UTC"))
    return values
