"""The release machine as it is written in statemachines/release.asl.json, walked without Step Functions.

Only what that file uses is understood; anything else is an error, so that a new state or condition cannot be left out
of the tests that stop the machine everywhere.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlops.errors import MlopsError

FILE = Path(__file__).parents[3] / "statemachines" / "release.asl.json"
_CONDITION = re.compile(r"\{% \$state\.status = '(\w+)'( and \$state\.final)? %\}")


@functools.cache
def states() -> Mapping[str, Mapping[str, Any]]:
    """Every state by its name."""
    found: dict[str, dict[str, Any]] = json.loads(FILE.read_text())["States"]
    return found


def start() -> str:
    return str(json.loads(FILE.read_text())["StartAt"])


def action(name: str) -> str:
    """What a Task asks the release function for."""
    arguments = states()[name]["Arguments"]
    return str(arguments.get("Payload", arguments)["action"])


def chosen(name: str, state: Mapping[str, Any]) -> str:
    """Where a Choice goes."""
    for choice in states()[name]["Choices"]:
        condition = _CONDITION.fullmatch(choice["Condition"])
        assert condition, f"{name}: a condition that the tests do not know: {choice['Condition']}"
        if state["status"] == condition[1] and (not condition[2] or state["final"]):
            return str(choice["Next"])
    return str(states()[name]["Default"])


def caught(name: str, error: MlopsError) -> str:
    """Where a fault leads that no retry has mended."""
    for catcher in states()[name].get("Catch", ()):
        if "States.ALL" in catcher["ErrorEquals"]:
            return str(catcher["Next"])
    raise error
