"""`sam local` with a local stack's settings: functions of the AWS build run in containers of Lambda's own runtime, and
what they ask of AWS goes to the local engine.

Three things that SAM does not do by itself: it hands a function only variables that the template declares, so the
address of the engine is declared in a copy of the built template; it has no stack to take names from, so they come
from the deployed functions; and a container cannot reach this machine's loopback, so a relay listens where it can.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local import engine, envs, stack

IMAGE = "public.ecr.aws/lambda/python:3.13-x86_64"
BUILD = envs.ROOT / ".aws-sam" / "aws"
EVENTS = envs.ROOT / "events"
ENDPOINT = "AWS_ENDPOINT_URL"

# The tools environment has the client that SAM itself uses, which knows DOCKER_HOST and the default socket.
_PROBE = """
import docker, json, sys
client = docker.from_env(timeout=60)
client.ping()
try:
    client.images.get(sys.argv[1])
except docker.errors.ImageNotFound:
    client.images.pull(*sys.argv[1].rsplit(":", 1))
config = (client.networks.get("bridge").attrs.get("IPAM") or {}).get("Config") or [{}]
print(json.dumps({"gateway": config[0].get("Gateway", ""), "desktop": "Desktop" in client.info()["OperatingSystem"]}))
"""


class NoContainersError(RuntimeError):
    """No container engine answers, or it has no image of Lambda's runtime."""


class NoEventError(RuntimeError):
    """No function, or no event file, of that name."""


@dataclass(frozen=True)
class Engine:
    """A container engine. ``gateway``: this machine's address as its containers see it; ``desktop``: the engine runs
    in a virtual machine of its own and forwards ``host.docker.internal`` to this machine's loopback."""

    gateway: str
    desktop: bool = False


def find() -> Engine:
    """The container engine of ``DOCKER_HOST``, or of the default socket.

    Raises
    ------
    NoContainersError
        saying what to do.
    """
    python = envs.program("tools", "python")
    done = subprocess.run([python, "-c", _PROBE, IMAGE], capture_output=True, text=True, check=False)
    if done.returncode:
        tried = os.environ.get("DOCKER_HOST", "the default Docker socket (DOCKER_HOST is not set)")
        why = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise NoContainersError(
            f"no container engine at {tried} that has {IMAGE}: start Docker or Podman, set DOCKER_HOST to its socket "
            f"(unix:///…), and `docker pull {IMAGE}` once. It said: {why[:200]}"
        )
    return Engine(**json.loads(done.stdout))


def logical_id(function: str) -> str:
    """``retrain_launcher`` → ``RetrainLauncherFunction``."""
    return "".join(word.title() for word in function.split("_")) + "Function"


def functions() -> list[str]:
    """Names of the functions that have event files."""
    return sorted(p.name for p in EVENTS.iterdir() if p.is_dir())


def template() -> Path:
    """A copy of the built template whose functions may be told another address of AWS."""
    text = (BUILD / "template.yaml").read_text()
    declared = "        MLOPS_TARGET:\n"
    if text.count(declared) != 1:
        raise RuntimeError(f"{BUILD / 'template.yaml'} does not declare MLOPS_TARGET once, below Globals")
    path = BUILD / "containers.yaml"
    changed = text.replace(declared, f"        {ENDPOINT}: ''\n{declared}")
    # `sam local start-lambda` reads its template again when it is written: not for nothing.
    if not path.exists() or path.read_text() != changed:
        path.write_text(changed)
    return path


@dataclass(frozen=True)
class Settings:
    """What the deployed functions have: ``variables`` by logical id, and the layer of models that serves."""

    variables: Mapping[str, Mapping[str, str]]
    model_layer: str


def settings(running: engine.Stack, endpoint: str) -> Settings:
    """Environment of every deployed function, with ``endpoint`` as the address of AWS."""
    from mlops.aws.clients import client

    variables, layer = {}, ""
    for name in functions():
        qualifier = {"Qualifier": "live"} if name == "predict" else {}
        found = client("lambda").get_function_configuration(
            FunctionName=f"{running.name}-{name.replace('_', '-')}", **qualifier
        )
        variables[logical_id(name)] = {**found["Environment"]["Variables"], ENDPOINT: endpoint}
        if name == "predict":
            layer = next(e["Arn"] for e in found["Layers"] if f":{running.name}-models:" in e["Arn"])
    return Settings(variables, layer)


