"""Carries a run's training through its jobs: starts the first, hears how each ends, starts the next or answers the
pipeline. What it knows is in records of the registry, one for each job and one for each end, so any call may be
repeated, and an event that was lost is made up by the sweep."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from mlops.contract import Contract
from mlops.errors import NotFoundError
from mlops.objects import ObjectStore
from mlops.registry.datasets import read_dataset
from mlops.registry.entities import DatasetVersion, LedgerDraft, Record
from mlops.registry.ports import Ledger, Registry
from mlops.retrain.jobs import (
    Cause,
    JobRefusedError,
    JobRequest,
    JobState,
    Step,
    TrainingJobs,
    cause_of,
    next_step,
)
from mlops.retrain.place import BILLED_OVERHEAD, INSTANCES
from mlops.training.container import JobDescription

ACTOR = "function:retrain_launcher"
JOB, END, TOKEN, TRAINING = "job", "job_end", "job_token", "training"
#: A training may take so many times what was expected before it is ended, and this much at least.
PATIENCE, LEAST_SECONDS = 4, 1800
_LATEST = 50


class Waiting(Protocol):
    """Who waits for the end of a training: the pipeline's execution, by a token. Answering twice is harmless."""

    def done(self, token: str, result: Mapping[str, Any]) -> None: ...

    def failed(self, token: str, error: str, cause: str) -> None: ...


