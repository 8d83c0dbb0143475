"""Makes the environments that the project needs, from lock files with hashes.

    python3 local/envs.py dev tools engine

Standard library only and Python 3.11+: it is the first thing that runs on a fresh machine. Each environment is
made again only when its lock file or the Python changes.

========  ================================  =====================================================
name      folder                            what it holds
========  ================================  =====================================================
uv        .cache/envs/uv                    the installer
dev       .venv                             the project, everything the layers have, test tools
tools     .cache/envs/tools                 AWS SAM CLI and cfn-lint
engine    .cache/envs/engine                the local AWS engine, alone: its functions see what is here
security  .cache/envs/security              checkov
fuzz      .cache/envs/fuzz                  schemathesis
========  ================================  =====================================================
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {
    "dev": ROOT / ".venv",
    "tools": ROOT / ".cache" / "envs" / "tools",
    "engine": ROOT / ".cache" / "envs" / "engine",
    "security": ROOT / ".cache" / "envs" / "security",
    "fuzz": ROOT / ".cache" / "envs" / "fuzz",
}
LOCKS = {name: ROOT / "locks" / f"{name}.lock" for name in ("tools", "engine", "security", "fuzz")} | {
    "dev": ROOT / "locks" / "bundle.lock"
}
UV = ROOT / ".cache" / "envs" / "uv"


def main(names: list[str]) -> int:
    if sys.version_info < (3, 11):
        print(f"Python 3.11 or newer is needed; this is {sys.version.split()[0]}", file=sys.stderr)
        return 1
    unknown = [n for n in names if n not in FOLDERS]
    if unknown:
        print(f"unknown environment {unknown[0]}; known: {', '.join(FOLDERS)}", file=sys.stderr)
        return 2
    for name in names:
        ensure(name)
    return 0


def program(environment: str, name: str) -> str:
    """Path of a program in an environment."""
    return str(FOLDERS[environment] / "bin" / name)


def ensure(name: str) -> None:
    """Make the environment ``name`` unless it is there and matches its lock."""
    folder, lock = FOLDERS[name], LOCKS[name]
    if _stamp(folder) == _key(lock):
        return
    uv = _uv()
    started = time.monotonic()
    print(f"setting up {folder.relative_to(ROOT)} …", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    _run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)])
    install = [uv, "pip", "install", "--quiet", "--python", str(folder / "bin" / "python")]
    _run([*install, "--require-hashes", "--requirements", str(lock)])
    if name == "dev":
        # --no-build-isolation would need the build backend; it is one small pure-Python package.
        _run([*install, "--no-deps", "--editable", str(ROOT)])
    (folder / ".lock-digest").write_text(_key(lock))
    print(f"  done in {time.monotonic() - started:.0f} s", flush=True)


def _uv() -> str:
    lock = ROOT / "locks" / "uv.lock"
    uv = UV / "bin" / "uv"
    if _stamp(UV) != _key(lock):
        shutil.rmtree(UV, ignore_errors=True)
        try:
            _run([sys.executable, "-m", "venv", str(UV)])
        except subprocess.CalledProcessError:
            print("Python's venv module does not work here; on Debian: apt install python3-venv", file=sys.stderr)
            raise SystemExit(1) from None
        pip = [str(UV / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _run([*pip, "--require-hashes", "-r", str(lock)])
        (UV / ".lock-digest").write_text(_key(lock))
    return str(uv)


def _key(lock: Path) -> str:
    return hashlib.sha256(lock.read_bytes() + f"{sys.executable} {sys.version}".encode()).hexdigest()


def _stamp(folder: Path) -> str | None:
    stamp = folder / ".lock-digest"
    return stamp.read_text() if stamp.exists() else None


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, cwd=ROOT)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
