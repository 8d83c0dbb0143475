"""`python -m local`: what the Makefile calls. `make help` is the list for people."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import IO

from local import containers, engine, envs, stack


def main() -> int:
    parser = argparse.ArgumentParser(prog="local", description="The bundle on this machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, help_ in (("up", "start, build, deploy"), ("down", "stop and remove"), ("demo", "run the story")):
        command = commands.add_parser(name, help=help_)
        command.add_argument("--stack", default="mlops-demo" if name == "demo" else "mlops-local")
        if name != "down":
            command.add_argument("--port", type=int, help="of the local engine; a free one when not given")
        if name == "demo":
            command.add_argument("--keep", action="store_true", help="leave the stack running afterwards")
    commands.add_parser("status", help="what runs here")
    logs = commands.add_parser("logs", help="follow a function's log")
    logs.add_argument("--stack", default="mlops-local")
    logs.add_argument("function", nargs="?", default="predict")
    invoke = commands.add_parser("invoke", help="run one function in a container with an event file")
    invoke.add_argument("--stack", default="mlops-local")
    invoke.add_argument("function")
    invoke.add_argument("event", nargs="?", default="", help="a case of events/<function>, or a file")
    commands.add_parser("build", help="build for AWS")
    deploy = commands.add_parser("deploy", help="deploy to an account")
    deploy.add_argument("environment", choices=["staging", "prod"])
    commands.add_parser("test", help="run all tests")
    arguments = parser.parse_args()

    # A terminated `make` must clean up like an interrupted one; and one in a shell's background, which starts its
    # commands deaf to interruptions, must still be able to interrupt its own.
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    actions: dict[str, Callable[[argparse.Namespace], int]] = {
        "up": up, "down": down, "demo": demo, "status": status, "logs": logs_, "invoke": invoke_,
        "build": build, "deploy": deploy_, "test": test,
    }  # fmt: skip
    try:
        return actions[arguments.command](arguments)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    except (subprocess.CalledProcessError, RuntimeError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1


def up(arguments: argparse.Namespace) -> int:
    """Start the engine, build and deploy; leave it running. A second call deploys what changed."""
    started = engine.load(arguments.stack)
    fresh = started is None or not engine.is_up(started)
    running = engine.start(arguments.stack, arguments.port)
    try:
        _timed("building the bundle", lambda: stack.build("local"))
        _timed("deploying to the local engine", lambda: stack.deploy(running))
    except BaseException:
        if fresh:
            engine.stop(running)
        raise
    _describe(running)
    return 0


def down(arguments: argparse.Namespace) -> int:
    running = engine.load(arguments.stack)
    if running is None:
        print(f"no local stack '{arguments.stack}'")
        return 0
    engine.stop(running)
    print(f"stopped '{arguments.stack}'")
    return 0


def status(arguments: argparse.Namespace) -> int:
    folders = sorted(engine.STATE.iterdir()) if engine.STATE.exists() else []
    names = [f.name for f in folders if (f / "stack.json").exists()]
    if not names:
        print("no local stack; `make up` starts one")
    for name in names:
        running = engine.load(name)
        if running is None or not engine.is_up(running):
            print(f"{name}: not running; `make down STACK={name}` removes what is left")
        elif not running.outputs:
            print(f"{name}: engine at {running.endpoint}, not deployed")
        else:
            _describe(running)
            subprocess.run([sys.executable, "-m", "mlops", "status", "--stack", name], cwd=envs.ROOT, check=False)
    return 0


def logs_(arguments: argparse.Namespace) -> int:
    """Print a function's log and follow it until interrupted."""
    running = engine.load(arguments.stack)
    if running is None or not engine.is_up(running):
        print(f"no local stack '{arguments.stack}'; `make up` starts one", file=sys.stderr)
        return 1
    command = [sys.executable, "-m", "mlops", "logs", arguments.function, "--since", "1h", "--follow"]
    return subprocess.run([*command, "--stack", arguments.stack], cwd=envs.ROOT, check=False).returncode


