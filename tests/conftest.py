"""What tests of several kinds share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.deployment import Deployed, deployment


@pytest.fixture(scope="session")
def deployed() -> Iterator[Deployed]:
    """The one deployed stack of this run."""
    with deployment() as found:
        yield found
