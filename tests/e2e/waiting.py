"""Waiting for what a deployed stack does by itself: for a condition with a deadline, never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

_PAUSE = 0.3


def until(probe: Callable[[], Any], seconds: float = 180) -> Any:
    """What ``probe`` finds, once it finds something.

    Raises
    ------
    AssertionError
        when it has found nothing after ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = probe()
        if found:
            return found
        time.sleep(_PAUSE)
    raise AssertionError("not in time")
