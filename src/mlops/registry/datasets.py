"""Data-set versions as they are stored in the data bucket."""

from __future__ import annotations

import json

from mlops.objects import ObjectStore, dataset_manifest_key
from mlops.registry.entities import DatasetVersion


def read_dataset(data: ObjectStore, model: str, version: str) -> DatasetVersion:
    """A data-set version from its manifest.

    Raises
    ------
    NotFoundError
        when there is no such version.
    """
    body = json.loads(data.get(dataset_manifest_key(model, version)))
    known = set(DatasetVersion.__dataclass_fields__)
    values = {k: v for k, v in body.items() if k in known}
    values["parts"] = tuple(values["parts"])
    return DatasetVersion(**values)
