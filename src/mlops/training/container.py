"""The folders through which SageMaker and a training container talk, as one value.

Source: Amazon SageMaker Developer Guide, "How Amazon SageMaker AI Provides Training Information" and "Use Checkpoints
in Amazon SageMaker AI". Everything lies below ``/opt/ml``; tests and people put it elsewhere.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops.contract import Contract
from mlops.errors import MlopsError

JOB_SCHEMA = "mlops.training-job.v1"
#: Channels of a job: the parts of the data set as they lie in the bucket, and the description of the job.
DATASET, JOB = "dataset", "job"
#: SageMaker shows the first 1,024 characters of the failure file as the job's FailureReason.
FAILURE_LENGTH = 1024
RESULT = "result.json"


@dataclass(frozen=True)
class JobDescription:
    """What is trained: everything that the train function would have asked the registry for."""

    contract: Contract
    dataset_version: str
    parts: tuple[str, ...]
    run_id: str
    parent_version: str | None
    lineage: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        return {
            "schema": JOB_SCHEMA,
            "contract": self.contract.to_dict(),
            "dataset_version": self.dataset_version,
            "parts": list(self.parts),
            "run_id": self.run_id,
            "parent_version": self.parent_version,
            "lineage": self.lineage,
        }

    @classmethod
    def from_dict(cls, data: Any) -> JobDescription:
        """The inverse of :meth:`to_dict`.

        Raises
        ------
        MlopsError
            naming what is wrong.
        """
        if not isinstance(data, dict) or data.get("schema") != JOB_SCHEMA:
            raise MlopsError(f"the job's description is not of the layout {JOB_SCHEMA}", code="bad_job")
        try:
            parent = data["parent_version"]
            return cls(
                contract=Contract.from_dict(data["contract"]),
                dataset_version=str(data["dataset_version"]),
                parts=tuple(str(part) for part in data["parts"]),
                run_id=str(data["run_id"]),
                parent_version=None if parent is None else str(parent),
                lineage=dict(data["lineage"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise MlopsError(f"the job's description lacks or spoils {error}", code="bad_job") from error


@dataclass(frozen=True)
class Layout:
    """Paths below ``root``."""

    root: Path

    @property
    def config(self) -> Path:
        return self.root / "input" / "config"

    def channel(self, name: str) -> Path:
        """Where a channel's objects are, in file mode."""
        return self.root / "input" / "data" / name

    @property
    def model(self) -> Path:
        """What is in here becomes ``model.tar.gz``."""
        return self.root / "model"

    @property
    def checkpoints(self) -> Path:
        """Copied to S3 while the job runs, and back before it is started again."""
        return self.root / "checkpoints"

    @property
    def failure(self) -> Path:
        return self.root / "output" / "failure"

    def hyperparameters(self) -> dict[str, str]:
        """SageMaker's texts, ``{}`` when the job has none."""
        found = self._json("hyperparameters.json") or {}
        return {str(k): str(v) for k, v in found.items()}

    def hosts(self) -> int:
        """How many machines the job has; 1 where nothing says otherwise."""
        return len((self._json("resourceconfig.json") or {}).get("hosts") or [""])

    def channels(self) -> set[str]:
        """Names of the channels that were asked for."""
        return set(self._json("inputdataconfig.json") or {})

    def job(self) -> JobDescription:
        """The description, from the channel ``job``.

        Raises
        ------
        MlopsError
            when there is none, or it cannot be used.
        """
        path = self.channel(JOB) / "job.json"
        try:
            return JobDescription.from_dict(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise MlopsError(f"channel '{JOB}' has no job.json", code="bad_job") from None
        except ValueError as error:
            raise MlopsError(f"job.json is not JSON: {error}", code="bad_job") from None

    def part(self, part_id: str) -> bytes:
        """A part's columns.

        Raises
        ------
        MlopsError
            when the channel lacks it: training on what happens to be there would be another data set.
        """
        path = self.channel(DATASET) / part_id / "columns.npz"
        try:
            return path.read_bytes()
        except FileNotFoundError:
            raise MlopsError(f"channel '{DATASET}' lacks part {part_id}", code="bad_job") from None

    def recipe(self) -> bytes | None:
        """The source of the contract's recipe, from the channel ``job``; None when there is none."""
        path = self.channel(JOB) / "recipe.py"
        return path.read_bytes() if path.is_file() else None

    def fail(self, cause: str, message: str) -> None:
        """Write the failure file: a cause for the program that reads it, a sentence for people."""
        self.failure.parent.mkdir(parents=True, exist_ok=True)
        self.failure.write_text(f"{cause}: {message}"[:FAILURE_LENGTH], encoding="utf-8")

    def _json(self, name: str) -> Any:
        try:
            return json.loads((self.config / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise MlopsError(f"{name} is not JSON: {error}", code="bad_job") from None