def invoke_(arguments: argparse.Namespace) -> int:
    """`sam local invoke` against the local stack: the AWS build of a function, in a container."""
    running = engine.load(arguments.stack)
    if running is None or not engine.is_up(running):
        print(f"no local stack '{arguments.stack}'; `make up` starts one", file=sys.stderr)
        return 1
    event = containers.event_file(arguments.function, arguments.event)
    return containers.invoke(running, arguments.function, event)


def build(arguments: argparse.Namespace) -> int:
    _timed("building for AWS", lambda: stack.build("aws"))
    return 0


def deploy_(arguments: argparse.Namespace) -> int:
    """Build for AWS, make what a first deployment needs, deploy."""
    _timed("building for AWS", lambda: stack.build("aws"))
    return stack.deploy_to_account(arguments.environment)


def demo(arguments: argparse.Namespace) -> int:
    from local.demo import story

    return story.main(arguments.stack, port=arguments.port, keep=arguments.keep)


def test(arguments: argparse.Namespace) -> int:
    """Lint and types first, because they are quick. Then two lanes side by side, because whole flows mostly wait: the
    containers with a stack of their own, and everything else. What the containers' lane says is shown when it ends."""
    binary = envs.ROOT / ".venv" / "bin"
    pytest = str(binary / "pytest")
    quick = [
        [str(binary / "ruff"), "check", "."],
        [str(binary / "ruff"), "format", "--check", "."],
        [str(binary / "mypy")],
    ]
    lane = [
        [pytest, "tests/unit", "--numprocesses", "auto", "--dist", "worksteal", "--quiet"],
        [pytest, "tests/integration", "--numprocesses", "auto", "--dist", "worksteal", "--quiet"],
        [pytest, "tests/e2e", "--durations=10", "--verbose"],
    ]  # fmt: skip
    failed = _in_turn(quick)
    if failed:
        return failed
    with _beside([pytest, "tests/container", "--durations=10", "--verbose"]) as containers_lane:
        return _in_turn(lane) or containers_lane()


def _in_turn(steps: list[list[str]]) -> int:
    """Run commands until one fails; its exit code, or 0."""
    for step in steps:
        _title(step)
        with _running(step) as process:
            code = process.wait()
        if code:
            return code
    return 0


@contextmanager
def _beside(step: list[str]) -> Iterator[Callable[[], int]]:
    """Run a command in the background; yields what waits for it, shows what it said, and returns its exit code."""
    with tempfile.TemporaryFile() as said, _running(step, said) as process:

        def wait() -> int:
            code = process.wait()
            _title(step)
            said.seek(0)
            sys.stdout.write(said.read().decode(errors="replace"))
            sys.stdout.flush()
            return code

        yield wait


@contextmanager
def _running(step: list[str], output: IO[bytes] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A test process. Left early, it is interrupted once and waited for: it takes its stack and containers with it.

    It has a session of its own, because a terminal interrupts a whole group: a second interruption, while it cleans
    up, would leave things behind.
    """
    process = subprocess.Popen(
        step, cwd=envs.ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait()


def _title(step: list[str]) -> None:
    print(f"\n── {' '.join([os.path.basename(step[0]), *step[1:]])}", flush=True)


def _describe(running: engine.Stack) -> None:
    print(f"{running.name}: engine at {running.endpoint} (loopback only, IAM enforced)")
    print(f"  API            {running.api_url}")
    print(f"  uploads        s3://{running.outputs['DataBucket']}/incoming/<model>/")
    print(f"  by hand        .venv/bin/mlops --help   (finds this stack by itself: --stack {running.name})")


def _timed(what: str, action: Callable[[], object]) -> None:
    print(f"{what} …", end="", flush=True)
    started = time.monotonic()
    action()
    print(f" {time.monotonic() - started:.0f} s", flush=True)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
