"""How the function starts: what it imports, where it finds models, what it does with a bad environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from functions.predict import app as function
from mlops.features.spec import Feature
from mlops.inference.application import Application
from mlops.inference.settings import InferenceSettings, find_models_dir, parse_routes
from mlops.manifest import Manifest
from tests.unit.inference.small_models import (
    MIXED_RECORD,
    TUMOUR_RECORD,
    application,
    proxy_event,
    put_set,
    put_version,
)

FORBIDDEN = {
    "pandas",
    "polars",
    "scipy",
    "sklearn",
    "pydantic",
    "boto3",
    "botocore",
    "aws_lambda_powertools",
    "onnx",
    "jwt",
    "cryptography",
    "requests",
    "urllib3",
    "jsonschema",
    "yaml",
}
#: Modules that cost milliseconds and that we must not add to those of numpy and orjson.
SLOW = {"json", "logging", "urllib.request", "http.client", "email", "ssl", "hashlib", "uuid", "asyncio", "difflib"}
SLOW |= {"numpy.typing", "gzip", "base64", "onnxruntime", "onnxruntime.capi"}

#: All of ours that one plain request loads. Each addition is paid for at every cold start.
REQUEST_PATH = {"mlops.errors", "mlops.features", "mlops.features.layout", "mlops.features.parse"}
REQUEST_PATH |= {"mlops.features.spec", "mlops.inference", "mlops.manifest"}
REQUEST_PATH |= {
    f"mlops.inference.{name}"
    for name in (
        "answers",
        "application",
        "body",
        "emit",
        "engine",
        "errors",
        "models",
        "parsing",
        "scoring",
        "settings",
    )
}
REQUEST_PATH |= {"mlops.inference.texts"}

PROBE = """
import sys
import numpy, orjson
before = set(sys.modules)
from functions.predict.app import handler
answer = handler({event!r}, None)
assert answer["statusCode"] == 200, answer
print("\\n".join(sorted(sys.modules)), file=sys.stderr)
print("\\n".join("+" + m for m in sorted(set(sys.modules) - before)), file=sys.stderr)
"""


def test_one_request_imports_nothing_heavy(models: Path) -> None:
    event = proxy_event("POST", "/predict", {"model": "tumour", "records": [TUMOUR_RECORD]})
    environment = {**os.environ, "MLOPS_MODELS_DIR": str(models), "PYTHONPATH": f"{Path.cwd()}:{Path.cwd() / 'src'}"}
    run = subprocess.run(
        [sys.executable, "-c", PROBE.format(event=event)], capture_output=True, text=True, env=environment, check=False
    )
    assert run.returncode == 0, run.stderr[-2000:]
    modules = {m for m in run.stderr.splitlines() if not m.startswith("+")}
    # modules that only we brought
    added = {m[1:] for m in run.stderr.splitlines() if m.startswith("+")}
    assert "onnxruntime.capi.onnxruntime_pybind11_state" in modules
    assert not FORBIDDEN & {m.split(".")[0] for m in modules}
    assert not SLOW & added
    assert {m for m in modules if m.startswith("mlops.")} == REQUEST_PATH


def test_the_second_request_loads_the_short_way_and_nothing_else(models: Path) -> None:
    event = proxy_event("POST", "/predict", {"model": "tumour", "records": [TUMOUR_RECORD]})
    environment = {**os.environ, "MLOPS_MODELS_DIR": str(models), "PYTHONPATH": f"{Path.cwd()}:{Path.cwd() / 'src'}"}
    twice = PROBE.replace("answer = handler", "handler({event!r}, None)\nfirst = set(sys.modules)\nanswer = handler")
    twice = twice.replace("set(sys.modules) - before", "set(sys.modules) - first")
    run = subprocess.run(
        [sys.executable, "-c", twice.format(event=event)], capture_output=True, text=True, env=environment, check=True
    )
    assert {m[1:] for m in run.stderr.splitlines() if m.startswith("+")} == {"mlops.inference.lane"}


COPIES = """
import json, os
from functions.predict.app import application
app = application()
app.handle({event!r}, None)  # whatever a snapshot may hold
for _ in range(2):
    if os.fork() == 0:
        ids = [app.handle({event!r}, None)["headers"]["X-Inference-Id"] for _ in range(2)]
        os.write(2, (json.dumps(ids) + "\\n").encode())
        os._exit(0)
    os.wait()
