"""What the peers and the data sets need, pinned, in folders of their own below .cache/bench/training, made once."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
CACHE = ROOT / ".cache" / "bench" / "training"
UV = ROOT / ".cache" / "envs" / "uv" / "bin" / "uv"


def installed(name: str) -> Path:
    """The folder of the packages in requirements/<name>.txt, without what these need in turn.

    Raises
    ------
    subprocess.CalledProcessError
        when they cannot be had here.
    """
    folder, wanted = CACHE / name, HERE / "requirements" / f"{name}.txt"
    key = hashlib.sha256(wanted.read_bytes() + sys.version.encode()).hexdigest()
    stamp = folder / ".bench-key"
    if stamp.exists() and stamp.read_text() == key:
        return folder
    print(f"installing {name} …", file=sys.stderr, flush=True)
    command = [str(UV), "pip", "install", "--quiet", "--no-deps", "--python", sys.executable]
    subprocess.run([*command, "--target", str(folder), "--requirements", str(wanted)], check=True)
    stamp.write_text(key)
    return folder


def run_peer(name: str, folder: Path, budget: float) -> None:
    """One peer on the tables in ``folder``, in a process of its own, on one thread; its answers are left there."""
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(CACHE), "LANG": "C.UTF-8", "PYTHONPATH": str(installed("flaml")),
        "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1",
    }  # fmt: skip
    # -S keeps this project's environment away from it
    command = [sys.executable, "-S", str(HERE / "peers" / "run.py"), name, str(folder), str(budget)]
    subprocess.run(command, env=environment, check=True, capture_output=True)
