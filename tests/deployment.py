"""One stack for all tests that need a deployed one: the real template, built and deployed to the local engine with
IAM enforced. It is made when the first test asks for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from local import engine, stack
from local.demo import story
from mlops.aws.clients import client
from mlops.aws.workbench import Workbench
from mlops.cli import connection


@dataclass(frozen=True)
class Deployed:
    """The running stack and the bench to work on it."""

    running: engine.Stack
    bench: Workbench


@contextmanager
def deployment() -> Iterator[Deployed]:
    """Build, deploy, point this process at it; stop it and put the environment back."""
    before = dict(os.environ)
    stack.build("local")
    running = engine.start(f"mlops-e2e-{os.getpid()}")
    try:
        # The drift-check comes every minute: the story waits for one that nobody asked for.
        stack.deploy(running, story.PARAMETERS)
        client.cache_clear()
        os.environ.update(engine.credentials_environment(running))
        found = connection.connect(running.name)
        yield Deployed(running, Workbench(found.stack, found.api_url, found.outputs))
    finally:
        engine.stop(running)
        client.cache_clear()
        os.environ.clear()
        os.environ.update(before)
