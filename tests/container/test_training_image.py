"""The training image runs a job without a network, and gives the model that the same code gives on this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cloudformation import ROOT
from tests.integration.training.test_training_job import lay_out
from tests.unit.training import tables

IMAGE = "serverless-mlops-training-test"


def test_the_image_trains_without_a_network(containers_here: object, tmp_path: Path) -> None:
    program = shutil.which("podman") or shutil.which("docker")
    if program is None:
        pytest.skip("no command podman or docker")
    made = subprocess.run(
        ["make", "training-image", f"IMAGE={IMAGE}", f"CONTAINERS={program}"], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "MLOPS_BUILD_PLATFORM": "x86_64-manylinux_2_28"}, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr[-2000:]
    layout = lay_out(tmp_path, tables.contract("binary", tables.NUMBERS, families=("linear",)))
    for folder in (layout.model, layout.checkpoints, layout.failure.parent):
        folder.mkdir()
    done = subprocess.run(
        [program, "run", "--rm", "--network", "none", "--volume", f"{tmp_path}:/opt/ml", IMAGE, "train"],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert not layout.failure.exists()
    result = json.loads((layout.model / "result.json").read_text())
    manifest = json.loads((layout.model / "manifest.json").read_text())
    assert manifest["version"] == result["version"]
    assert {p.name for p in layout.model.iterdir()} >= {"model.onnx", "parity.npz", "golden.json", "baseline.json"}
