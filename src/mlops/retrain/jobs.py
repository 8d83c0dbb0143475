"""Training jobs on SageMaker as the domain sees them: what is asked for, how it ended and why, and what comes next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from mlops.errors import MlopsError
from mlops.registry.entities import DatasetVersion
from mlops.training.container import JobDescription

Cause = Literal[
    "done", "not_trainable", "capacity", "wait", "interruptions", "quota", "memory", "code", "job", "image", "runtime",
    "stopped", "internal", "permission",
]  # fmt: skip

#: Jobs that one run may start: the first, and what follows from how each ended.
MAX_JOBS = 4
#: Of those, so many after a fault of SageMaker's own.
MAX_INTERNAL = 2


class JobRefusedError(MlopsError):
    """SageMaker took no job; ``cause`` says why."""

    code = "job_refused"

    def __init__(self, cause: Cause, message: str) -> None:
        super().__init__(message)
        self.cause = cause


@dataclass(frozen=True)
class JobRequest:
    """A job to start.

    Attributes
    ----------
    name : unique, made from run and attempt: asking twice starts one job.
    checkpoints : name under which checkpoints lie; the same for all jobs of a run, so that the next goes on.
    max_seconds : of training; ``max_wait_seconds`` with the wait for spot capacity included.
    """

    name: str
    checkpoints: str
    description: JobDescription
    dataset: DatasetVersion
    instance: str
    spot: bool
    max_seconds: int
    max_wait_seconds: int


@dataclass(frozen=True)
class JobState:
    """What SageMaker says of a job. ``secondary``: its finer status; times in seconds; ``output``: key of the archive
    with the model folder."""

    name: str
    run_id: str
    status: str
    secondary: str = ""
    failure: str = ""
    interruptions: int = 0
    training_seconds: int = 0
    billable_seconds: int = 0
    output: str = ""

    @property
    def ended(self) -> bool:
        return self.status in ("Completed", "Failed", "Stopped")


class TrainingJobs(Protocol):
    """SageMaker."""

    def start(self, request: JobRequest) -> None:
        """Start a job. A name that exists is the same job, and no error.

        Raises
        ------
        JobRefusedError
            when SageMaker takes none.
        """
        ...

    def state(self, name: str) -> JobState | None:
        """None when there is no such job."""
        ...

    def stop(self, name: str) -> None:
        """Ask a job to stop; one that has ended is left alone."""
        ...


_STOPPED: dict[str, Cause] = {"MaxWaitTimeExceeded": "wait", "MaxRuntimeExceeded": "runtime", "Pending": "capacity"}
#: SageMaker's own classes of failures, and what the container's failure file begins with.
_FAILED: dict[str, Cause] = {
    "CapacityError": "capacity", "OutOfMemoryError": "memory", "InternalServerError": "internal",
}  # fmt: skip
_CONTAINER: dict[str, Cause] = {"not_trainable": "not_trainable", "job": "job", "memory": "memory"}
#: Words in the text of a ClientError.
_CLIENT: tuple[tuple[str, Cause], ...] = (
    ("image", "image"), ("ecr", "image"), ("access", "permission"), ("denied", "permission"), ("assume", "permission"),
)  # fmt: skip


def cause_of(state: JobState) -> Cause:
    """Why a job ended.

    SageMaker puts a class of its own before a failure's text, and the container's failure file after
    ``AlgorithmError:`` (:mod:`mlops.training.job` lists what stands there).

    >>> text = "AlgorithmError: memory: 7000 MB were not enough, exit code: 137"
    >>> cause_of(JobState("job", "run", "Failed", failure=text))
    'memory'
    """
    if state.status == "Completed":
        return "done"
    if state.status == "Stopped":
        return _STOPPED.get(state.secondary, "stopped")
    kind, _, rest = state.failure.partition(":")
    if kind in _FAILED:
        return _FAILED[kind]
    if "exit code: 137" in state.failure:  # the kernel's own kill leaves no failure file
        return "memory"
    if kind in ("ClientError", "ValidationError"):
        return next((cause for word, cause in _CLIENT if word in rest.lower()), "job")
    return _CONTAINER.get(rest.strip().partition(":")[0], "code")


@dataclass(frozen=True)
class Step:
    """What to do after a job: ``collect`` its model, ``retry`` with another job, or ``give_up``."""

    action: Literal["collect", "retry", "give_up"]
    explanation: str
    instance: str = ""
    spot: bool = False


def next_step(
    cause: Cause, *, instance: str, spot: bool, jobs: Sequence[Cause], instances: Sequence[str], detail: str = ""
) -> Step:
    """What follows from how a job ended.

    Parameters
    ----------
    jobs : causes for which the run's earlier jobs ended, oldest first; this one is not among them.
    instances : types that may be used, the smallest first.
    """
    told = f": {detail}" if detail else ""
    if cause == "done":
        return Step("collect", "the job is done")
    again = _again(cause, instance, spot, jobs, instances)
    if again is None:
        end = f"out of memory on {instance}, and there is no larger instance to try" if cause == "memory" else ""
        return Step("give_up", end or f"{_WORDS[cause]}{told}")
    if len(jobs) + 1 >= MAX_JOBS:
        return Step("give_up", f"{MAX_JOBS} jobs ended without a model, the last for {_WORDS[cause]}{told}")
    return again


def _again(cause: Cause, instance: str, spot: bool, jobs: Sequence[Cause], instances: Sequence[str]) -> Step | None:
    """Another job that may do better; None when none would."""
    if spot and cause in ("capacity", "wait", "interruptions", "quota"):
        return Step("retry", f"{_WORDS[cause]}; on demand from the last checkpoint", instance, False)
    if cause == "memory" and instance in instances[:-1]:
        larger = instances[list(instances).index(instance) + 1]
        return Step("retry", f"out of memory on {instance}; again on {larger}", larger, spot)
    if cause == "internal" and jobs.count("internal") < MAX_INTERNAL:
        return Step("retry", "a fault of SageMaker's own; again from the last checkpoint", instance, spot)
    if cause == "capacity" and jobs.count("capacity") < MAX_INTERNAL:
        other = next((i for i in instances if i != instance), instance)
        return Step("retry", f"no capacity for {instance}; again on {other}", other, False)
    return None


_WORDS: dict[Cause, str] = {
    "done": "its end",
    "not_trainable": "the rows cannot give a model",
    "capacity": "no capacity",
    "wait": "no spot capacity within the waiting time",
    "interruptions": "too many spot interruptions",
    "quota": "the account's quota for this instance type is used up or zero; ask for more in Service Quotas",
    "memory": "out of memory",
    "code": "a fault of the training code",
    "job": "the job was described wrongly",
    "image": "the training image cannot be pulled",
    "runtime": "it took longer than it may",
    "stopped": "somebody stopped it",
    "internal": "faults of SageMaker's own",
    "permission": "a permission that the training role lacks",
}
