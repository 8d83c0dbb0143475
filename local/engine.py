"""Starts and stops the local AWS engine: loopback only, IAM enforced, in an environment of its own.

The engine's Lambda workers inherit its environment and can import what is installed beside it, so it is started
with a clean environment, and everything it writes goes below one folder that is removed with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass, field
from pathlib import Path

from local import envs

STATE = envs.ROOT / ".local"
ACCOUNT = "000000000000"
REGION = "us-east-1"

#: Engines that this process started, by process id: kept, because a child that nobody holds counts as forgotten.
_CHILDREN: dict[int, subprocess.Popen[bytes]] = {}


@dataclass
class Stack:
    """A local stack's own notes, kept in ``.local/<name>/stack.json``."""

    name: str
    port: int
    pid: int
    outputs: dict[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return STATE / self.name

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def api_url(self) -> str:
        return f"{self.endpoint}/restapis/{self.outputs['ApiId']}/v1/_user_request_"

    def save(self) -> None:
        (self.folder / "stack.json").write_text(json.dumps(asdict(self), indent=2))


def load(name: str) -> Stack | None:
    """The notes of a stack that was started here, running or not."""
    path = STATE / name / "stack.json"
    return Stack(**json.loads(path.read_text())) if path.exists() else None


def credentials_environment(stack: Stack) -> dict[str, str]:
    """Variables by which an AWS client reaches the engine as its administrator."""
    return {
        "AWS_ENDPOINT_URL": stack.endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def start(name: str, port: int | None = None) -> Stack:
    """Start an engine and wait until it answers.

    Raises
    ------
    RuntimeError
        with the end of the engine's log, when it does not come up within a minute.
    """
    running = load(name)
    if running and is_up(running):
        return running
    folder = STATE / name
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "tmp").mkdir(parents=True)
    port = port or free_port()
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": "C.UTF-8",
        "HOME": str(folder),
        "TMPDIR": str(folder / "tmp"),
        "AUTH": "true",
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "IOT_MTLS_ENABLED": "0",
        "S3_DATA_DIR": str(folder / "s3"),
    }
    with (folder / "engine.log").open("wb") as log:
        process = subprocess.Popen(
            [envs.program("engine", "ministack")],
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _CHILDREN[process.pid] = process
    stack = Stack(name, port, process.pid)
    stack.save()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        if is_up(stack):
            return stack
        time.sleep(0.1)
    tail = (folder / "engine.log").read_text(errors="replace")[-2000:]
    stop(stack)
    raise RuntimeError(f"the local engine did not start on port {port}:\n{tail}")


def stop(stack: Stack) -> None:
    """Stop the engine with all its workers and remove everything it wrote."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(stack.pid, signal.SIGTERM)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and _group_alive(stack.pid):
            time.sleep(0.1)
        os.killpg(stack.pid, signal.SIGKILL)
    if child := _CHILDREN.pop(stack.pid, None):
        child.wait()
    shutil.rmtree(stack.folder, ignore_errors=True)


def is_up(stack: Stack) -> bool:
    """Whether the engine answers its health check."""
    try:
        with urllib.request.urlopen(f"{stack.endpoint}/_ministack/health", timeout=2) as answer:  # noqa: S310 - loopback
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _group_alive(group: int) -> bool:
    # A zombie leader still counts as a group member until it is reaped.
    with contextlib.suppress(ChildProcessError):
        os.waitpid(group, os.WNOHANG)
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
