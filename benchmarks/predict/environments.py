"""What each peer runs on: folders of pinned packages, made once, with bytecode.

They are laid out as Lambda lays them out: one folder with the runtime client, one a layer, one with the function,
joined by ``PYTHONPATH``; so every peer has the same interpreter and the same client.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.predict import model

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
CACHE = ROOT / ".cache" / "bench"
UV = ROOT / ".cache" / "envs" / "uv" / "bin" / "uv"


@dataclass(frozen=True)
class Peer:
    """One way to serve the model. ``packages``: folders below the cache, earlier ones first."""

    name: str
    handler: str
    packages: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()


FLOOR, OURS = "floor", "serverless-mlops"
PEERS = (
    Peer("bare handler", "bare.handler", ("peers",)),
    Peer("extension floor", "floor_extension.handler", ("peers", "floor")),
    Peer(FLOOR, "floor.handler", ("peers", "floor")),
    Peer(OURS, "functions.predict.app.handler", ("function", "inference/python")),
    Peer("Powertools + onnxruntime", "powertools.handler", ("peers", "powertools")),
    Peer("FastAPI + Mangum + onnxruntime", "fastapi_mangum.handler", ("peers", "fastapi")),
    Peer("scikit-learn + joblib", "sklearn_joblib.handler", ("peers", "sklearn")),
    Peer("mlflow pyfunc", "mlflow_pyfunc.handler", ("peers", "mlflow")),
)


def environment(peer: Peer) -> dict[str, str]:
    """The whole environment of a peer's process: what Lambda sets, as far as any of them looks at it."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(CACHE),
        "LANG": "C.UTF-8",
        "TZ": ":UTC",
        "PYTHONPATH": os.pathsep.join(str(CACHE / p) for p in (*peer.packages, "client")),
        "PYTHONDONTWRITEBYTECODE": "1",  # as in Lambda: the folders are read-only
        "AWS_LAMBDA_FUNCTION_NAME": "predict",
        "AWS_LAMBDA_FUNCTION_VERSION": "1",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1024",
        "AWS_REGION": "eu-central-1",
        "LAMBDA_TASK_ROOT": str(CACHE / peer.packages[0]),
        "POWERTOOLS_TRACE_DISABLED": "true",
        "MLOPS_STACK": "bench",
        "MLOPS_MODELS_DIR": str(CACHE / "model" / "models"),
        "BENCH_MODEL": str(CACHE / "model"),
        **dict(peer.env),
    }


def prepare(peers: tuple[Peer, ...] = PEERS) -> tuple[Peer, ...]:
    """Make everything that is missing or out of date; returns the peers that can run.

    A framework that cannot be installed here, or cannot fit its model, is left out and named: the others are compared.
    """
    CACHE.mkdir(parents=True, exist_ok=True)
    install(HERE / "requirements" / "client.txt", CACHE / "client")
    missing: set[str] = set()
    wanted = {name.split("/")[0] for peer in peers for name in peer.packages}
    for name in sorted(wanted - {"peers", "function", "inference"}):
        try:
            install(HERE / "requirements" / f"{name}.txt", CACHE / name)
        except subprocess.CalledProcessError:
            missing.add(name)
    _layer()
    _function()
    shutil.rmtree(CACHE / "peers", ignore_errors=True)
    shutil.copytree(HERE / "peers", CACHE / "peers", ignore=shutil.ignore_patterns("__pycache__"))
    _compile(CACHE / "peers")
    missing |= _model((wanted - missing) & {"sklearn", "mlflow"})
    for name in sorted(missing):
        print(f"left out: '{name}' could not be made here", file=sys.stderr)
    return tuple(p for p in peers if missing.isdisjoint(p.packages))


def _run(command: list[str], **more: str) -> None:
    subprocess.run(command, check=True, env={**os.environ, **more})


def install(requirements: Path, folder: Path) -> None:
    """Pinned packages with bytecode into a folder, unless they are there already."""
    if is_fresh(folder, requirements.read_bytes()):
        return
    print(f"installing {folder.name} …", file=sys.stderr, flush=True)
    command = [str(UV), "pip", "install", "--quiet", "--python", sys.executable, "--only-binary", ":all:"]
    _run([*command, "--compile-bytecode", "--target", str(folder), "--requirements", str(requirements)])
    stamp(folder, requirements.read_bytes())


def _target() -> dict[str, str]:
    return {"MLOPS_BUILD_PYTHON": f"{sys.version_info.major}.{sys.version_info.minor}", "MLOPS_BUILD_PLATFORM": "host"}


def _layer() -> None:
    """The real inference layer, built for this interpreter."""
    sources = ("locks/bundle.lock", "layers/inference/layer.toml", "scripts/build.py")
    key = b"".join((ROOT / source).read_bytes() for source in sources)
    if is_fresh(CACHE / "inference", key):
        return
    print("building the inference layer …", file=sys.stderr, flush=True)
    _run([sys.executable, "scripts/build.py", "layer", "inference", str(CACHE / "inference")], **_target())
    stamp(CACHE / "inference", key)


def _function() -> None:
    """The real function, as `sam build` makes it."""
    shutil.rmtree(CACHE / "function", ignore_errors=True)
    _run([sys.executable, "scripts/build.py", "function", "predict", str(CACHE / "function")], **_target())


def _model(twins: set[str]) -> set[str]:
    """Train the model and its twins; returns the names of those that failed."""
    key = (HERE / "model.py").read_bytes() + (HERE / "peers" / "fit_sklearn.py").read_bytes()
    key += b"".join(path.read_bytes() for path in sorted((ROOT / "src" / "mlops" / "training").glob("*.py")))
    folder = CACHE / "model"
    if not is_fresh(folder, key):
        print("training the model …", file=sys.stderr, flush=True)
        folder.mkdir()
        model.write(folder)
        stamp(folder, key)
    failed = set()
    for name in sorted(twins):
        if not (folder / f"{name}.done").exists():
            print(f"training the model with {name} …", file=sys.stderr, flush=True)
            path = os.pathsep.join((str(CACHE / "peers"), str(CACHE / name)))
            try:
                _run([sys.executable, "-S", "-m", "fit_sklearn", name], PYTHONPATH=path, BENCH_MODEL=str(folder))
            except subprocess.CalledProcessError:
                failed.add(name)
                continue
            (folder / f"{name}.done").touch()
    return failed


def _compile(folder: Path) -> None:
    _run([sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", str(folder)])


def is_fresh(folder: Path, key: bytes) -> bool:
    """Whether ``folder`` was made from ``key`` by this Python; one that was not is removed."""
    stamp = folder / ".bench-key"
    if stamp.exists() and stamp.read_text() == _digest(key):
        return True
    shutil.rmtree(folder, ignore_errors=True)
    return False


def stamp(folder: Path, key: bytes) -> None:
    (folder / ".bench-key").write_text(_digest(key))


def _digest(key: bytes) -> str:
    return hashlib.sha256(key + sys.version.encode()).hexdigest()
