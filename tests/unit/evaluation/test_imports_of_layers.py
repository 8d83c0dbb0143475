"""A function must import without what its layers lack: a fresh interpreter in which those packages are refused."""

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
    refused = "".join(f"sys.modules[{name!r}] = None\n" for name in sorted(absent))
    code = f"import sys\n{refused}import functions.{function}.app"
    path = f"{ROOT}:{ROOT / 'src'}"
    environment = {"PYTHONPATH": path, "PYTHONWARNINGS": "error::ImportWarning"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
