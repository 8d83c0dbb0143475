"""The state machines as text: complete, connected, and safe to retry."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
TOKENS = {
    "pipeline": {
        "IngestValidateFunctionArn", "DriftCheckFunctionArn", "RetrainLauncherFunctionArn", "TrainFunctionArn",
        "EvaluateFunctionArn", "RegisterFunctionArn", "ReleaseStateMachineArn",
    },
    "release": {"ReleaseFunctionArn"},
    "score": {"ScoreFunctionArn", "ScorePrepareFunctionArn", "DataBucketName", "Partition"},
    "backfill": {"DriftCheckFunctionArn"},
    "bulk": {"IngestValidateFunctionArn", "PipelineArn", "DataBucketName", "Partition"},
}  # fmt: skip
TRANSIENT = {
    "Lambda.ServiceException", "Lambda.AWSLambdaException", "Lambda.SdkClientException",
    "Lambda.TooManyRequestsException",
}  # fmt: skip
#: What Step Functions sees of a function whose process ended, or that did not end in time. The last is the local
#: engine's name, which AWS does not have.
DIED = {"Runtime.ExitError", "Lambda.Unknown", "Sandbox.Timedout", "States.Timeout", "Runtime.HandlerError"}
#: Tasks that read people's files, which may end the process: the next attempt has to know.
READERS = ("IngestValidate", "Prepare")
#: Tasks that call a function of another name, or something else than a function.
CALL_OTHERS = ("Close", "RecordFailure", "StartRelease", "TrainingJob", "CollectTraining")
#: Tasks that start another machine.
STARTS = ("StartRelease", "StartPipeline")
END_STATES = {"Succeed", "Fail"}

machines = pytest.mark.parametrize("name", sorted(TOKENS))


def text(name: str) -> str:
    return (ROOT / "statemachines" / f"{name}.asl.json").read_text()


def states(name: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads(text(name))["States"]
    return found


def processors(machine: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The machine and the processor of every Map in it."""
    yield machine
    for state in machine["States"].values():
        if "ItemProcessor" in state:
            yield from processors(state["ItemProcessor"])


def targets(state: dict[str, Any]) -> Iterator[str]:
    for key in ("Next", "Default"):
        if key in state:
            yield state[key]
    for branch in (*state.get("Choices", ()), *state.get("Catch", ())):
        yield branch["Next"]


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)
    elif isinstance(value, str):
        yield value


@machines
def test_every_state_is_reached_and_every_target_exists(name: str) -> None:
    for machine in processors(json.loads(text(name))):
        found, todo = set(), [machine["StartAt"]]
        while todo:
            state = todo.pop()
            if state not in found:
                found.add(state)
                todo += targets(machine["States"][state])
        assert found == set(machine["States"])


@machines
def test_every_state_goes_on_or_ends(name: str) -> None:
    for label, state in states(name).items():
        goes_on = "Next" in state or "Default" in state
        assert goes_on != (state["Type"] in END_STATES), label


@machines
def test_tasks_retry_what_is_transient_and_catch_the_rest(name: str) -> None:
    for label, state in states(name).items():
        if state["Type"] != "Task":
            continue
        retry, *more = state["Retry"]
        assert bool(more) == (name == "pipeline" and label in READERS), label
        assert retry["JitterStrategy"] == "FULL", label
        assert retry["BackoffRate"] > 1, label
        if label not in STARTS:
            assert set(retry["ErrorEquals"]) == TRANSIENT, label
        assert not {"States.ALL", "States.TaskFailed"} & set(retry["ErrorEquals"]), label
        assert state["Catch"][-1]["ErrorEquals"] == ["States.ALL"], label
        # A task that waits for a person is looked at every hour, should its callback be lost.
        longest = {"TrainingJob": 864_000, "AskPerson": 3600}.get(label, 910)
        assert state["TimeoutSeconds"] <= longest, label


