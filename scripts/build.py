"""Builds one layer or one function for `sam build` (see layers/layer.mk and functions/Makefile).

    build.py layer inference ARTIFACTS_DIR
    build.py function predict ARTIFACTS_DIR
    build.py image FOLDER                       what training/Dockerfile copies (`make training-image`)

Standard library only: it runs under whatever Python 3.11+ started the build. The target is taken from

    MLOPS_BUILD_PYTHON    "3.13" (default), or the version that the local engine runs on
    MLOPS_BUILD_PLATFORM  "x86_64-manylinux_2_28" (default), "aarch64-manylinux_2_28", or "host"

Third-party code comes from locks/bundle.lock alone: every file is checked against the hash recorded there.
A layer is built once per lock, recipe and target, and kept under .cache/layers.
"""

from __future__ import annotations

import fcntl
import fnmatch
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "layers"
LOCK = ROOT / "locks" / "bundle.lock"
MEBIBYTE = 1024 * 1024

#: What no function ever reads. Bytecode of the installer is replaced by our own, see `compile_bytecode`.
USELESS = ("*.pyi", "*.pxd", "*.pyx", "*.h", "*.hpp", "*.c", "*.cpp", "*.a", "*.la", "*.f90", "py.typed", "*.pyc")
USELESS_FOLDERS = ("tests", "test", "testing/tests", "__pycache__", "bin", "include", "*.dist-info/licenses")
#: Functions behind an alias. SAM publishes a new version when the code or the template changes, but not when only a
#: parameter's value does: then `live` would keep the old configuration, and a release would wait for a deployment
#: that is over. A mark of its own in every build makes every deployment publish.
STAMPED = ("predict",)
#: importlib.metadata needs only these of a distribution's records.
KEPT_METADATA = ("METADATA", "entry_points.txt", "top_level.txt")


def main(arguments: list[str]) -> int:
    match arguments:
        case ["layer", name, target]:
            build_layer(name, Path(target))
        case ["function", name, target]:
            build_function(name, Path(target))
        case ["image", target]:
            build_image(Path(target))
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


def target_python() -> str:
    return os.environ.get("MLOPS_BUILD_PYTHON", "3.13")


def target_platform() -> str:
    return os.environ.get("MLOPS_BUILD_PLATFORM", "x86_64-manylinux_2_28")


def build_function(name: str, target: Path) -> None:
    """First-party code: the handler at its import path, and the domain beside it."""
    target.mkdir(parents=True, exist_ok=True)
    shutil.copytree(_domain() / "mlops", target / "mlops", copy_function=_link, dirs_exist_ok=True)
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(ROOT / "functions" / name, target / "functions" / name, ignore=ignore, dirs_exist_ok=True)
    compile_bytecode(target / "functions", "/var/task/functions")
    if name in STAMPED:
        (target / "build.json").write_text(json.dumps({"build": uuid.uuid4().hex}))


def build_image(target: Path) -> None:
    """The build context of the training image: the training layer, the domain, and the Dockerfile."""
    shutil.rmtree(target, ignore_errors=True)
    build_layer("training", target)
    shutil.copytree(_domain() / "mlops", target / "mlops", copy_function=_link)
    shutil.copy2(ROOT / "training" / "Dockerfile", target)


