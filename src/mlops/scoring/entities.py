"""What a run of batch scoring is made of, and where its objects lie. Standard library only."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from mlops.objects import score_work_prefix

#: Part of every object's identity: another form of the output is scored anew.
SCHEMA = "mlops.scores.v1"
#: Ends the identity in marks of objects whose predictions were captured.
CAPTURED = "-captured"


@dataclass(frozen=True, slots=True)
class SourceObject:
    """One object to score, as it was listed; ``etag`` without quotes, ``size`` in bytes."""

    key: str
    size: int
    etag: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class Sources(Protocol):
    """Buckets that hold files to score."""

    def list(self, bucket: str, prefix: str) -> Iterator[SourceObject]:
        """Objects below a prefix in key order."""
        ...

    def fetch(self, bucket: str, source: SourceObject, path: str) -> None:
        """Stream an object into a local file.

        Raises
        ------
        NotFoundError
            when it is gone.
        ConflictError
            when it is not the object any more that was listed.
        """
        ...


@dataclass(frozen=True, slots=True)
class Run:
    """One run: which version scores what, and where the answers go. Pinned by the plan; every task carries it.

    Attributes
    ----------
    bucket, prefix : of the files.
    output_bucket, output : where predictions go; ``output`` ends with a slash.
    file : the contract's section ``file``, as JSON.
    skipped, skipped_rows, skipped_errors : objects that an earlier run has scored, and what it found.
    capture : whether predictions are kept for labels to judge, see :mod:`mlops.scoring.captured`.
    """

    run_id: str
    model: str
    version: str
    bucket: str
    prefix: str
    output_bucket: str
    output: str
    file: Mapping[str, Any]
    actor: str
    reason: str
    objects: int = 0
    bytes: int = 0
    ignored: int = 0
    skipped: int = 0
    skipped_rows: int = 0
    skipped_errors: int = 0
    started_at: str = ""
    capture: bool = False

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Run:
        """From the JSON form; fields of other tasks are left out."""
        # A run that began before ``capture`` came goes on after it.
        return cls(**{name: data[name] for name in cls.__dataclass_fields__ if name != "capture" or name in data})

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def identity(self, source: SourceObject) -> str:
        """What makes scoring an object again needless: same key, same content, same version (32 hex digits)."""
        parts = (SCHEMA, self.bucket, source.key, source.etag, self.model, self.version)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]

    def relative(self, source: SourceObject) -> str:
        """The object's key below the folder that the prefix names."""
        return source.key[self.prefix.rfind("/") + 1 :]

    def part_key(self, source: SourceObject, chunk: int) -> str:
        """Predictions of one chunk. A changed object or another version has a folder of its own."""
        return f"{self.folder(source)}part-{chunk:05d}.jsonl.gz"

    def folder(self, source: SourceObject) -> str:
        """All predictions of one object."""
        return f"{self.output}{self.relative(source)}/{self.version}-{source.etag[:8]}/"

    def marks(self) -> str:
        """Below it one small object for every object that is scored as a whole."""
        return f"{self.output}_objects/"

    def mark_key(self, source: SourceObject, rows: int, errors: int) -> str:
        """The counts stand in the name, so that a listing adds them up."""
        return f"{self.marks()}{self.identity(source)}{CAPTURED if self.capture else ''}.{rows}.{errors}.json"

    def mark_of(self, source: SourceObject, marks: Mapping[str, Mark]) -> Mark | None:
        """The mark, by identity, that makes scoring an object again needless; to capture, only one that did."""
        identity = self.identity(source)
        return marks.get(identity + CAPTURED) or (None if self.capture else marks.get(identity))

    def failed_prefix(self) -> str:
        """Why objects of this run could not be scored, one small object each."""
        return f"{self.output}_runs/{self.run_id}/failed/"

    def summary_key(self) -> str:
        """What the run came to."""
        return f"{self.output}_runs/{self.run_id}/summary.json"

    def items_key(self) -> str:
        """The objects to score, one JSON line each: what the Distributed Map reads."""
        return f"{score_work_prefix(self.run_id)}objects.jsonl"

    def plan_key(self) -> str:
        """The run itself, for those who follow it."""
        return f"{score_work_prefix(self.run_id)}run.json"

    def chunk_key(self, source: SourceObject, chunk: int) -> str:
        """Records of one chunk, ready to be scored."""
        return f"{score_work_prefix(self.run_id)}{self.identity(source)}/{chunk:05d}.jsonl.gz"


@dataclass(frozen=True, slots=True)
class Mark:
    """A scored object, read from the name of its mark."""

    identity: str
    rows: int
    errors: int

    @classmethod
    def of(cls, key: str) -> Mark | None:
        """From a key; None for anything else that lies there."""
        parts = key.rsplit("/", 1)[-1].split(".")
        if len(parts) != 4 or parts[3] != "json" or not (parts[1].isdigit() and parts[2].isdigit()):
            return None
        return cls(parts[0], int(parts[1]), int(parts[2]))