"""


def test_copies_of_one_snapshot_give_different_ids(models: Path) -> None:
    """What SnapStart does: every execution environment begins as the same memory."""
    event = proxy_event("POST", "/predict", {"model": "tumour", "records": [TUMOUR_RECORD]})
    environment = {**os.environ, "MLOPS_MODELS_DIR": str(models), "PYTHONPATH": f"{Path.cwd()}:{Path.cwd() / 'src'}"}
    run = subprocess.run(
        [sys.executable, "-c", COPIES.format(event=event)], capture_output=True, text=True, env=environment, check=True
    )
    ids = [i for line in run.stderr.splitlines() for i in json.loads(line)]
    assert len(set(ids)) == 4


def test_the_handler_uses_one_application(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_MODELS_DIR", str(models))
    function.application.cache_clear()
    assert function.application() is function.application()
    function.application.cache_clear()


def test_the_last_layer_that_holds_a_set_wins(tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        (tmp_path / name).mkdir()
    for name in ("one", "two"):
        (tmp_path / name / "models").mkdir()
        (tmp_path / name / "models" / "set.json").write_text("{}")
    layers = os.pathsep.join(str(tmp_path / name) for name in ("one", "two", "three"))
    assert find_models_dir({"_LAMBDA_LAYERS_DIRS": layers}) == str(tmp_path / "two" / "models")
    explicit = {"_LAMBDA_LAYERS_DIRS": layers, "MLOPS_MODELS_DIR": str(tmp_path / "one")}
    assert find_models_dir(explicit) == str(tmp_path / "one" / "models")
    assert find_models_dir({"MLOPS_MODELS_DIR": str(tmp_path / "three")}) == ""


@pytest.mark.parametrize(
    "text", ["{", "[]", "7", '{"m": 1}', '{"m": {"share": 2}}', '{"m": {"share": "x"}}', '{"m": {"share": -0.1}}']
)
def test_routes_that_cannot_be_read_leave_the_champions_alone(text: str) -> None:
    routes, error = parse_routes(text)
    assert routes == {}
    assert error


def test_routes_are_read() -> None:
    text = '{"m": {"share": 0.1, "step": "canary-1", "release": "r"}}'
    routes, error = parse_routes(text)
    assert not error
    assert [(n, r.share, r.step, r.release) for n, r in routes.items()] == [("m", 0.1, "canary-1", "r")]
    assert parse_routes("") == parse_routes("{}") == ({}, "")


def test_a_bad_number_in_the_environment_keeps_the_default() -> None:
    settings = InferenceSettings.from_env({"MLOPS_MAX_ROWS": "many", "MLOPS_MAX_BODY_BYTES": "-1"})
    assert (settings.max_rows, settings.max_body_bytes) == (10_000, 5_000_000)
    assert InferenceSettings.from_env({"MLOPS_MAX_ROWS": "7"}).max_rows == 7


def test_what_is_wrong_at_the_start_is_logged_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLOPS_MODELS_DIR", str(tmp_path))
    monkeypatch.setenv("MLOPS_ROUTES", "{")
    Application.from_env()
    levels = [json.loads(line)["level"] for line in capsys.readouterr().out.splitlines()]
    assert levels == ["ERROR", "ERROR"]


@pytest.mark.parametrize("eager", [1, 10**9])
def test_models_load_at_the_start_when_small_and_on_demand_otherwise(models: Path, eager: int) -> None:
    app = application(models, eager_bytes=eager)
    assert len(app.models._loaded) == (2 if eager > 1 else 0)
    body = {"model": "price", "records": [MIXED_RECORD]}
    assert app.handle(proxy_event("POST", "/predict", body), None)["statusCode"] == 200


EVENTS = sorted(Path("events/predict").glob("*.json"))
EXPECTED: dict[str, Any] = {
    "single": 200,
    "batch": 200,
    "partial": 200,
    "bad_payload": 422,
    "not_json": 400,
    "unknown_model": 404,
    "v2_infer": 200,
    "v2_models": 200,
    "golden": "ok",
    "describe": "ok",
}


def bundled(folder: Path) -> None:
    """The two models that the repository has contracts for, with a champion each."""
    for name, version in (("breast-cancer", "aaaaaaaaaaaa"), ("diabetes", "bbbbbbbbbbbb")):
        contract = yaml.safe_load(Path(f"models/{name}.yaml").read_text())
        event = json.loads(Path(f"events/predict/{'single' if name == 'breast-cancer' else 'batch'}.json").read_text())
        manifest = Manifest(
            model=name,
            version=version,
            task=contract["task"],
            features=tuple(Feature.from_dict(f) for f in contract["features"]),
            target=contract["target"]["name"],
            classes=tuple(contract["target"].get("classes", ())),
            positive=contract["target"].get("positive"),
            key=tuple(contract.get("key", ())),
        )
        put_version(folder, manifest, golden=json.loads(event["body"])["records"])
    put_set(folder, {"breast-cancer": ("aaaaaaaaaaaa", None), "diabetes": ("bbbbbbbbbbbb", None)})


def test_every_event_file_has_an_expectation() -> None:
    assert {p.stem for p in EVENTS} == EXPECTED.keys()


@pytest.mark.parametrize("path", EVENTS, ids=lambda p: p.stem)
def test_event_files_are_answered(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundled(tmp_path)
    monkeypatch.setattr(function, "application", lambda: application(tmp_path))
    answer = function.handler(json.loads(path.read_text()), None)
    assert answer.get("statusCode", answer.get("status")) == EXPECTED[path.stem], answer
