"""Every supported estimator against several versions of scikit-learn: `make matrix`.

Each version gets an environment of its own from a pinned file in ``tests/matrix`` and runs the unit suite's test of
every estimator on every edge, and of every family on every kind of column. The result is a table in docs/training.md.

    python -m tests.matrix            # all versions
    python -m tests.matrix 1.5 1.9    # some
    python -m tests.matrix --table    # and write the table
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
CACHE = ROOT / ".cache" / "matrix"
UV = ROOT / ".cache" / "envs" / "uv" / "bin" / "uv"
TESTS = "tests/unit/training/test_export_matrix.py"
CASES = "every_supported_estimator or parity_set or calibration_map or any_threshold"
PAGE = ROOT / "docs" / "training.md"
BEGIN, END = "<!-- matrix -->", "<!-- /matrix -->"

#: Test of one estimator and task: ``…[RandomForestClassifier-binary]``.
_CASE = re.compile(r"test_every_supported_estimator_agrees_on_every_edge\[(.+)-(binary|multiclass|regression)\]")


def versions() -> list[str]:
    """Versions with a pinned file, oldest first."""
    found = [p.stem.removeprefix("scikit-learn-") for p in HERE.glob("scikit-learn-*.txt")]
    return sorted(found, key=lambda v: [int(n) for n in v.split(".")])


def environment(version: str) -> Path:
    """A folder with that version and what the test needs, made when missing or out of date."""
    requirements = HERE / f"scikit-learn-{version}.txt"
    key = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    folder = CACHE / version
    stamp = folder / "made-from"
    if stamp.is_file() and stamp.read_text() == key:
        return folder
    print(f"scikit-learn {version}: installing …", file=sys.stderr, flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    command = [str(UV), "pip", "install", "--quiet", "--python", sys.executable, "--only-binary", ":all:"]
    subprocess.run([*command, "--target", str(folder), "--requirements", str(requirements)], check=True)
    stamp.write_text(key)
    return folder


def run(version: str) -> dict[str, Mapping[str, str]]:
    """Result of every case: estimator -> task -> ``passed`` or the first line of what went wrong."""
    folder = environment(version)
    report = CACHE / f"{version}.xml"
    report.unlink(missing_ok=True)
    # -S: the environment's own packages alone. Other versions of scikit-learn warn of other things.
    command = [sys.executable, "-S", "-m", "pytest", TESTS, "-k", CASES, "-q", "-p", "no:cacheprovider", "--noconftest"]
    command += ["--override-ini", "filterwarnings=default", f"--junit-xml={report}", "-rN"]
    path = os.pathsep.join((str(folder), str(ROOT / "src"), str(ROOT)))
    ran = subprocess.run(
        command, check=False, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    if not report.is_file():
        raise SystemExit(f"scikit-learn {version}: the tests did not run\n{ran.stdout[-2000:]}{ran.stderr[-2000:]}")
    return results(report)


def results(report: Path) -> dict[str, Mapping[str, str]]:
    """Cases of a JUnit report."""
    found: dict[str, dict[str, str]] = {}
    for case in ET.parse(report).getroot().iter("testcase"):
        name = str(case.get("name"))
        match = _CASE.fullmatch(name)
        wrong = case.find("failure") if case.find("failure") is not None else case.find("error")
        word = "passed" if wrong is None else str(wrong.get("message", "failed")).splitlines()[0]
        if match:
            found.setdefault(match[1], {})[match[2]] = word
        else:
            found.setdefault("other tests of the exporter", {})[name] = word
    return found


def table(runs: Mapping[str, Mapping[str, Mapping[str, str]]]) -> str:
    """A Markdown table: an estimator a row, a version a column."""
    names = sorted({name for run_ in runs.values() for name in run_})
    lines = [f"| estimator | {' | '.join(runs)} |", f"|---|{'---|' * len(runs)}"]
    for name in names:
        cells = []
        for found in runs.values():
            words = found.get(name, {})
            good = sum(w == "passed" for w in words.values())
            cells.append(f"{good}/{len(words)}" if words else "-")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> int:
    """Run, print, and with ``--table`` write; 1 when a case failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.matrix", description=__doc__.splitlines()[0])
    parser.add_argument("versions", nargs="*", default=versions())
    parser.add_argument("--table", action="store_true", help="write the table into docs/training.md")
    chosen = parser.parse_args()
    runs = {version: run(version) for version in chosen.versions}
    print(table(runs))
    wrong = [
        f"{version} {name} {case}: {word}"
        for version, found in runs.items()
        for name, words in found.items()
        for case, word in words.items()
        if word != "passed"
    ]
    print("\n".join(wrong), file=sys.stderr)
    if chosen.table:
        text = PAGE.read_text(encoding="utf-8")
        before, after = text.split(BEGIN)[0], text.split(END)[1]
        PAGE.write_text(f"{before}{BEGIN}\n{table(runs)}\n{END}{after}", encoding="utf-8")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