def test_readers_of_files_are_told_how_many_attempts_came_before() -> None:
    objects = states("score")["Objects"]["ItemProcessor"]["States"]
    files = states("bulk")["Files"]["ItemProcessor"]["States"]
    for state in (states("pipeline")["IngestValidate"], objects["Prepare"], files["IngestValidate"]):
        _, died = state["Retry"]
        assert set(died["ErrorEquals"]) == DIED
        assert died["MaxAttempts"] >= 1
        assert "$states.context.State.RetryCount" in state["Arguments"]["attempt"]


@machines
def test_a_fault_is_recorded_and_ends_in_fail(name: str) -> None:
    found = states(name)
    for label, state in found.items():
        if state["Type"] == "Task":
            assert state["Catch"][-1]["Next"] == ("Failed" if label == "RecordFailure" else "RecordFailure"), label
    assert found["RecordFailure"]["Next"] == "Failed"
    assert found["Failed"]["Type"] == "Fail"


@machines
def test_tokens_stand_in_strings_and_are_those_of_the_template(name: str) -> None:
    inside = {t for s in strings(json.loads(text(name))) for t in re.findall(r"\$\{(\w+)\}", s)}
    assert inside == TOKENS[name]
    assert text(name).count("${") == sum(s.count("${") for s in strings(json.loads(text(name))))

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_multi_constructor("!", lambda loader, suffix, node: None)
    template = yaml.load((ROOT / "template.yaml").read_text(), Loader)
    machine = next(
        r["Properties"]
        for r in template["Resources"].values()
        if r["Type"] == "AWS::Serverless::StateMachine"
        and r["Properties"]["DefinitionUri"].endswith(f"{name}.asl.json")
    )
    assert set(machine["DefinitionSubstitutions"]) == TOKENS[name]


def test_tasks_are_named_as_the_functions_that_they_call() -> None:
    for label, state in states("pipeline").items():
        if state["Type"] == "Task" and label not in CALL_OTHERS:
            assert state["Resource"] == f"${{{label}FunctionArn}}"


@machines
def test_every_call_carries_the_correlation_id(name: str) -> None:
    for label, state in states(name).items():
        if state["Type"] == "Task":
            inside = state["Arguments"].get("Payload", state["Arguments"].get("Input", state["Arguments"]))
            assert "correlation_id" in inside, label


@machines
def test_expressions_are_whole(name: str) -> None:
    """An expression is the whole of its string: JSONata does not interpolate."""
    for value in strings(json.loads(text(name))):
        if "{%" in value or "%}" in value:
            assert re.fullmatch(r"\{% .+ %\}", value), value


def test_a_training_job_waits_by_token_and_its_model_goes_the_same_way_as_the_functions() -> None:
    found = states("pipeline")
    assert found["LaunchOutcome"]["Choices"][0]["Next"] == "Place"
    assert {"Condition": "{% $run.kind = 'retrain' %}", "Next": "Place"} in found["Kind"]["Choices"]
    ((job, place),) = [(c["Next"], c["Condition"]) for c in found["Place"]["Choices"]]
    assert (job, found["Place"]["Default"]) == ("TrainingJob", "Train")
    assert place == "{% $where in ['sagemaker', 'sagemaker_spot'] %}"
    assert found["TrainingJob"]["Resource"].endswith(":::lambda:invoke.waitForTaskToken")
    assert found["TrainingJob"]["Arguments"]["Payload"]["token"] == "{% $states.context.Task.Token %}"
    assert found["CollectTraining"]["Next"] == found["Train"]["Next"] == "TrainOutcome"
    # Ten days outlast the longest deadline that a contract may set.
    schema = json.loads((ROOT / "src" / "mlops" / "contract" / "schema.json").read_text())
    longest = schema["properties"]["retrain"]["properties"]["deadline_hours"]["maximum"]
    assert found["TrainingJob"]["TimeoutSeconds"] >= 2 * longest * 3600


