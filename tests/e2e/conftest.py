"""One stack for all end-to-end tests: the real template, built and deployed to the local engine with IAM enforced."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from local import engine, stack
from mlops.aws.clients import client
from mlops.aws.workbench import Workbench
from mlops.cli import connection


@dataclass(frozen=True)
class Deployed:
    """The running stack and the bench to work on it."""

    running: engine.Stack
    bench: Workbench


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    before = dict(os.environ)
    stack.build("local")
    running = engine.start(f"mlops-e2e-{os.getpid()}")
    try:
        stack.deploy(running)
        client.cache_clear()
        os.environ.update(engine.credentials_environment(running))
        found = connection.connect(running.name)
        yield Deployed(running, Workbench(found.stack, found.api_url, found.outputs))
    finally:
        engine.stop(running)
        client.cache_clear()
        os.environ.clear()
        os.environ.update(before)
