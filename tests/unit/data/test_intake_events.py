"""Whatever tells of an object, and however often: one upload, one execution."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.intake import app
from mlops.data.intake import UNASSIGNED, EventError, model_of, start, upload_id, uploads
from tests.fakes import MemoryStateMachine

EVENTS = Path(__file__).parents[3] / "events" / "intake"


def event(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((EVENTS / f"{name}.json").read_text())
    return loaded


def test_both_kinds_of_event_name_the_same_upload() -> None:
    (one,), (other,) = uploads(event("object-created")), uploads(event("notification"))
    assert one == other
    assert one.key == "incoming/breast-cancer/first part+1.csv"
    assert re.fullmatch(r"[0-9a-f]{16}", one.id)


def test_the_pipeline_is_started_once() -> None:
    machine = MemoryStateMachine()
    first, again = (start(event(n), machine) for n in ("object-created", "notification"))
    assert (first["status"], again["status"]) == ("started", "known")
    ((name, payload),) = machine.started.items()
    assert name == payload["run_id"] == f"up-{payload['upload']['id']}"
    assert payload["model"] == "breast-cancer"
    assert payload["kind"] == "upload"
    assert set(payload["upload"]) == {"id", "bucket", "key", "version_id", "etag", "size"}


def test_files_of_no_model_still_go_to_the_pipeline() -> None:
    machine = MemoryStateMachine()
    result = start(event("no-model"), machine)
    assert result["uploads"][0]["model"] == UNASSIGNED
    assert len(machine.started) == 1


def test_folder_markers_are_no_uploads() -> None:
    machine = MemoryStateMachine()
    assert start(event("folder-marker"), machine) == {"status": "ignored", "uploads": []}
    assert machine.started == {}


@pytest.mark.parametrize(
    ("key", "model"),
    [
        ("incoming/m/x.csv", "m"),
        ("incoming/breast-cancer/2026/x.csv", "breast-cancer"),
        ("incoming/x.csv", UNASSIGNED),
        ("incoming//x.csv", UNASSIGNED),
        ("incoming/No Model/x.csv", UNASSIGNED),
        ("incoming/-m/x.csv", UNASSIGNED),
        ("other/m/x.csv", UNASSIGNED),
        ("incoming/_unassigned/x.csv", UNASSIGNED),
        (f"incoming/{'m' * 41}/x.csv", UNASSIGNED),
    ],
)
def test_models_of_keys(key: str, model: str) -> None:
    assert model_of(key) == model


def test_what_makes_another_upload() -> None:
    base = ("b", "k", "v", "e")
    assert upload_id(*base) == upload_id("b", "k", "v", "another etag")
    others = {upload_id("c", "k", "v", "e"), upload_id("b", "l", "v", "e"), upload_id("b", "k", "w", "e")}
    assert len(others | {upload_id(*base), upload_id("b", "k", "", "e"), upload_id("b", "k", "", "f")}) == 6


@given(st.lists(st.text(max_size=5), min_size=3, max_size=3), st.lists(st.text(max_size=5), min_size=3, max_size=3))
def test_ids_do_not_mix_up_their_parts(one: list[str], other: list[str]) -> None:
    same = upload_id(one[0], one[1], one[2], "") == upload_id(other[0], other[1], other[2], "")
    assert same == (one == other)


def test_a_person_can_send_an_upload() -> None:
    (upload,) = uploads({"bucket": "b", "key": "incoming/m/a+b.csv", "version_id": "null", "etag": '"abc"'})
    assert (upload.key, upload.version_id, upload.etag, upload.size) == ("incoming/m/a+b.csv", "", "abc", 0)


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"detail": {}},
        {"detail": {"bucket": {"name": "b"}, "object": {}}},
        {"Records": [{"eventName": "x"}]},
        {"bucket": "b", "key": 5},
        {"bucket": "b", "key": "k", "size": -1},
        {"bucket": "b", "key": "k", "size": "1"},
    ],
)
def test_what_is_no_event(broken: dict[str, Any]) -> None:
    with pytest.raises(EventError):
        start(broken, MemoryStateMachine())


@pytest.mark.parametrize("name", [p.stem for p in EVENTS.glob("*.json")])
def test_the_handler_takes_every_event_file(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = MemoryStateMachine()
    monkeypatch.setattr(app, "pipeline", lambda: machine)
    result = app.handler(event(name), None)
    expected = {"folder-marker": "ignored"}.get(name, "started")
    assert result["status"] == expected


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("functions.intake.app", {"numpy", "polars", "yaml", "jsonschema"}),
        ("functions.ingest_validate.app", {"yaml", "jsonschema", "pandas", "scipy", "sklearn", "onnxruntime"}),
        ("mlops.contract", {"numpy", "polars", "yaml", "jsonschema", "boto3"}),
        ("mlops.data.ingest", {"boto3", "yaml", "jsonschema"}),
    ],
)
def test_nothing_is_imported_that_a_function_has_no_layer_for(module: str, absent: set[str]) -> None:
    script = f"import sys, {module}; print(sorted({absent!r} & set(sys.modules)))"
    paths = os.pathsep.join([str(EVENTS.parents[1]), str(EVENTS.parents[1] / "src")])
    done = subprocess.run(
        [sys.executable, "-c", script], env={"PYTHONPATH": paths}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