def test_the_drivers_transitions_are_those_of_the_release_machine() -> None:
    """The crash tests walk by hand; this pins what they walk to the file."""
    found = states("release")
    assert found["Prepare"]["Next"] == "PrepareOutcome"
    assert found["AskPerson"]["Next"] == found["AskPerson"]["Catch"][0]["Next"] == "Decision"
    assert found["AskPerson"]["Catch"][0]["ErrorEquals"] == ["States.Timeout"]
    rules = {
        label: [(c["Condition"], c["Next"]) for c in found[label]["Choices"]] + [("", found[label]["Default"])]
        for label in ("PrepareOutcome", "DecisionOutcome", "DeployOutcome", "CheckOutcome")
    }
    assert rules == {
        "PrepareOutcome": [
            ("{% $state.status = 'ready' %}", "DeployStep"),
            ("{% $state.status = 'busy' %}", "WaitForOtherRelease"),
            ("{% $state.status = 'needs_approval' %}", "AskPerson"),
            ("", "NotReleased"),
        ],
        "DecisionOutcome": [
            ("{% $state.status = 'approved' %}", "Prepare"),
            ("{% $state.status = 'waiting' %}", "AskPerson"),
            ("", "Finished"),
        ],
        "DeployOutcome": [
            ("{% $state.status = 'deployed' and $state.final %}", "Finish"),
            ("{% $state.status = 'deployed' %}", "WaitForTraffic"),
            ("{% $state.status = 'busy' %}", "WaitForDeployment"),
            ("", "Rollback"),
        ],
        "CheckOutcome": [
            ("{% $state.status = 'continue' %}", "WaitForTraffic"),
            ("{% $state.status = 'advance' %}", "DeployStep"),
            ("", "Rollback"),
        ],
    }


def test_children_of_batch_scoring_retry_what_is_transient_and_end_in_every_case() -> None:
    """A child that fails would only be counted: each of its faults is written down, and no child is left to fail."""
    _, child, chunk = processors(json.loads(text("score")))
    for label, state in {**child["States"], **chunk["States"]}.items():
        if state["Type"] == "Task":
            assert set(state["Retry"][0]["ErrorEquals"]) == TRANSIENT, label
            assert "correlation_id" in state["Arguments"], label
        if label not in ("PrepareOutcome", "ObjectDone", "ObjectFailed", "ScoreChunk"):
            assert [c["Next"] for c in state["Catch"]] == ["ObjectFailed"], label
    assert child["States"]["ObjectFailed"]["Catch"][-1]["Next"] == "ObjectDone"
    assert child["States"]["ObjectDone"]["End"]


def test_what_children_hand_back_does_not_grow_with_their_files() -> None:
    """The results of all children pass through one payload of 256 KiB where no writer takes them."""
    for machine, label, last in (
        ("score", "Objects", "ObjectDone"), ("bulk", "Files", "FileDone"), ("bulk", "Parts", "MakePart"),
    ):  # fmt: skip
        children = states(machine)[label]
        assert children["ItemProcessor"]["States"][last]["Output"] == {}
        assert children["ResultPath"] is None
        assert children["ResultWriter"]["Parameters"]["Bucket"] == "${DataBucketName}"


def test_files_of_one_upload_end_in_every_case_and_its_parts_must_all_be_there() -> None:
    files, parts = states("bulk")["Files"], states("bulk")["Parts"]
    child = files["ItemProcessor"]["States"]
    assert child["IngestValidate"]["Catch"][-1]["Next"] == "FileFailed"
    assert child["FileFailed"]["Next"] == child["FileFailed"]["Catch"][-1]["Next"] == "FileDone"
    assert files["ToleratedFailurePercentage"] == 100
    assert "ToleratedFailurePercentage" not in parts
    rules = {c["Condition"]: c["Next"] for c in states("bulk")["FinishOutcome"]["Choices"]}
    assert rules == {
        "{% $states.input.ingest.status = 'moved' %}": "Compare",
        "{% $states.input.ingest.status in ['accepted', 'partial'] %}": "StartPipeline",
    }
    assert {"Condition": "{% $run.kind = 'bulk' %}", "Next": "DriftCheck"} in states("pipeline")["Kind"]["Choices"]


@pytest.mark.parametrize("state", ["Train", "CollectTraining"])
def test_what_a_training_answers_stays_whole_in_the_history(state: str) -> None:
    """How it went is in the function's answer; an ``Output`` would cut it away."""
    assert "Output" not in states("pipeline")[state]