def _domain() -> Path:
    """The domain with its bytecode, made once for all functions of a build, which run side by side."""
    source = ROOT / "src" / "mlops"
    digest = hashlib.sha256(f"{target_python()} {_interpreter() is not None}".encode())
    for path in sorted(source.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(f"{path.relative_to(source)}\0".encode() + path.read_bytes())
    made = ROOT / ".cache" / "code" / digest.hexdigest()[:20]
    made.parent.mkdir(parents=True, exist_ok=True)
    with (made.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            staging = made.with_suffix(".partial")
            shutil.rmtree(staging, ignore_errors=True)
            ignore = shutil.ignore_patterns("__pycache__", "*.pyc", "cli")
            shutil.copytree(source, staging / "mlops", ignore=ignore)
            compile_bytecode(staging / "mlops", "/var/task/mlops")
            staging.rename(made)
    return made


def build_layer(name: str, target: Path) -> None:
    recipe_file = ROOT / "layers" / name / "layer.toml"
    recipe = tomllib.loads(recipe_file.read_text())
    built = CACHE / name / _layer_key(recipe_file)
    if not (built / "python").exists():
        staging = built.with_suffix(f".{os.getpid()}")
        shutil.rmtree(staging, ignore_errors=True)
        _install(name, staging / "python")
        prune(staging / "python", recipe.get("remove", []))
        empty(staging / "python", recipe.get("empty", []))
        if recipe.get("bytecode", True):
            compile_bytecode(staging / "python", "/opt/python", docstrings=recipe.get("docstrings", True))
        size = folder_bytes(staging)
        limit = recipe["budget_mib"] * MEBIBYTE
        if size > limit:
            print(
                f"layer {name}: {size / MEBIBYTE:.0f} MiB is over its budget of {recipe['budget_mib']} MiB "
                f"(layers/{name}/layer.toml)",
                file=sys.stderr,
            )
            shutil.rmtree(staging)
            sys.exit(1)
        if built.exists():  # another build was faster
            shutil.rmtree(staging)
        else:
            staging.rename(built)
    shutil.copytree(built, target, copy_function=_link, dirs_exist_ok=True)


def _layer_key(recipe: Path) -> str:
    sources = (LOCK, recipe, ROOT / "pyproject.toml", Path(__file__))
    digest = hashlib.sha256(b"\0".join(source.read_bytes() for source in sources))
    digest.update(f"{target_python()} {target_platform()} {_interpreter() is not None}".encode())
    return digest.hexdigest()[:20]


def _install(name: str, target: Path) -> None:
    command = [
        *_uv(), "pip", "install", "--quiet", "--target", str(target),
        "--group", f"{ROOT / 'pyproject.toml'}:{name}", "--constraints", str(LOCK),
        "--verify-hashes", "--only-binary", ":all:", "--link-mode", "copy",
        "--python-version", target_python(),
    ]  # fmt: skip
    if target_platform() != "host":
        command += ["--python-platform", target_platform()]
    subprocess.run(command, check=True)


def _uv() -> list[str]:
    for candidate in (ROOT / ".cache" / "envs" / "uv" / "bin" / "uv", shutil.which("uv")):
        if candidate and Path(candidate).exists():
            return [str(candidate)]
    print("uv is missing: run `make setup`", file=sys.stderr)
    sys.exit(1)


def prune(folder: Path, patterns: list[str]) -> None:
    """Remove what is never used at run time; ``patterns`` are globs below ``folder`` of one layer's recipe."""
    for pattern in patterns:
        matches = list(folder.glob(pattern))
        if not matches:
            # A pattern that matches nothing is a package that changed: say so instead of growing in silence.
            print(f"{folder}: nothing matches '{pattern}' (layer.toml: remove)", file=sys.stderr)
            sys.exit(1)
        for path in matches:
            _remove(path)
    for path in sorted(folder.rglob("*"), reverse=True):
        relative = path.relative_to(folder)
        if path.is_dir():
            if any(fnmatch.fnmatch(relative.name, f) for f in USELESS_FOLDERS):
                _remove(path)
        elif any(fnmatch.fnmatch(path.name, u) for u in USELESS) or (
            relative.parts[0].endswith(".dist-info") and path.name not in KEPT_METADATA
        ):
            path.unlink()


def empty(folder: Path, names: list[str]) -> None:
    """Empty modules that only write documentation onto what other modules define."""
    for name in names:
        path = folder / name
        if not path.is_file():
            print(f"{folder}: there is no '{name}' (layer.toml: empty)", file=sys.stderr)
            sys.exit(1)
        path.write_text("")


def compile_bytecode(folder: Path, installed_at: str, *, docstrings: bool = True) -> None:
    """Write bytecode that a read-only folder accepts.

    A layer is mounted read-only and its files get new times, so bytecode checked by time is thrown away and
    made again at every cold start. ``unchecked-hash`` bytecode is used as it is (PEP 552). Without ``docstrings``
    (and without assertions, as by ``-OO``) it is half as large where a package explains itself at length.
    """
    interpreter = _interpreter()
    if interpreter is None:
        # To standard output: `sam build` shows a command's errors only when it failed.
        print(
            f"warning: no Python {target_python()} found: shipping without bytecode, cold starts will be slower. "
            f"`uv python install {target_python()}` mends it."
        )
        return
    subprocess.run(
        [interpreter, "-m", "compileall", "-q", "-j", "2", "--invalidation-mode", "unchecked-hash",
         "-o", "0" if docstrings else "2", "-s", str(folder), "-p", installed_at, str(folder)],
        check=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""},
    )  # fmt: skip
    for path in folder.rglob("*.opt-2.pyc"):  # an interpreter without -OO looks for the ordinary name
        path.rename(path.with_name(path.name.replace(".opt-2", "")))


def _interpreter() -> str | None:
    """A Python of the target's version on this machine, which makes the bytecode."""
    wanted = target_python()
    if wanted == f"{sys.version_info.major}.{sys.version_info.minor}":
        return sys.executable
    command = [*_uv(), "python", "find", "--no-project", wanted]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    # The installer gives up at a launcher on PATH that answers for no installed version, as version managers put
    # there; these managers keep their versions side by side, so ours is beside the one that runs this.
    beside = sorted(Path(sys.base_prefix).parent.glob(f"*/bin/python{wanted}"))
    return next((p for p in (found.stdout.strip(), *map(str, beside)) if p and _is_python(p, wanted)), None)


def _is_python(program: str, version: str) -> bool:
    script = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([program, "-I", "-c", script], capture_output=True, text=True, check=False)
    except OSError:
        return False
    return done.returncode == 0 and done.stdout.strip() == version


def folder_bytes(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
