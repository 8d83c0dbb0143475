"""What each peer runs on: folders of pinned packages below .cache/bench/drift, made once."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
CACHE = ROOT / ".cache" / "bench" / "drift"
UV = ROOT / ".cache" / "envs" / "uv" / "bin" / "uv"


@dataclass(frozen=True)
class Peer:
    """One way to find drift. ``packages``: a file in requirements/; None for what this project's environment has."""

    name: str
    module: str
    packages: str | None = None


FLOOR, OURS, SCIPY = "np.histogram alone", "serverless-mlops", "scipy ks_2samp"
PEERS = (
    Peer(FLOOR, "histogram"),
    Peer(OURS, "ours"),
    Peer(SCIPY, "scipy_ks"),
    Peer("alibi-detect", "alibi", "alibi-detect"),
    Peer("deepchecks", "deepchecks_feature", "deepchecks"),
    Peer("NannyML", "nannyml_univariate", "nannyml"),
    Peer("whylogs", "whylogs_profile", "whylogs"),
    Peer("Evidently", "evidently_preset", "evidently"),
)


def prepare(peer: Peer) -> None:
    """Install the peer's packages when they are missing or out of date.

    Raises
    ------
    subprocess.CalledProcessError
        when they cannot be had here.
    """
    if peer.packages is not None:
        install(peer.packages)


def install(packages: str, *options: str) -> Path:
    """The folder with what ``requirements/<packages>.txt`` pins; ``options`` go to the installer.

    Raises
    ------
    subprocess.CalledProcessError
        when it cannot be had here.
    """
    folder, requirements = CACHE / packages, HERE / "requirements" / f"{packages}.txt"
    key = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    stamp = folder / ".bench-key"
    if stamp.exists() and stamp.read_text() == key:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    print(f"installing {packages} …", file=sys.stderr, flush=True)
    command = [str(UV), "pip", "install", "--quiet", "--python", sys.executable, "--only-binary", ":all:", *options]
    subprocess.run([*command, "--target", str(folder), "--requirements", str(requirements)],
                   check=True, capture_output=True, text=True)  # fmt: skip
    stamp.write_text(key)
    return folder


def environment_of(peer: Peer) -> dict[str, str]:
    """The whole environment of a peer's process: one thread, nothing sent anywhere."""
    path = [str(HERE / "peers"), *([str(CACHE / peer.packages)] if peer.packages else [])]
    return {
        "PATH": os.environ["PATH"], "HOME": str(CACHE), "LANG": "C.UTF-8", "PYTHONPATH": os.pathsep.join(path),
        "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "DO_NOT_TRACK": "1",
        "NML_DISABLE_USAGE_LOGGING": "1", "WHYLOGS_NO_ANALYTICS": "True", "TQDM_DISABLE": "1",
    }  # fmt: skip


def run(peer: Peer, folder: Path, seconds: float) -> list[dict[str, Any]]:
    """What the peer says of the windows in ``folder``, in a process of its own, on one thread.

    Raises
    ------
    subprocess.CalledProcessError, subprocess.TimeoutExpired
        when it fails, or takes longer.
    """
    prepare(peer)
    # -S keeps this project's environment away from a peer that brings its own.
    flags = ["-S"] if peer.packages else []
    done = subprocess.run(
        [sys.executable, *flags, str(HERE / "peers" / "run.py"), peer.module, str(folder)],
        env=environment_of(peer), capture_output=True, text=True, check=True, timeout=seconds,
    )  # fmt: skip
    found: list[dict[str, Any]] = json.loads(done.stdout.strip().splitlines()[-1])
    return found
