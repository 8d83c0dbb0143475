"""Model sets on disk, and what ``predict`` printed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.inference.small_models import two_models


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model set with two champions and a model without one."""
    folder = tmp_path_factory.mktemp("set") / "models"
    two_models(folder)
    return folder


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Callable[[], list[dict[str, Any]]]:
    """The lines printed since the last call, as JSON."""
    return lambda: [json.loads(line) for line in capsys.readouterr().out.splitlines()]
