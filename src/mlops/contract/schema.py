"""The contract's JSON Schema: it describes every field and its default, for editors, messages and checks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any


@cache
def schema() -> Mapping[str, Any]:
    """The JSON Schema (draft 2020-12) of a contract."""
    text = resources.files("mlops.contract").joinpath("schema.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    parts = loaded["properties"]
    parts["attributes"]["items"] = parts["features"]["items"]  # a reference, which not every reader would follow
    return loaded
