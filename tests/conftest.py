"""What tests of several kinds share."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import hypothesis
import pytest

from tests.deployment import Deployed, deployment

# The same cases on every run of CI, so that a change is judged by itself; new ones at every run of a developer.
hypothesis.settings.register_profile("ci", derandomize=True, deadline=None)
hypothesis.settings.register_profile("developer", deadline=None)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "developer")


@pytest.fixture(scope="session")
def deployed() -> Iterator[Deployed]:
    """The one deployed stack of this run."""
    with deployment() as found:
        yield found


@pytest.fixture(autouse=True)
def traces() -> Iterator[None]:
    """Functions that end in a fault switch stack traces off, in their process; here many share one."""
    yield
    vars(sys).pop("tracebacklimit", None)
