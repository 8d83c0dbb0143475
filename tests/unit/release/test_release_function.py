"""The release function on its event files, and what it may import."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.release.fake_serving import World

EVENTS = Path(__file__).parents[3] / "events" / "release"
MODEL, OLD, NEW = "breast-cancer", "a1b2c3d4e5f6", "3f2a9c0d1e4b"


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    from functions.release import app

    world = World()
    world.add_model(MODEL)
    world.first_champion(OLD, MODEL)
    world.add_version(NEW, MODEL)
    monkeypatch.setattr(app, "service", lambda: world.releases)
    return world


def call(name: str) -> dict[str, Any]:
    from functions.release.app import handler

    answer: dict[str, Any] = handler(json.loads((EVENTS / f"{name}.json").read_text()), None)
    json.dumps(answer)
    return answer


SCRIPTS = {
    "prepare": [("prepare", "ready")],
    "deploy_step": [("prepare", "ready"), ("deploy_step", "deployed")],
    "check": [("prepare", "ready"), ("deploy_step", "deployed"), ("check", "continue")],
    "finish": [("prepare", "ready"), ("finish", "promoted")],
    "rollback": [("prepare", "ready"), ("deploy_step", "deployed"), ("rollback", "rolled_back")],
    "fail": [("prepare", "ready"), ("deploy_step", "deployed"), ("fail", "failed")],
    "manual_rollback": [("prepare", "ready"), ("deploy_step", "deployed"), ("manual_rollback", "rolled_back")],
    "refresh": [("refresh", "live")],
    "ask": [("ask", "asked")],
    "decision": [("ask", "asked"), ("decision", "waiting")],
    "decide": [("ask", "asked"), ("decide", "approved"), ("decision", "approved")],
}


def test_every_event_file_is_in_a_script() -> None:
    assert {path.stem for path in EVENTS.glob("*.json")} == set(SCRIPTS)


@pytest.mark.parametrize("name", SCRIPTS)
def test_event_files_in_the_machines_order(world: World, name: str) -> None:
    for event, status in SCRIPTS[name]:
        assert call(event)["status"] == status
    assert world.serving.agree()


@pytest.mark.parametrize("name", ["release", "register", "approval", "housekeeping"])
def test_the_functions_need_the_service_layer_only(name: str) -> None:
    code = (
        f"import sys, functions.{name}.app;"
        "bad = {'numpy', 'polars', 'onnxruntime', 'sklearn', 'scipy', 'orjson', 'pandas'} & set(sys.modules);"
        "sys.exit(f'imports {bad}' if bad else 0)"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=root,
        env={"PYTHONPATH": f"{root}:{root / 'src'}"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
