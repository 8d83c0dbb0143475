"""What `make invoke` needs before a container starts: names, event files, the template's copy, and clear refusals."""

from __future__ import annotations

from pathlib import Path

import pytest

from local import containers
from tests.cloudformation import ROOT, resources


@pytest.mark.parametrize("function", containers.functions())
def test_a_function_s_folder_gives_its_logical_id(function: str) -> None:
    assert containers.logical_id(function) in resources("AWS::Serverless::Function")
    assert (ROOT / "functions" / function / "app.py").is_file()


def test_an_event_is_a_case_or_a_file_or_the_first_case(tmp_path: Path) -> None:
    own = tmp_path / "mine.json"
    own.write_text("{}")
    folder = ROOT / "events" / "predict"
    assert containers.event_file("predict", "single") == folder / "single.json"
    assert containers.event_file("predict", "single.json") == folder / "single.json"
    assert containers.event_file("predict", str(own)) == own
    assert containers.event_file("predict") == min(folder.glob("*.json"))


@pytest.mark.parametrize(("function", "case", "says"), [("nobody", "", "train"), ("predict", "nothing", "single")])
def test_what_is_not_there_is_refused_with_what_is(function: str, case: str, says: str) -> None:
    with pytest.raises(containers.NoEventError, match=says):
        containers.event_file(function, case)


def test_the_copy_of_the_template_declares_the_address_of_aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "BUILD", tmp_path)
    head, tail = "Globals:\n  Function:\n    Environment:\n      Variables:\n", "          Ref: Target\n"
    (tmp_path / "template.yaml").write_text(f"{head}        MLOPS_TARGET:\n{tail}")
    copied = containers.template().read_text()
    assert copied == f"{head}        AWS_ENDPOINT_URL: ''\n        MLOPS_TARGET:\n{tail}"


def test_a_template_of_another_form_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "BUILD", tmp_path)
    (tmp_path / "template.yaml").write_text("Resources: {}\n")
    with pytest.raises(RuntimeError, match="MLOPS_TARGET"):
        containers.template()


def test_without_a_container_engine_the_reason_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    # The engine's client is asked through another environment, which a unit test does not need to have.
    monkeypatch.setattr("local.envs.program", lambda *_: "/bin/false")
    with pytest.raises(containers.NoContainersError, match=r"none\.sock.*set DOCKER_HOST.*docker pull"):
        containers.find()
