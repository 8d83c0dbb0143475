"""The functions of the AWS build in containers, against a deployed stack."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from local import containers, engine, stack
from tests.cloudformation import ROOT
from tests.deployment import Deployed
from tests.e2e.models import serving as champion_of


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark these tests, and run them after the others: their events start runs that nobody waits for."""
    here = [item for item in items if Path(__file__).parent in item.path.parents]
    for item in here:
        item.add_marker(pytest.mark.container)
        item.add_marker(pytest.mark.e2e)
    items[:] = [item for item in items if item not in here] + here


@pytest.fixture(scope="session")
def containers_here() -> containers.Engine:
    """The container engine; without one these tests are skipped."""
    try:
        return containers.find()
    except containers.NoContainersError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def built(containers_here: containers.Engine, deployed: Deployed) -> Iterator[Future[Path]]:
    """The AWS build, made while the stack gets its first champion."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(stack.build, "aws")


@pytest.fixture(scope="session")
def serving(built: Future[Path], deployed: Deployed) -> Deployed:
    """The deployed stack with a champion of the model that event files name."""
    champion_of(deployed, deployed.running.folder, "breast-cancer")
    return deployed


@dataclass(frozen=True)
class Containers:
    """`sam local start-lambda`, one warm container a function, and what a `sam local` command needs."""

    client: Any
    settings: containers.Settings
    folder: Path

    def invoke(self, function: str, payload: bytes) -> Any:
        """A function's answer, or the error that it raised."""
        answer = self.client.invoke(FunctionName=containers.logical_id(function), Payload=payload)
        return json.loads(answer["Payload"].read())

    def identifiers(self) -> list[str]:
        """The warm containers. Those of `sam local invoke`, which come and go, are not among them."""
        return re.findall(r"SAM_CONTAINER_ID: (\w+)", (self.folder / "sam.log").read_text(errors="replace"))


@pytest.fixture(scope="session")
def warm(
    containers_here: containers.Engine,
    built: Future[Path],
    serving: Deployed,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Containers]:
    """All functions in warm containers. Nothing of it stays behind: containers, relay, the predict image, folders."""
    built.result()
    folder = tmp_path_factory.mktemp("sam-local")
    running, port = serving.running, engine.free_port()
    with containers.relay(containers_here, running.port) as endpoint, (folder / "sam.log").open("wb") as log:
        known = containers.settings(running, endpoint)
        predict_image = ""
        words = ["start-lambda", "--host", "127.0.0.1", "--port", str(port), "--warm-containers", "LAZY"]
        process = subprocess.Popen(
            containers.command(words, known, folder),
            cwd=ROOT, env=containers.environment(running, folder), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
        try:
            _wait_for(port, process, folder / "sam.log")
            yield Containers(_client(port), known, folder)
            predict_image = containers.in_engine(_IMAGE_OF, str(containers.BUILD / "PredictFunction"))
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)
            left = containers.in_engine(_CLEAN_UP, str(containers.BUILD))
            assert left == [], f"containers stayed behind: {left}"
            if predict_image:
                containers.in_engine("client.images.remove(sys.argv[1], force=True)", predict_image)


#: The image of the function whose code is at argv[1]. That of predict has this run's model layer, which no later run
#: can use; those with other layers stay, as SAM leaves them.
_IMAGE_OF = """
found = [c.attrs["Image"] for c in client.containers.list(ignore_removed=True)
         if any(m.get("Source") == sys.argv[1] for m in c.attrs["Mounts"])]
print(json.dumps(found[0] if found else ""))
"""

#: Removes containers of this build, which should all be gone.
_CLEAN_UP = """
left = []
for c in client.containers.list(all=True, ignore_removed=True):
    if any(str(m.get("Source")).startswith(sys.argv[1] + "/") for m in c.attrs["Mounts"]):
        left.append(c.name)
        c.remove(force=True)
print(json.dumps(left))
"""


def _client(port: int) -> Any:
    # The first call of a function builds its image.
    config = Config(read_timeout=180, retries={"max_attempts": 0})
    return boto3.client("lambda", endpoint_url=f"http://127.0.0.1:{port}", config=config)


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"`sam local start-lambda` did not start:\n{log.read_text(errors='replace')[-2000:]}")


def deployed_answer(serving: Deployed, function: str, payload: bytes) -> Any:
    """What the deployed function answers, or the error that it raised."""
    from mlops.aws.clients import client

    name = f"{serving.running.name}-{function.replace('_', '-')}" + (":live" if function == "predict" else "")
    return json.loads(client("lambda").invoke(FunctionName=name, Payload=payload)["Payload"].read())


def outcome(answer: Any) -> Any:
    """An answer without what differs from call to call by its nature: times, measurements, random identifiers.

    Of an error its message: the local engine calls every error a HandlerError and keeps no type.
    """
    if isinstance(answer, dict) and "errorMessage" in answer:
        return {"error": answer["errorMessage"]}
    return _without(answer)


_VOLATILE = frozenset(
    {
        "after_seconds", "duration_seconds",
        "function_version", "X-Inference-Id", "inference_id", "usd_per_1000_requests",
        "usd_per_training", "list_usd", "free_tier_usd", "idle_usd_per_month", "month_spent_usd", "month_expected_usd",
        "anomalies", "start", "end", "started_at", "anchored",  # the ledger grows between two runs
    }
)  # fmt: skip


#: What is made up for one call: the inference id, and the times that name a report and a window of traffic.
_UNIQUE = re.compile(r"\b[0-9a-f]{32}\b|(?<=/report-)\d{6}\b|\b\d{8}T\d{6}Z")


def _without(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _without(_plain(k, v)) for k, v in value.items() if k not in _VOLATILE}
    if isinstance(value, list):
        return [_without(v) for v in value]
    return value


def _plain(key: str, value: Any) -> Any:
    if key == "body" and isinstance(value, str) and value.startswith(("{", "[")):
        return json.loads(value)
    return _UNIQUE.sub("…", value) if isinstance(value, str) else value


def events() -> list[tuple[str, Path]]:
    """Every event file with its function."""
    found = [(f, e) for f in containers.functions() for e in sorted((containers.EVENTS / f).glob("*.json"))]
    assert found
    return found
