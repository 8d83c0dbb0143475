"""The train function's work: a data-set version in, the artifacts of a model version out."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from mlops.contract import Contract
from mlops.errors import MlopsError, NotFoundError
from mlops.features.columns import Columns
from mlops.manifest import Manifest
from mlops.objects import ObjectStore, part_prefix, recipe_key, version_prefix
from mlops.registry.datasets import read_dataset
from mlops.registry.entities import DatasetVersion, LedgerDraft, Record
from mlops.registry.ports import Ledger, Registry
from mlops.training.archive import unpack
from mlops.training.container import RESULT
from mlops.training.dataset import NotTrainableError
from mlops.training.fit import fit, no_price, version_id
from mlops.training.progress import Progress, Trace
from mlops.training.recipe import needs_digest

ACTOR = "function:train"
#: Between two progress records of one stage; each is a write to the table.
PROGRESS_EVERY = timedelta(seconds=3)

#: Kept free of the limit, for writing the artifacts.
STORING_SECONDS = 15.0

CONTENT_TYPES = {".json": "application/json", ".html": "text/html; charset=utf-8", ".py": "text/x-python"}


def content_type(name: str) -> str:
    """Media type of an artifact by its file name."""
    return CONTENT_TYPES.get(name[name.rfind(".") :], "application/octet-stream")


class StoppedError(MlopsError):
    """A person stopped the run and wants nothing of it."""

    code = "stopped"


@dataclass
class Train:
    """Trains one version.

    Attributes
    ----------
    data, artifacts : the buckets read from and written to.
    lineage : ``code``: version of the code, ``lock``: digest of the lock file, ``where``: what machine.
    clock : the time of records; ``seconds`` a monotonic clock for the budget.
    price : US dollars of so many seconds on this machine; None: not known.
    """

    data: ObjectStore
    artifacts: ObjectStore
    registry: Registry
    ledger: Ledger
    clock: Callable[[], datetime]
    lineage: Mapping[str, Any] = field(default_factory=dict)
    seconds: Callable[[], float] = time.monotonic
    price: Callable[[float], str | None] = no_price

    def run(
        self, model: str, run_id: str, dataset_version: str | None = None, *, limit: float | None = None
    ) -> dict[str, Any]:
        """Train ``model`` on a data-set version (None: the current one).

        ``limit``: seconds after which the process ends, whatever it does; the search ends in time for the rest.

        Returns
        -------
        ``{status: trained | unchanged | not_trainable | stopped, model, version, prefix, metrics, duration_seconds,
        explanation, progress}``; ``version`` and ``prefix`` are None when nothing was made. ``progress`` is a
        :class:`mlops.training.progress.Trace`'s lines, for the state machine's history.

        Raises
        ------
        NotFoundError
            when the model has no contract, or the data-set version or one of its parts does not exist.
        """
        started = self.seconds()
        contract = self.registry.contract(model)
        if contract is None:
            raise NotFoundError(f"model '{model}' has no contract; put models/{model}.yaml in force first")
        dataset = self._dataset(model, dataset_version)
        version = version_id(contract, dataset.version)
        known = self.registry.version(model, version)
        if known is not None:
            return self._result(
                "unchanged",
                model,
                version,
                known.metrics,
                started=started,
                explanation=f"version {version} was trained on this data set and contract already; it is {known.state}",
            )
        told = _Reporter(self.registry, self.clock, model, run_id)
        reporter = Trace(told, lambda: self.clock().timestamp())  # records have the same clock
        champion = self.registry.in_state(model, "champion")
        try:
            reporter(Progress("loading", 1, f"reading {dataset.rows} rows in {len(dataset.parts)} parts"))
            table = self._table(contract, dataset)
            trained = fit(
                table,
                contract,
                dataset_version=dataset.version,
                lineage={**self.lineage, "run_id": run_id, "parts": list(dataset.parts)},
                parent_version=champion.version if champion else None,
                recipe=self._recipe(contract),
                limit=None if limit is None else limit - (self.seconds() - started) - STORING_SECONDS,
                price=self.price,
                listen=reporter,
                now=self.clock,
                seconds=self.seconds,
            )
        except NotTrainableError as error:
            self._tell(
                contract.name, contract.digest(), dataset.version, run_id, version, outcome="not_trainable",
                reason=error.message, lineage={},
            )  # fmt: skip
            return self._result(
                "not_trainable", model, None, {}, started=started, explanation=error.message, progress=reporter.lines
            )
        except StoppedError as error:
            self._tell(
                contract.name, contract.digest(), dataset.version, run_id, version, outcome="stopped",
                reason=error.message, lineage={},
            )  # fmt: skip
            return self._result(
                "stopped", model, None, {}, started=started, explanation=error.message, progress=reporter.lines
            )
        self._store(model, version, trained.artifacts)
        took = round(self.seconds() - started, 3)
        peak = (
            max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) // 1024
        )
        self._remember(model, run_id, version, {"seconds": took, "rows": dataset.rows, "peak_mb": peak})
        self._tell(
            contract.name,
            contract.digest(),
            dataset.version,
            run_id,
            version,
            outcome="trained",
            reason=trained.explanation,
            lineage=trained.manifest.lineage,
        )
        return self._result(
            "trained", model, version, trained.metrics, started=started, explanation=trained.explanation,
            progress=reporter.lines,
        )  # fmt: skip

    def _recipe(self, contract: Contract) -> bytes | None:
        if contract.training.recipe is None:
            return None
        digest = needs_digest(contract)
        try:
            return self.artifacts.get(recipe_key(contract.name, digest))
        except NotFoundError as error:
            raise NotTrainableError(
                f"recipe {digest[:12]}… is not in the artifact bucket; put the contract in force with `mlops push`"
            ) from error

    def collect(self, model: str, run_id: str, job: Mapping[str, Any]) -> dict[str, Any]:
        """Take over what a training job made: its archive becomes the version's folder, as if trained here.

        Parameters
        ----------
        job : ``output``: key of the archive; ``job``, ``where``, ``instance``, ``training_seconds``,
            ``billable_seconds``, ``interruptions``: for the record of what trainings take.

        Returns
        -------
        As :meth:`run`.

        Raises
        ------
        MlopsError
            when the archive is not one of this run's training.
        """
        started = self.seconds()
        files = unpack(self.artifacts.get(str(job["output"])))
        try:
            measured = json.loads(files.pop(RESULT))
            manifest = Manifest.from_dict(json.loads(files["manifest.json"]))
        except (KeyError, ValueError, TypeError) as error:
            raise MlopsError(f"the archive {job['output']} is no training's: {error}", code="bad_archive") from error
        lineage, progress = manifest.lineage, measured.pop("progress", ())
        if manifest.model != model or lineage.get("run_id") != run_id:
            raise MlopsError(
                f"the archive {job['output']} is of another run ({lineage.get('run_id')})", code="bad_archive"
            )
        kept = ("job", "where", "instance", "training_seconds", "billable_seconds", "interruptions")
        self._store(model, manifest.version, files)
        if measured.get("resumed_trials"):  # its own clock began with its last start
            measured["seconds"] = max(measured["seconds"], int(job.get("training_seconds", 0)))
        self._remember(model, run_id, manifest.version, {**measured, **{k: job[k] for k in kept if k in job}})
        text = json.loads(files["training.json"])["best"]["name"]
        explanation = f"{text}, trained by job {job.get('job', '')} on {job.get('instance', '')}"
        self._tell(
            model, str(lineage["contract_digest"]), str(lineage["dataset_version"]), run_id, manifest.version,
            outcome="trained", reason=explanation, lineage=lineage,
        )  # fmt: skip
        return self._result(
            "trained", model, manifest.version, manifest.metrics, started=started, explanation=explanation,
            progress=progress,
        )  # fmt: skip

    def _remember(self, model: str, run_id: str, version: str, took: Mapping[str, Any]) -> None:
        """What this training took, for the choice of the next one's place."""
        where = {k: self.lineage[k] for k in ("where", "memory_mb") if k in self.lineage}
        body = {"run_id": run_id, "version": version, **where, **took}
        self.registry.put_record(Record(model, "training", run_id, self.clock().isoformat(), body))

    def _dataset(self, model: str, version: str | None) -> DatasetVersion:
        current = self.registry.current_dataset(model)
        if version is None or (current is not None and current.version == version):
            if current is None:
                raise NotFoundError(f"model '{model}' has no data set; upload a file first")
            return current
        return read_dataset(self.data, model, version)

    def _table(self, contract: Contract, dataset: DatasetVersion) -> Columns:
        prefixes = [part_prefix(dataset.model, part) for part in dataset.parts]
        return dataset_table(contract, [Columns.load(self.data.get(prefix + "columns.npz")) for prefix in prefixes])

    def _store(self, model: str, version: str, artifacts: Mapping[str, bytes]) -> None:
        prefix = version_prefix(model, version)
        names = sorted(artifacts, key=lambda name: name == "manifest.json")  # the manifest completes it
        for name in names:
            self.artifacts.put(prefix + name, artifacts[name], content_type=content_type(name))

    def _tell(
        self,
        model: str,
        contract_digest: str,
        dataset_version: str,
        run_id: str,
        version: str,
        *,
        outcome: str,
        reason: str,
        lineage: Mapping[str, Any],
    ) -> None:
        kept = ("family", "parameters", "recipe", "seed", "code", "lock", "parent_version", "list_usd")
        self.ledger.append(
            LedgerDraft(
                actor=ACTOR,
                action="version.trained" if outcome == "trained" else "version.not_trained",
                subject=f"model/{model}/{version}",
                reason=reason,
                outcome=outcome,
                inputs={
                    "run_id": run_id,
                    "dataset_version": dataset_version,
                    "contract_digest": contract_digest,
                    **{k: lineage[k] for k in kept if k in lineage},
                },
                id=f"train-{run_id}-{version}",
            )
        )

    def _result(
        self,
        status: str,
        model: str,
        version: str | None,
        metrics: Mapping[str, float],
        *,
        started: float,
        explanation: str,
        progress: Sequence[Mapping[str, Any]] = (),
    ) -> dict[str, Any]:
        return {
            "status": status,
            "model": model,
            "version": version,
            "prefix": version_prefix(model, version) if version else None,
            "metrics": dict(metrics),
            "duration_seconds": round(self.seconds() - started, 3),
            "explanation": explanation,
            "progress": list(progress),
        }