class JobRunner:
    """Training jobs of all models.

    Parameters
    ----------
    data : the data bucket, for the manifests of data-set versions.
    lineage : what every version records of its origin: ``code``, ``lock``.
    instances : types that may be used, the smallest first.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        ledger: Ledger,
        data: ObjectStore,
        jobs: TrainingJobs,
        waiting: Waiting,
        clock: Callable[[], datetime],
        lineage: Mapping[str, Any],
        instances: Sequence[str] = tuple(INSTANCES),
    ) -> None:
        self.registry = registry
        self.ledger = ledger
        self.data = data
        self.jobs = jobs
        self.waiting = waiting
        self.clock = clock
        self.lineage = lineage
        self.instances = tuple(instances)

    def submit(
        self, model: str, run_id: str, token: str, *, instance: str, spot: bool, seconds: float,
        dataset_version: str | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Start a run's first job. The pipeline waits on ``token``, whether or not a job could be started.

        Asked again for the same run, it starts nothing: the pipeline's own retry comes with another token, which is
        kept beside the first, and hears at once of an end that was missed.

        Parameters
        ----------
        seconds : that the training is expected to take.

        Raises
        ------
        NotFoundError
            for a model without contract or data.
        """
        self._keep_token(model, run_id, token)
        mine = [r for r in self.registry.records(model, JOB, _LATEST) if r.body["run_id"] == run_id]
        if mine:
            newest = max(mine, key=lambda r: int(r.body["number"]))
            state = self.jobs.state(newest.body["name"])
            if state is not None and state.ended:
                return self._ended(newest, state, self._cause(newest, state))
            return self._start(model, newest.body)
        body = {
            "run_id": run_id,
            "expected_seconds": round(seconds, 1),
            "dataset_version": self._dataset(model, dataset_version).version,
        }
        step = Step("retry", "the first job", instance, spot)
        return self._carry_on(model, body, step, number=1)

    def event(self, detail: Mapping[str, Any]) -> dict[str, Any]:
        """For SageMaker's event about a job: it only says when to look; what counts is what SageMaker answers."""
        return self.look(str(detail.get("TrainingJobName") or ""))

    def sweep(self) -> list[dict[str, Any]]:
        """Look at every job of which no end is known."""
        return [self._look(record) for model in self.registry.models() for record in self._open(model)]

    def look(self, name: str) -> dict[str, Any]:
        """See how a job is, and do what follows."""
        for model in self.registry.models():
            for record in self._open(model):
                if record.body["name"] == name:
                    return self._look(record)
        return {"status": "not_ours", "job": name}

    def _open(self, model: str) -> list[Record]:
        ended = {r.id for r in self.registry.records(model, END, _LATEST)}
        return [r for r in self.registry.records(model, JOB, _LATEST) if r.id not in ended]

    def _look(self, record: Record) -> dict[str, Any]:
        body = record.body
        state = self.jobs.state(body["name"])
        if state is None:
            # Decided and written down, but never started: the function died in between.
            return self._start(record.model, body)
        if not state.ended:
            if self._too_often(record, state):
                self.jobs.stop(state.name)
                return {"status": "stopping", "job": state.name, "interruptions": state.interruptions}
            return {"status": "running", "job": state.name, "interruptions": state.interruptions}
        return self._ended(record, state, self._cause(record, state))

    def _too_often(self, record: Record, state: JobState) -> bool:
        limit = self._contract(record.model).retrain.max_interruptions
        return bool(record.body["spot"]) and state.interruptions >= max(1, limit)

    def _cause(self, record: Record, state: JobState) -> Cause:
        cause = cause_of(state)
        # A job that was interrupted too often is stopped by this class itself.
        return "interruptions" if cause == "stopped" and self._too_often(record, state) else cause

    def _ended(self, record: Record, state: JobState, cause: Cause) -> dict[str, Any]:
        model, body = record.model, record.body
        step = next_step(
            cause,
            instance=body["instance"],
            spot=body["spot"],
            jobs=body["causes"],
            instances=self.instances,
            detail=state.failure if cause in ("code", "job", "image", "permission") else "",
        )
        self._tell(model, body, state, cause, step)
        if step.action == "retry":
            self._carry_on(model, {**body, "causes": [*body["causes"], cause]}, step, number=body["number"] + 1)
        elif step.action == "collect":
            where = "sagemaker_spot" if body["spot"] else "sagemaker"
            done = {"status": "completed", "job": state.name, "output": state.output, "where": where,
                    "instance": body["instance"], "training_seconds": state.training_seconds,
                    "billable_seconds": state.billable_seconds, "interruptions": state.interruptions}  # fmt: skip
            for token in self._tokens(model, str(body["run_id"])):
                self.waiting.done(token, done)
        elif cause == "not_trainable":
            text = state.failure.partition("not_trainable:")[2].rpartition(", exit code")[0].strip()
            for token in self._tokens(model, str(body["run_id"])):
                self.waiting.done(token, {"status": "not_trainable", "explanation": text or state.failure})
        else:
            for token in self._tokens(model, str(body["run_id"])):
                self.waiting.failed(token, f"TrainingJob.{cause}", step.explanation)
        self._close(record, state, cause, step)
        return {"status": step.action, "job": state.name, "cause": cause, "explanation": step.explanation}

    def _keep_token(self, model: str, run_id: str, token: str) -> None:
        digest = hashlib.sha256(token.encode()).hexdigest()[:16]
        body = {"run_id": run_id, "token": token}
        self.registry.put_record(Record(model, TOKEN, f"{run_id}.{digest}", self.clock().isoformat(), body))

    def _tokens(self, model: str, run_id: str) -> list[str]:
        """Every token that the run's execution has waited on; only the last one still counts."""
        found = self.registry.records(model, TOKEN, _LATEST)
        return [str(r.body["token"]) for r in found if r.body["run_id"] == run_id]

    def _carry_on(self, model: str, body: Mapping[str, Any], step: Step, *, number: int) -> dict[str, Any]:
        """Write the next job down, then start it."""
        run_id = str(body["run_id"])
        name = job_name(run_id, number)
        wanted = {**body, "name": name, "number": number, "instance": step.instance, "spot": step.spot,
                  "causes": list(body.get("causes", []))}  # fmt: skip
        self.registry.put_record(Record(model, JOB, name, self.clock().isoformat(), wanted))
        return self._start(model, wanted)

    def _start(self, model: str, body: Mapping[str, Any]) -> dict[str, Any]:
        try:
            self.jobs.start(self._request(model, body))
        except JobRefusedError as error:
            return self._refused(model, body, error)
        return {"status": "started", "job": body["name"], "instance": body["instance"], "spot": body["spot"]}

    def _refused(self, model: str, body: Mapping[str, Any], error: JobRefusedError) -> dict[str, Any]:
        """A job that was not taken ends at once."""
        record = Record(model, JOB, str(body["name"]), self.clock().isoformat(), dict(body))
        return self._ended(
            record, JobState(str(body["name"]), str(body["run_id"]), "Failed", "", error.message), error.cause
        )

    def _request(self, model: str, body: Mapping[str, Any]) -> JobRequest:
        contract = self._contract(model)
        dataset = self._dataset(model, str(body["dataset_version"]))
        champion = self.registry.in_state(model, "champion")
        run_id, spot = str(body["run_id"]), bool(body["spot"])
        limit = round(max(LEAST_SECONDS, PATIENCE * float(body["expected_seconds"]) + BILLED_OVERHEAD))
        deadline = round(contract.retrain.deadline_hours * 3600)
        where = "sagemaker_spot" if spot else "sagemaker"
        description = JobDescription(
            contract, dataset.version, dataset.parts, run_id, champion.version if champion else None,
            {**self.lineage, "where": where, "instance": body["instance"], "job": body["name"]},
        )  # fmt: skip
        return JobRequest(
            name=str(body["name"]),
            checkpoints=job_name(run_id, 0),
            description=description,
            dataset=dataset,
            instance=str(body["instance"]),
            spot=spot,
            max_seconds=limit,
            max_wait_seconds=max(limit, deadline),
        )

    def _close(self, record: Record, state: JobState, cause: Cause, step: Step) -> None:
        now = self.clock().isoformat()
        where = "sagemaker_spot" if record.body["spot"] else "sagemaker"
        seen = {"cause": cause, "where": where, "instance": record.body["instance"], "run_id": record.body["run_id"],
                "interruptions": state.interruptions, "training_seconds": state.training_seconds,
                "billable_seconds": state.billable_seconds, "next": step.action}  # fmt: skip
        self.registry.put_record(Record(record.model, END, record.id, now, seen))

    def _tell(self, model: str, body: Mapping[str, Any], state: JobState, cause: Cause, step: Step) -> None:
        kept = ("instance", "spot", "number", "run_id")
        self.ledger.append(
            LedgerDraft(
                actor=ACTOR,
                action="training.job_ended",
                subject=f"model/{model}",
                reason=step.explanation,
                outcome=f"{cause}:{step.action}",
                inputs={**{k: body[k] for k in kept}, "job": state.name, "interruptions": state.interruptions,
                        "billable_seconds": state.billable_seconds},
                id=f"job/{state.name}",
            )
        )  # fmt: skip

    def _dataset(self, model: str, version: str | None) -> DatasetVersion:
        current = self.registry.current_dataset(model)
        if current is not None and version in (None, current.version):
            return current
        if version is None:
            raise NotFoundError(f"model '{model}' has no data set; upload a file first")
        return read_dataset(self.data, model, version)

    def _contract(self, model: str) -> Contract:
        contract = self.registry.contract(model)
        if contract is None:
            raise NotFoundError(f"there is no model '{model}' in this stack; its contract has to be uploaded first")
        return contract


def job_name(run_id: str, number: int) -> str:
    """The name of a run's job: letters, digits and hyphens, at most 63. Number 0 names what all of them share.

    >>> job_name("rt-breast-cancer-drift-0123456789abcdef", 2)
    'rt-breast-cancer-drift-0123456789abcdef-2'
    """
    clean = "".join(c if c.isalnum() and c.isascii() else "-" for c in run_id).strip("-")
    return f"{clean[:30]}{clean[-29:] if len(clean) > 59 else clean[30:]}-{number}".replace("--", "-")