def command(words: Sequence[str], known: Settings, folder: Path) -> list[str]:
    """A `sam local` command. ``folder`` keeps what it reads and the model layer it downloads."""
    path = folder / "env.json"
    path.write_text(json.dumps(known.variables))
    return [
        envs.program("tools", "sam"), "local", *words,
        "--template", str(template()), "--env-vars", str(path), "--layer-cache-basedir", str(folder / "layers"),
        "--parameter-overrides", f"ModelLayerArn={known.model_layer}", "--skip-pull-image",
    ]  # fmt: skip


def environment(running: engine.Stack, folder: Path) -> dict[str, str]:
    """Environment of a `sam local` command: it downloads the model layer from the local engine, and what it would leave
    in the temporary folder goes to ``folder``."""
    return {
        **os.environ, **engine.credentials_environment(running), "SAM_CLI_TELEMETRY": "0", "TMPDIR": str(folder),
    }  # fmt: skip


@contextmanager
def relay(found: Engine, port: int) -> Iterator[str]:
    """Let containers reach ``port`` of this machine's loopback, and nobody else: yields the address for them."""
    if found.desktop:
        yield f"http://host.docker.internal:{port}"
        return
    listener = socket.socket()
    # The bridge comes up with its first container; binding must not wait for it.
    listener.setsockopt(socket.SOL_IP, getattr(socket, "IP_FREEBIND", 15), 1)
    listener.bind((found.gateway, 0))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="relay", daemon=True)
    thread.start()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Closing the relay cancels what is still open, which asyncio would log as a fault.
        with suppress(ConnectionError, asyncio.CancelledError):
            try:
                inner, outer = await asyncio.open_connection("127.0.0.1", port)
                await asyncio.gather(_pump(reader, outer), _pump(inner, writer))
            finally:
                writer.close()

    server = asyncio.run_coroutine_threadsafe(asyncio.start_server(serve, sock=listener), loop).result()
    try:
        yield f"http://{found.gateway}:{listener.getsockname()[1]}"
    finally:
        asyncio.run_coroutine_threadsafe(_close(server), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
    finally:
        target.close()


async def _close(server: asyncio.Server) -> None:
    server.close()
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
    await asyncio.sleep(0)  # transports close in the loop's next round


def event_file(function: str, case: str = "") -> Path:
    """``events/<function>/<case>.json``, or ``case`` when it is a file; the first case when none is named.

    Raises
    ------
    NoEventError
        naming what there is.
    """
    if function not in functions():
        raise NoEventError(f"no function '{function}'; there are: {', '.join(functions())}")
    if case.endswith(".json") and Path(case).is_file():
        return Path(case).resolve()
    cases = sorted((EVENTS / function).glob("*.json"))
    found = [c for c in cases if not case or c.stem == case.removesuffix(".json")]
    if not found:
        raise NoEventError(f"events/{function} has no '{case}'; it has: {', '.join(c.stem for c in cases)}")
    return found[0]


def invoke(running: engine.Stack, function: str, event: Path) -> int:
    """Build for AWS, and `sam local invoke` one function with one event file; the exit code of SAM."""
    found = find()
    stack.build("aws")
    os.environ.update(engine.credentials_environment(running))
    with relay(found, running.port) as endpoint, tempfile.TemporaryDirectory(prefix="mlops-invoke-") as folder:
        words = ["invoke", logical_id(function), "--event", str(event)]
        sam = command(words, settings(running, endpoint), Path(folder))
        return subprocess.run(sam, env=environment(running, Path(folder)), cwd=envs.ROOT, check=False).returncode


def in_engine(script: str, *arguments: str) -> Any:
    """Run a few lines with ``client``, the container engine's API; what they print is JSON."""
    python = envs.program("tools", "python")
    lines = f"import docker, json, sys\nclient = docker.from_env(timeout=60)\n{script}"
    done = subprocess.run([python, "-c", lines, *arguments], capture_output=True, text=True, check=True)
    return json.loads(done.stdout or "null")
