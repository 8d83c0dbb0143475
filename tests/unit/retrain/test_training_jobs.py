"""A run's jobs: every way in which one ends, what follows, and that the pipeline hears of it whatever is lost."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.contract import Contract, Retrain, Target
from mlops.features.spec import Feature
from mlops.registry.entities import DatasetVersion
from mlops.retrain.jobs import MAX_JOBS, JobRefusedError, JobRequest, JobState, cause_of, next_step
from mlops.retrain.launch import Launcher
from mlops.retrain.place import INSTANCES, Offers
from mlops.retrain.runner import JobRunner, job_name
from tests.fakes import Clock, MemoryEvents, MemoryLedger, MemoryObjects, MemoryRegistry, MemoryStateMachine

MODEL, RUN = "breast-cancer", "rt-breast-cancer-drift-0123456789abcdef"
CONTRACT = Contract(
    MODEL, "regression", Target("y"), (Feature("x", "number"),), retrain=Retrain(max_interruptions=2, where="sagemaker")
)


class Jobs:
    """SageMaker in a dictionary: the test decides how each job goes."""

    def __init__(self) -> None:
        self.states: dict[str, JobState] = {}
        self.requests: list[JobRequest] = []
        self.refuse: list[JobRefusedError] = []
        self.stopped: list[str] = []
        self.broken = False

    def start(self, request: JobRequest) -> None:
        if self.broken:
            raise ConnectionError("no route")
        if self.refuse:
            raise self.refuse.pop(0)
        if request.name not in self.states:
            self.requests.append(request)
            self.states[request.name] = JobState(request.name, request.description.run_id, "InProgress")

    def state(self, name: str) -> JobState | None:
        return self.states.get(name)

    def stop(self, name: str) -> None:
        self.stopped.append(name)

    def ends(self, name: str, status: str = "Completed", **values: Any) -> None:
        self.states[name] = replace(self.states[name], status=status, **values)


class Pipeline:
    """Hears answers; the first one to a token counts, as with Step Functions."""

    def __init__(self) -> None:
        self.answers: list[tuple[str, Any]] = []
        self.waits_on = "token"

    def done(self, token: str, result: Any) -> None:
        if self._counts(token):
            self.answers.append(("done", dict(result)))

    def failed(self, token: str, error: str, cause: str) -> None:
        if self._counts(token):
            self.answers.append((error, cause))

    def _counts(self, token: str) -> bool:
        """Whether the execution still waits on it."""
        if token != self.waits_on:
            return False
        self.waits_on = ""
        return True


class World:
    def __init__(self, contract: Contract = CONTRACT) -> None:
        self.clock, self.jobs, self.pipeline = Clock(), Jobs(), Pipeline()
        self.registry, self.ledger = MemoryRegistry(self.clock), MemoryLedger(self.clock)
        self.registry.put_contract(contract)
        self.registry.advance_dataset(DatasetVersion(MODEL, "d1", ("p1", "p2"), 400), None)
        self.runner = JobRunner(
            registry=self.registry, ledger=self.ledger, data=MemoryObjects(), jobs=self.jobs, waiting=self.pipeline,
            clock=self.clock, lineage={"code": "c0ffee"},
        )  # fmt: skip

    def submit(self, spot: bool = True, instance: str = "ml.m5.large", token: str = "token") -> dict[str, Any]:
        return self.runner.submit(MODEL, RUN, token, instance=instance, spot=spot, seconds=4000)

    def change(self, number: int = 1) -> dict[str, Any]:
        return self.runner.event({"TrainingJobName": job_name(RUN, number)})


def test_a_job_is_started_with_everything_that_the_container_needs() -> None:
    world = World()
    assert world.submit() == {"status": "started", "job": job_name(RUN, 1), "instance": "ml.m5.large", "spot": True}
    (request,) = world.jobs.requests
    assert request.description.contract == CONTRACT
    assert request.description.parts == request.dataset.parts == ("p1", "p2")
    assert request.description.lineage["where"] == "sagemaker_spot"
    assert request.max_seconds == 4 * 4000 + 60
    assert request.max_wait_seconds == 24 * 3600


def test_submitting_twice_starts_one_job() -> None:
    world = World()
    assert world.submit() == world.submit()
    assert len(world.jobs.requests) == 1


def test_a_job_that_is_done_answers_the_pipeline_once_though_the_event_comes_three_times() -> None:
    world = World()
    world.submit()
    assert world.change()["status"] == "running"
    world.jobs.ends(job_name(RUN, 1), output="jobs/x/output/model.tar.gz", training_seconds=900, billable_seconds=300)
    assert world.change()["status"] == "collect"
    assert [world.change()["status"] for _ in range(2)] == ["not_ours", "not_ours"], "its end is known"
    ((word, result),) = world.pipeline.answers
    assert (word, result["status"], result["output"]) == ("done", "completed", "jobs/x/output/model.tar.gz")
    assert (result["where"], result["billable_seconds"]) == ("sagemaker_spot", 300)
    assert world.ledger.actions() == ["training.job_ended"]


def test_the_pipelines_retry_brings_another_token_and_starts_no_other_job() -> None:
    world = World()
    world.submit()
    world.pipeline.waits_on = "second"
    world.submit(token="second")
    assert len(world.jobs.requests) == 1
    world.jobs.ends(job_name(RUN, 1), output="o")
    world.change()
    assert [word for word, _ in world.pipeline.answers] == ["done"], "the token that still counts was answered"


def test_a_retry_after_the_end_hears_of_it_at_once() -> None:
    world = World()
    world.submit()
    world.jobs.ends(job_name(RUN, 1), "Failed", failure="InternalServerError: x")
    world.change()
    world.jobs.ends(job_name(RUN, 2), output="o")
    world.change(2)
    world.pipeline.waits_on = "second"
    assert world.submit(token="second")["status"] == "collect"
    assert [word for word, _ in world.pipeline.answers] == ["done", "done"]
    assert len(world.jobs.requests) == 2


def test_jobs_of_others_are_left_alone() -> None:
    assert World().runner.event({"TrainingJobName": "somebody-elses"})["status"] == "not_ours"
    assert World().runner.event({})["status"] == "not_ours"


def test_a_lost_event_is_made_up_by_the_sweep() -> None:
    world = World()
    world.submit()
    assert [r["status"] for r in world.runner.sweep()] == ["running"]
    world.jobs.ends(job_name(RUN, 1), output="o")
    assert [r["status"] for r in world.runner.sweep()] == ["collect"]
    assert world.runner.sweep() == []
    assert len(world.pipeline.answers) == 1


def test_a_job_that_was_written_down_and_never_started_is_started_by_the_sweep() -> None:
    world = World()
    world.jobs.broken = True
    with pytest.raises(ConnectionError):
        world.submit()
    world.jobs.broken = False
    assert [r["status"] for r in world.runner.sweep()] == ["started"]
    assert len(world.jobs.requests) == 1


def test_after_two_interruptions_it_goes_on_on_demand_from_the_same_checkpoints() -> None:
    world = World()
    world.submit()
    first = job_name(RUN, 1)
    world.jobs.ends(first, "InProgress", interruptions=1)
    assert world.change()["status"] == "running"
    world.jobs.ends(first, "InProgress", interruptions=2)
    assert world.change()["status"] == "stopping"
    assert world.jobs.stopped == [first]
    world.jobs.ends(first, "Stopped", secondary="Stopped")
    assert world.change()["cause"] == "interruptions"
    second = world.jobs.requests[1]
    assert (second.name, second.spot, second.instance) == (job_name(RUN, 2), False, "ml.m5.large")
    assert second.checkpoints == world.jobs.requests[0].checkpoints
    assert world.pipeline.answers == []


def test_without_spot_capacity_in_time_it_goes_on_on_demand() -> None:
    world = World()
    world.submit()
    world.jobs.ends(job_name(RUN, 1), "Stopped", secondary="MaxWaitTimeExceeded")
    assert world.change()["cause"] == "wait"
    assert [r.spot for r in world.jobs.requests] == [True, False]


def test_out_of_memory_goes_up_the_instances_and_then_says_so() -> None:
    world = World()
    world.submit(spot=False)
    for number in (1, 2, 3):
        world.jobs.ends(job_name(RUN, number), "Failed", failure="OutOfMemoryError: use more memory, exit code: 137")
        world.change(number)
    assert [r.instance for r in world.jobs.requests] == list(INSTANCES)
    ((error, cause),) = world.pipeline.answers
    assert error == "TrainingJob.memory"
    assert "no larger instance" in cause


def test_a_quota_of_zero_for_spot_falls_back_and_for_both_is_reported() -> None:
    world = World()
    quota = "ResourceLimitExceeded: The account-level service limit 'ml.m5.large for spot training job usage' is 0"
    world.jobs.refuse = [JobRefusedError("quota", quota)] * 2
    world.submit()
    ((error, cause),) = world.pipeline.answers
    assert error == "TrainingJob.quota"
    assert "Service Quotas" in cause
    assert [e.outcome for e in world.ledger.kept] == ["quota:give_up", "quota:retry"][::-1]


def test_rows_that_give_no_model_are_a_result_and_no_failure() -> None:
    world = World()
    world.submit()
    text = "AlgorithmError: not_trainable: target 'y' has the same value in every row, exit code: 65"
    world.jobs.ends(job_name(RUN, 1), "Failed", failure=text)
    assert world.change()["cause"] == "not_trainable"
    assert world.pipeline.answers == [
        ("done", {"status": "not_trainable", "explanation": "target 'y' has the same value in every row"})
    ]


@pytest.mark.parametrize(
    ("status", "secondary", "failure", "cause"),
    [
        ("Completed", "Completed", "", "done"),
        ("Stopped", "MaxWaitTimeExceeded", "", "wait"),
        ("Stopped", "MaxRuntimeExceeded", "", "runtime"),
        ("Stopped", "Stopped", "", "stopped"),
        ("Failed", "Failed", "CapacityError: Unable to provision requested ML compute capacity", "capacity"),
        ("Failed", "Failed", "InternalServerError: We encountered an internal error. Please try again.", "internal"),
        ("Failed", "Failed", "OutOfMemoryError: Please use an instance type with more memory", "memory"),
        ("Failed", "Failed", "AlgorithmError: , exit code: 137", "memory"),
        ("Failed", "Failed", "AlgorithmError: not_trainable: 7 rows, exit code: 65", "not_trainable"),
        ("Failed", "Failed", "AlgorithmError: job: channel 'dataset' lacks part p2, exit code: 64", "job"),
        ("Failed", "Failed", "AlgorithmError: code: KeyError at fit.py:7, exit code: 70", "code"),
        ("Failed", "Failed", "ClientError: Cannot pull algorithm container. Image is in another region", "image"),
        ("Failed", "Failed", "ClientError: Data download failed: Access denied", "permission"),
        ("Failed", "Failed", "ClientError: Data download failed: no keys", "job"),
        ("Failed", "Failed", "", "code"),
    ],
)
def test_causes(status: str, secondary: str, failure: str, cause: str) -> None:
    assert cause_of(JobState("j", "r", status, secondary, failure)) == cause


ENDS = st.sampled_from(
    [
        ("Completed", "Completed", ""), ("Stopped", "MaxWaitTimeExceeded", ""), ("Stopped", "Stopped", ""),
        ("Failed", "Failed", "CapacityError: none"), ("Failed", "Failed", "InternalServerError: x"),
        ("Failed", "Failed", "OutOfMemoryError: x"), ("Failed", "Failed", "AlgorithmError: code: x"),
    ]
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    ends=st.lists(ENDS, min_size=MAX_JOBS, max_size=MAX_JOBS), heard=st.lists(st.booleans(), min_size=20, max_size=20)
)
def test_whatever_happens_and_whatever_is_lost_the_pipeline_gets_one_answer(
    ends: list[tuple[str, str, str]], heard: list[bool]
) -> None:
    """Jobs end in any way; each end is heard of by event, or only by the sweep."""
    world = World()
    world.submit()
    listening = iter(heard)
    for _ in range(MAX_JOBS):
        running = [s for s in world.jobs.states.values() if not s.ended]
        if not running:
            break
        status, secondary, failure = ends[len(world.jobs.states) - 1]
        world.jobs.ends(running[0].name, status, secondary=secondary, failure=failure, output="o")
        if next(listening):
            world.runner.event({"TrainingJobName": running[0].name})
        world.runner.sweep()
    assert len(world.pipeline.answers) == 1
    assert len(world.jobs.requests) <= MAX_JOBS
    assert world.runner.sweep() == []


def test_a_run_never_starts_more_than_its_jobs() -> None:
    causes = ["internal", "capacity", "wait"]
    step = next_step("capacity", instance="ml.m5.large", spot=True, jobs=causes, instances=tuple(INSTANCES))  # type: ignore[arg-type]
    assert step.action == "give_up"


@pytest.mark.parametrize("run_id", [RUN, "up-" + "a" * 80, "im_weird.name!", "rt-" + "x" * 57 + "--" + "0" * 16])
def test_job_names_are_sagemakers(run_id: str) -> None:
    names = {job_name(run_id, n) for n in range(4)}
    assert len(names) == 4
    assert all(re.fullmatch(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}", name) for name in names), names


def test_the_launcher_submits_what_it_decided_and_the_sweep_looks_at_jobs() -> None:
    world = World()
    launcher = Launcher(
        registry=world.registry, ledger=world.ledger, events=MemoryEvents(), pipeline=MemoryStateMachine(),
        clock=world.clock, offers=lambda: Offers(instances=tuple(INSTANCES)), runner=world.runner,
    )  # fmt: skip
    decided = launcher.launch(MODEL, actor="user:ada", explanation="x", request_id="1")
    assert (decided["launch"], decided["where"], decided["instance"]) == (True, "sagemaker", "ml.m5.large")
    assert world.registry.locks_kept[MODEL, "train"][1] - world.clock() > timedelta(hours=24)
    assert launcher.submit(MODEL, decided["run_id"], "token")["status"] == "started"
    world.jobs.ends(job_name(decided["run_id"], 1), output="o")
    assert [j["status"] for j in launcher.sweep()["jobs"]] == ["collect"]
    assert launcher.job_event({"TrainingJobName": "x"})["status"] == "not_ours"
