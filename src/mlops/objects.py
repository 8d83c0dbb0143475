"""The port through which the domain sees a bucket, and the one place that knows the object keys.

Two buckets exist. *data*: what users bring and what is derived from it (``incoming/``, ``bulk/``, ``datasets/``,
``quarantine/``, ``captures/``, ``labels/``, ``labelled/``, ``reports/``, ``scores/``). *artifacts*: what is built
(``models/``, ``layers/``, ``recipes/``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One listed object; ``size`` in bytes, ``modified`` as an ISO 8601 UTC time."""

    key: str
    size: int
    modified: str


class ObjectStore(Protocol):
    """One bucket. Every method raises :class:`mlops.errors.NotFoundError` for a missing object."""

    def get(self, key: str, *, version_id: str | None = None) -> bytes: ...

    def put(
        self, key: str, body: bytes, *, content_type: str = "application/octet-stream", if_absent: bool = False
    ) -> bool:
        """Store ``body``. With ``if_absent`` return False, and change nothing, when the key exists."""
        ...

    def exists(self, key: str) -> bool: ...

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Objects below ``prefix`` in key order."""
        ...

    def delete(self, key: str) -> None:
        """Delete an object; nothing happens when there is none. In a versioned bucket its versions stay until a
        lifecycle rule ends them."""
        ...

    def copy(self, source: str, target: str, *, version_id: str | None = None) -> None: ...

    def download(self, key: str, path: str, *, version_id: str | None = None, etag: str | None = None) -> None:
        """Stream an object into a local file, for objects too large to hold in memory.

        ``etag``: what the object must be; :class:`mlops.errors.ConflictError` when it has been overwritten.
        """
        ...

    def upload(
        self, path: str, key: str, *, content_type: str = "application/octet-stream", if_absent: bool = False
    ) -> bool:
        """:meth:`put` of a local file. A large one is sent in parts; then ``if_absent`` looks before it sends, so
        of two writers at once the later one's bytes stay: both must send the same."""
        ...


# Keys in the data bucket ------------------------------------------------------------------------


def incoming_key(model: str, name: str) -> str:
    """An upload, as its sender named it."""
    return f"incoming/{model}/{name}"


def bulk_prefix(model: str) -> str:
    """Files that are uploaded many at a time; their objects start nothing by themselves."""
    return f"bulk/{model}/"


def bulk_work_prefix(bulk_id: str) -> str:
    """What an upload of many files needs while it runs; deleted after a day."""
    return f"work/bulk/{bulk_id}/"


def part_prefix(model: str, part_id: str) -> str:
    """Accepted rows of one upload: ``data.parquet``, ``columns.npz``, ``sample.npz``, ``statistics.json``,
    ``report.json``."""
    return f"{parts_prefix(model)}{part_id}/"


def parts_prefix(model: str) -> str:
    """Where the parts of a model's data sets lie."""
    return f"datasets/{model}/parts/"


def dataset_manifest_key(model: str, version: str) -> str:
    """A data-set version: which parts it has."""
    return f"datasets/{model}/versions/{version}/manifest.json"


def quarantine_prefix(model: str, upload_id: str) -> str:
    """Rejected file or rows of one upload: ``rows.jsonl`` or ``file``, and ``reason.json``."""
    return f"quarantine/{model}/{upload_id}/"


def capture_prefix(model: str, day: str = "", hour: str = "") -> str:
    """Captured traffic, ``day`` as YYYY-MM-DD and ``hour`` as HH in UTC."""
    key = f"captures/{model}/"
    if day:
        key += f"dt={day}/"
        if hour:
            key += f"hh={hour}/"
    return key


def batch_captures(model: str) -> str:
    """What stands for a model's name in :func:`capture_prefix` where predictions of batch scoring are captured.

    No model's name begins so: what reads a model's live traffic does not see them.
    """
    return f"_scored/{model}"


#: A folded hour's objects begin so; see :mod:`mlops.capture.folding`.
FOLDED = "folded-"


def folded_capture_key(prefix: str, digest: str) -> str:
    """The lines of an hour's objects, by the SHA-256 of these lines; ``prefix`` of :func:`capture_prefix`."""
    return f"{prefix}{FOLDED}{digest[:32]}.jsonl.gz"


def is_folded(key: str) -> bool:
    """Whether an object of captures is one of :func:`folded_capture_key`."""
    return key.rsplit("/", 1)[-1].startswith(FOLDED)


def label_prefix(model: str) -> str:
    """Labels of earlier predictions, in any number of files."""
    return f"labels/{model}/"


def labelled_key(model: str) -> str:
    """Recent predictions with their labels, joined: what new versions are judged on besides their hold-out rows."""
    return f"labelled/{model}/recent.npz"


def score_prefix(model: str) -> str:
    """Predictions of batch scoring, unless a run names another place."""
    return f"scores/{model}/"


def score_work_prefix(run_id: str) -> str:
    """What a run of batch scoring needs while it runs; deleted after a day."""
    return f"work/scores/{run_id}/"


def report_prefix(kind: str, model: str = "") -> str:
    """Reports for people; ``kind`` is ``ingest``, ``drift``, ``quality``, ``cost``, ``evaluation`` or ``release``."""
    return f"reports/{kind}/{model}/" if model else f"reports/{kind}/"


# Keys in the artifact bucket --------------------------------------------------------------------

#: In a version's folder: what its loss on rows without a label is estimated by.
ESTIMATE = "estimate.json"


def version_prefix(model: str, version: str) -> str:
    """One model version: ``model.onnx``, ``manifest.json``, ``baseline.json``, ``parity.npz``,
    ``golden.json``, ``holdout.npz``, ``trained_on.npy``, ``training.json``, ``evaluation.json``,
    ``model_card.json``, :data:`ESTIMATE`."""
    return f"models/{model}/{version}/"


def recipe_key(model: str, digest: str) -> str:
    """A user's recipe, by the SHA-256 of its bytes (hexadecimal)."""
    return f"recipes/{model}/{digest}.py"


#: Where archives of model-set layers lie.
LAYERS = "layers/"


def layer_key(digest: str) -> str:
    """A model-set layer archive, addressed by the SHA-256 of its model set."""
    return f"{LAYERS}{digest}.zip"


def job_prefix(name: str) -> str:
    """A training job's own: ``input/job.json``, ``parts.manifest``, ``checkpoints/``, ``output/``."""
    return f"jobs/{name}/"


def prices_key(region: str) -> str:
    """List prices of one region as the Price List API gave them, with the day on which they were read."""
    return f"prices/{region}.json"
