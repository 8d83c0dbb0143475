"""The same training on a laptop: a table in, the folder of a model version out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlops.contract import Contract
from mlops.features.columns import Columns
from mlops.training.fit import Trained, fit
from mlops.training.progress import Listener, silent


def train_files(
    table: Columns,
    contract: Contract,
    out: Path,
    *,
    lineage: Mapping[str, Any] | None = None,
    recipe: bytes | None = None,
    listen: Listener = silent,
) -> Trained:
    """Train and write ``out/<version>/`` with the files that the train function would store.

    Raises
    ------
    mlops.training.dataset.NotTrainableError
        when the rows cannot give a model.
    """
    trained = fit(
        table,
        contract,
        dataset_version=f"local-{data_digest(table)}",
        lineage=lineage,
        recipe=recipe,
        listen=listen,
    )
    write(trained, out)
    return trained


def write(trained: Trained, out: Path) -> None:
    """Write a version's files into a folder of its own in ``out``."""
    folder = out / trained.manifest.version
    folder.mkdir(parents=True, exist_ok=True)
    for name, body in trained.artifacts.items():
        (folder / name).write_bytes(body)


def data_digest(table: Columns) -> str:
    """16 hexadecimal digits that stand for a table's columns and values."""
    digest = hashlib.sha256()
    for column in table.columns:
        digest.update(f"{column.name}\0{column.type}\0{'|'.join(column.levels)}\0".encode())
        digest.update(column.values.tobytes())
    return digest.hexdigest()[:16]