def dataset_table(contract: Contract, parts: Sequence[Columns]) -> Columns:
    """The rows of a data-set version: its parts one below the other, with the columns that training looks at."""
    wanted = [f.name for f in contract.described] + [contract.target.name, *contract.key]
    wanted += [contract.timestamp] if contract.timestamp else []
    shared = [name for name in wanted if all(name in table for table in parts)]
    return Columns.concat([table.select(shared) for table in parts])


class _Reporter:
    """Keeps progress as records of kind ``run``, and asks whether the run was told to stop (a record of kind
    ``stop`` with the run's id): with its best so far, or with nothing."""

    def __init__(self, registry: Registry, clock: Callable[[], datetime], model: str, run_id: str) -> None:
        self._registry, self._clock, self._model, self._run_id = registry, clock, model, run_id
        self._told: Progress | None = None
        self._last: datetime | None = None
        self._count = 0

    def __call__(self, progress: Progress) -> bool:
        now = self._clock()
        due = self._last is None or now - self._last >= PROGRESS_EVERY
        if self._told is not None and progress.stage == self._told.stage and not due:
            return True
        self._last = now
        if progress != self._told:
            self._tell(progress, now)
        self._told = progress
        asked = next((r for r in self._registry.records(self._model, "stop", limit=5) if r.id == self._run_id), None)
        if asked is not None and not asked.body.get("keep_best", True):
            where = f"while {progress.stage}, at {progress.percent} %"
            raise StoppedError(f"stopped {where}: {asked.body.get('reason', '')}")
        return asked is None

    def _tell(self, progress: Progress, now: datetime) -> None:
        self._count += 1
        self._registry.put_record(
            Record(
                model=self._model,
                kind="run",
                id=f"{self._run_id}.train.{self._count:03d}",
                time=now.isoformat(timespec="milliseconds"),
                body={"run_id": self._run_id, "step": "train", **asdict(progress)},
            )
        )
