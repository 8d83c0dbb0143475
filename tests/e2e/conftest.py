"""End-to-end tests share one deployed stack: the fixture ``deployed`` of tests/conftest.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.deployment import Deployed

__all__ = ["Deployed"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)
