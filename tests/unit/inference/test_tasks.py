"""What the release asks of a function version, and that nobody can ask it through the API."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.inference.small_models import (
    TUMOUR_RECORD,
    application,
    classifier,
    duel,
    failing,
    proxy_event,
    put_version,
    routes,
)

CHAMPION, CHALLENGER = "aaaaaaaaaaaa", "cccccccccccc"
CONTEXT = SimpleNamespace(function_name="predict", function_version="7", aws_request_id="abc")
Printed = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    duel(tmp_path)
    return tmp_path


def golden(folder: Path, version: str = CHAMPION, **more: Any) -> dict[str, Any]:
    event = {"task": "golden", "model": "tumour", "version": version, **more}
    result: dict[str, Any] = application(folder).handle(event, CONTEXT)
    json.dumps(result)
    return result


def change_golden(folder: Path, by: float) -> None:
    path = folder / "tumour" / CHAMPION / "golden.json"
    stored = json.loads(path.read_text())
    stored["expected"][0][0] += by
    path.write_text(json.dumps(stored))


def test_a_good_version_gives_its_stored_answers_bit_by_bit(folder: Path) -> None:
    result = golden(folder)
    assert (result["status"], result["compared"], result["exact"], result["max_difference"]) == ("ok", 1, True, 0.0)


def test_another_answer_is_a_mismatch(folder: Path) -> None:
    change_golden(folder, 0.01)
    result = golden(folder)
    assert result["status"] == "mismatch"
    assert result["max_difference"] == pytest.approx(0.01, rel=0.01)
    assert result["mismatches"][0]["record"] == 0


def test_the_last_bit_may_differ_between_processors_unless_none_may(folder: Path) -> None:
    change_golden(folder, 1e-7)
    assert (golden(folder)["status"], golden(folder)["exact"]) == ("ok", False)
    assert golden(folder, tolerance=0)["status"] == "mismatch"


def test_an_exchanged_model_file_is_a_mismatch_even_if_it_answers_alike(folder: Path) -> None:
    path = folder / "tumour" / CHAMPION / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "onnx_sha256": "0" * 64}))
    assert "not the file" in golden(folder)["message"]


@pytest.mark.parametrize("damage", ["{", '{"records": 7}', '{"records": [], "expected": []}', None])
def test_a_damaged_golden_set_is_not_ok(folder: Path, damage: str | None) -> None:
    path = folder / "tumour" / CHAMPION / "golden.json"
    path.write_text(damage) if damage is not None else path.unlink()
    assert golden(folder)["status"] in ("missing", "mismatch")


def test_golden_records_that_the_contract_refuses_are_a_mismatch(folder: Path) -> None:
    path = folder / "tumour" / CHAMPION / "golden.json"
    path.write_text(json.dumps({"records": [{}], "expected": [[0.5, 0.5]]}))
    assert golden(folder)["status"] == "mismatch"


def test_a_version_that_is_not_in_the_set_is_missing(folder: Path) -> None:
    put_version(folder, classifier(version="f" * 12))
    assert golden(folder, "f" * 12)["status"] == "missing"
    assert golden(folder, "../../etc")["status"] == "missing"
    assert golden(folder, CHALLENGER)["status"] == "missing"  # it has no golden.json


def test_describe_tells_what_this_version_carries(folder: Path) -> None:
    result = application(folder, routes=routes(0.1)).handle({"task": "describe"}, CONTEXT)
    assert result["function_version"] == "7"
    assert result["status"] == "ok"
    assert result["models"]["tumour"]["champion"] == CHAMPION
    assert result["models"]["tumour"]["loaded"] == {CHAMPION: True, CHALLENGER: True}
    assert result["routes"] == {"tumour": {"share": 0.1, "step": "canary-1", "release": "release-7"}}


def test_describe_names_what_does_not_load(folder: Path) -> None:
    (folder / "tumour" / CHALLENGER / "model.onnx").write_bytes(b"")
    result = application(folder).handle({"task": "describe"}, CONTEXT)
    assert result["models"]["tumour"]["loaded"] == {CHAMPION: True, CHALLENGER: False}
    assert CHALLENGER in result["models"]["tumour"]["failed"]
    assert str(folder) not in json.dumps(result)


def test_replay_scores_by_both_and_marks_its_captures(folder: Path, printed: Printed) -> None:
    event = {"task": "replay", "model": "tumour", "records": [TUMOUR_RECORD] * 3}
    result = application(folder, routes=routes(0.0)).handle(event, CONTEXT)
    assert (result["status"], result["rows"]) == ("ok", 3)
    assert len(result["champion"]["scores"]) == len(result["challenger"]["scores"]) == 3
    (line,) = printed()
    assert line["request_id"] == "replay-abc"
    assert (line["step"], line["release"]) == ("canary-1", "release-7")


def test_replay_outside_a_release_scores_nothing(folder: Path, printed: Printed) -> None:
    event = {"task": "replay", "model": "tumour", "records": [TUMOUR_RECORD]}
    assert application(folder).handle(event, CONTEXT)["status"] == "no_release"
    assert printed() == []


def test_replay_of_wrong_records_tells_which(folder: Path) -> None:
    event = {"task": "replay", "model": "tumour", "records": [{"radius": "x"}, TUMOUR_RECORD]}
    result = application(folder, routes=routes(0.0)).handle(event, CONTEXT)
    assert result["status"] == "invalid_records"
    assert result["rows"] == 1


def test_a_challenger_that_fails_is_a_value_of_the_replay(tmp_path: Path) -> None:
    duel(tmp_path, graph=failing)
    event = {"task": "replay", "model": "tumour", "records": [TUMOUR_RECORD]}
    result = application(tmp_path, routes=routes(0.0)).handle(event, CONTEXT)
    assert result["challenger"]["error"]
    assert result["challenger"]["scores"] == [None]


@pytest.mark.parametrize("event", [{}, {"task": "x"}, {"task": ["golden"]}, [], None, "text", 7])
def test_an_event_that_is_no_task_is_told_so(folder: Path, event: Any) -> None:
    assert application(folder).handle(event, CONTEXT)["status"] == "invalid"


@pytest.mark.parametrize("task", ["golden", "describe", "replay"])
def test_a_task_in_a_request_is_not_run(folder: Path, task: str) -> None:
    body = {"task": task, "model": "tumour", "version": CHAMPION}
    for event in (
        proxy_event("POST", "/predict", body),
        {**proxy_event("POST", "/predict", body), "task": task},
        {"task": task, "requestContext": {}},
        {"task": task, "httpMethod": "POST"},
    ):
        response = application(folder).handle(event, CONTEXT)
        assert response["statusCode"] in (400, 404)
