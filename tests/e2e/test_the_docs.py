"""What docs/predict.md tells people to type works as it stands there."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from tests.cloudformation import ROOT
from tests.e2e.conftest import Deployed
from tests.e2e.models import serving

PAGE = (ROOT / "docs" / "predict.md").read_text(encoding="utf-8")
MARK = "── next ──"


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


def commands(block: str) -> list[str]:
    """What is typed in a console block: from a prompt on, as long as a quotation is open."""
    found: list[str] = []
    is_open = False
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append(line[2:])
        elif is_open:
            found[-1] += "\n" + line
        try:
            shlex.split(found[-1], comments=True)
            is_open = False
        except ValueError:
            is_open = True
    return found


def test_calls_work_as_pasted(deployed: Deployed, tmp_path: Path) -> None:
    for model in ("diabetes", "breast-cancer"):  # the story's own, when it has been told before
        serving(deployed, tmp_path, model, like=model)
    typed = [command for block in blocks("console") for command in commands(block)]
    assert len(typed) >= 5
    script = f"\necho '{MARK}'\n".join([*typed, 'echo "$URL"', 'echo "$TOKEN"'])
    environment = {
        **os.environ, "MLOPS_STACK": deployed.running.name,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }  # fmt: skip
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", script],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *answers, url, token = [part.strip() for part in done.stdout.split(MARK)]
    told = [json.loads(answer) for command, answer in zip(typed, answers, strict=True) if command.startswith("curl")]
    assert len(told) >= 3
    assert not [answer for answer in told if "error" in answer]
    assert sum("explanation" in json.dumps(answer) for answer in told) == 1

    for program in blocks("python"):
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=tmp_path, env={**environment, "URL": url, "TOKEN": token}, capture_output=True, text=True, check=False,
            timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert re.search(r"value|\d\.\d", done.stdout)
