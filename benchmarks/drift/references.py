"""Writes tests/unit/drift/references.json: what other libraries say of some samples, for the tests to compare with."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import numpy as np

from benchmarks.drift.environments import CACHE, HERE, ROOT, Peer, environment_of, prepare

FILE = ROOT / "tests" / "unit" / "drift" / "references.json"
LIBRARIES = ("evidently", "nannyml", "alibi-detect")


def samples() -> list[dict[str, list[int]]]:
    """Counts over ten cells: equal, shifted, sparse, of very different sizes. Every cell of each has rows on both
    sides, as libraries fill empty cells in ways of their own."""
    rng = np.random.default_rng(11)
    flat, steep = np.full(10, 0.1), 0.6 ** np.arange(10)
    steep = steep / steep.sum()
    shapes = [(flat, flat, 2_000, 500), (flat, np.roll(steep, 3), 2_000, 500), (steep, flat, 400, 400),
              (steep, np.roll(steep, 1), 5_000, 300)]  # fmt: skip
    found = []
    for old, new, n, m in shapes:
        counts = (rng.multinomial(n, old) + 1, rng.multinomial(m, new) + 1)
        found.append({"old": counts[0].tolist(), "new": counts[1].tolist()})
    return found


def write() -> None:
    """Ask every library and keep its answers with its version."""
    asked, answers = samples(), dict[str, Any]()
    for library in LIBRARIES:
        peer = Peer(library, "answers", library)
        prepare(peer)
        done = subprocess.run(
            [sys.executable, "-S", str(HERE / "peers" / "answers.py"), library], input=json.dumps(asked),
            env=environment_of(peer), capture_output=True, text=True, check=True, timeout=600, cwd=CACHE,
        )  # fmt: skip
        pinned = (HERE / "requirements" / f"{library}.txt").read_text()
        version = re.search(rf"^{library}==(\S+)$", pinned, re.MULTILINE)
        found = json.loads(done.stdout.strip().splitlines()[-1])
        answers[library] = {"version": version[1] if version else "", "answers": found}
    FILE.write_text(
        json.dumps(
            {"made_by": "python -m benchmarks.drift references", "samples": asked, "libraries": answers}, indent=1
        )
        + "\n"
    )
