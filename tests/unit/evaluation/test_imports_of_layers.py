"""What a function imports must be in its layers: a fresh interpreter imports the handlers and is asked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("function", "absent"),
    [
        ("train", {"onnxruntime", "polars", "pandas"}),
        ("evaluate", {"sklearn", "scipy", "skl2onnx", "onnx", "polars", "pandas"}),
    ],
)
def test_a_function_imports_nothing_that_its_layers_lack(function: str, absent: set[str]) -> None:
    code = f"import sys, functions.{function}.app; print(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    path = f"{ROOT}:{ROOT / 'src'}"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    assert not absent & set(done.stdout.split())
