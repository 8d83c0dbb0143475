"""The same event file gives the same outcome in a container of the AWS build, on Python 3.13, as on the deployed stack
(invariant 11)."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from local import containers
from tests.cloudformation import ROOT, resources
from tests.container.conftest import Containers, deployed_answer, events, outcome
from tests.deployment import Deployed

EVENTS = events()
FUNCTIONS = containers.functions()


def test_every_function_of_the_template_has_event_files() -> None:
    assert {containers.logical_id(f) for f in FUNCTIONS} == set(resources("AWS::Serverless::Function"))


@pytest.mark.parametrize(("function", "event"), EVENTS, ids=[f"{f}-{e.stem}" for f, e in EVENTS])
def test_the_outcome_is_that_of_the_deployed_stack(
    warm: Containers, serving: Deployed, function: str, event: Path
) -> None:
    payload = event.read_bytes()
    first = outcome(deployed_answer(serving, function, payload))
    in_container = outcome(warm.invoke(function, payload))
    if in_container != first:
        # The event had its effect on the stack's first delivery; a further one is told so, wherever it arrives.
        assert in_container == outcome(deployed_answer(serving, function, payload))


@pytest.fixture(scope="session")
def invoked(warm: Containers, serving: Deployed) -> Iterator[Mapping[str, Future[str]]]:
    """`sam local invoke` of every function with its first event file, two at a time."""
    with ThreadPoolExecutor(2) as pool:
        yield {f: pool.submit(_invoke, warm, serving, f) for f in FUNCTIONS}


def _invoke(warm: Containers, serving: Deployed, function: str) -> str:
    words = ["invoke", containers.logical_id(function), "--event", str(containers.event_file(function))]
    done = subprocess.run(
        containers.command(words, warm.settings, warm.folder),
        env=containers.environment(serving.running, warm.folder), cwd=ROOT, capture_output=True, text=True,
        check=False, timeout=300,
    )  # fmt: skip
    # What the function printed goes before its answer.
    return (done.stdout.splitlines() or [f"no answer: {done.stderr[-1500:]}"])[-1]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_sam_local_invoke(warm: Containers, invoked: Mapping[str, Future[str]], function: str) -> None:
    printed = invoked[function].result()
    assert printed.startswith("{"), printed
    again = warm.invoke(function, containers.event_file(function).read_bytes())
    assert outcome(json.loads(printed)) == outcome(again)


@pytest.fixture(scope="session")
def imports(warm: Containers) -> Mapping[str, Any]:
    """By function: what Python says of where each module's code comes from when the handler is imported."""
    for function in FUNCTIONS:
        warm.invoke(function, containers.event_file(function).read_bytes())
    code = {str(containers.BUILD / containers.logical_id(f)): f for f in FUNCTIONS}
    found: Mapping[str, Any] = containers.in_engine(_IMPORTS, json.dumps(code), *warm.identifiers())
    return found


_IMPORTS = """
functions, found = json.loads(sys.argv[1]), {}
for container in map(client.containers.get, sys.argv[2:]):
    sources = [m.get("Source") for m in container.attrs["Mounts"]]
    for function in [functions[s] for s in sources if s in functions]:
        code = f"import sys; print('version', *sys.version_info[:2]); import functions.{function}.app"
        done = container.exec_run(
            ["/var/lang/bin/python3.13", "-B", "-v", "-c", code],
            environment={
                "PYTHONHOME": "/var/lang", "PYTHONPATH": "/var/task:/opt/python:/var/runtime",
                "LD_LIBRARY_PATH": "/var/lang/lib:/opt/lib",
            },
        )
        lines = done.output.decode(errors="replace").splitlines()
        origins = [l.split(" from ", 1)[1].strip("'") for l in lines if l.startswith("# code object from ")]
        changed = [c["Path"] for c in container.diff() or []]
        found[function] = {
            "code": done.exit_code, "end": lines[-5:],
            "version": next(([int(w) for w in l.split()[1:]] for l in lines if l.startswith("version ")), []),
            "ready": [o for o in origins if o.startswith(("/var/task/", "/opt/")) and o.endswith(".pyc")],
            "compiled": [o for o in origins if o.startswith(("/var/task/", "/opt/")) and not o.endswith(".pyc")],
            "written": [p for p in changed if p.startswith(("/var/task/", "/opt/"))],
        }
print(json.dumps(found))
"""


@pytest.mark.parametrize("function", FUNCTIONS)
def test_it_runs_on_python_3_13_from_bytecode_that_ships(imports: Mapping[str, Any], function: str) -> None:
    found = imports[function]
    assert found["code"] == 0, found["end"]
    assert found["version"] == [3, 13]
    # The training layer ships without bytecode (layers/training/layer.toml), and a container's /opt can be written.
    ships = ("/var/task/",) if function == "train" else ("/var/task/", "/opt/")
    assert [p for p in found["compiled"] if p.startswith(ships)] == []
    assert [p for p in found["written"] if p.startswith(ships)] == []
    assert f"/var/task/functions/{function}/__pycache__/app.cpython-313.pyc" in found["ready"]
