"""The rows that uploads are held to: a sample of those that the data set has.

Every part keeps a sample of its rows, those with the smallest digests. The smallest of all parts together are the
sample of the data set, the same one however its rows came in files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from mlops.contract import Contract
from mlops.data import outliers
from mlops.data.dataset import part_info
from mlops.data.outliers import Floats, Reference
from mlops.data.part_files import SAMPLE, Sample
from mlops.errors import NotFoundError
from mlops.objects import ObjectStore, part_prefix
from mlops.registry.ports import Registry

#: Parts that are looked at, the newest: each is an object to fetch.
PARTS = 50


def known_reference(objects: ObjectStore, registry: Registry, contract: Contract, upload_id: str) -> Reference | None:
    """What is usual in the data set as it was before an upload; None when it is not wanted, or nothing is known.

    ``upload_id``: of the upload to be judged. It may have been added before, by a run that broke off: then neither its
    own rows count nor any that came after them, so that the next run decides as that one did.
    """
    names = outliers.judged(contract)
    current = registry.current_dataset(contract.name) if outliers.wanted(contract) and names else None
    if current is None:
        return None
    before: list[str] = []
    for part in current.parts:
        if part_info(objects, contract.name, part)["upload_id"] == upload_id:
            break
        before.append(part)
    sample = _smallest(_samples(objects, contract.name, before[-PARTS:]), names)
    if sample is None:
        return None
    # Learned from one half and tried on the other: new rows are not those that were learned from.
    return outliers.learn(names, sample[::2], sample[1::2], steps=contract.checks.outlier_steps)


def _samples(objects: ObjectStore, model: str, parts: Sequence[str]) -> Iterator[Sample]:
    for part in parts:
        try:
            yield Sample.load(objects.get(part_prefix(model, part) + SAMPLE))
        except NotFoundError:
            continue  # from before parts had samples


def _smallest(samples: Iterator[Sample], names: Sequence[str]) -> Floats | None:
    """Values of the rows with the smallest digests; None when there are too few. Parts without one of the columns, from
    before the contract had it, do not count."""
    kept: Sample | None = None
    for sample in samples:
        if set(names) <= set(sample.names):
            chosen = sample.of(names)
            kept = chosen if kept is None else kept.plus(chosen)
    if kept is None or len(kept.values) < 2 * outliers.MIN_ROWS:
        return None
    return np.ascontiguousarray(kept.values)
