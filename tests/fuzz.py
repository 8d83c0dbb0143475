"""Throw thousands of requests at predict: ``make fuzz``.

First hypothesis over the handler (tests/unit/inference/test_fuzz.py), then schemathesis from our own OpenAPI document,
against predict behind an HTTP server in this process or, with ``--url``, against a deployed stack.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from local import envs
from tests.integration.inference.http_door import served
from tests.unit.inference.small_models import application, two_models

TESTS = "tests/unit/inference/test_fuzz.py"
LAWS = 7
#: What a document cannot say of tensors and models, and what a single method's answer cannot show.
EXCLUDED = "positive_data_acceptance,ignored_auth"
#: A gateway answers a method that no route has by itself, with 403 instead of 405.
EXCLUDED_BEHIND_A_GATEWAY = f"{EXCLUDED},unsupported_method"


def main() -> int:
    """Run both; 0 when nothing was found."""
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--cases", type=int, default=21_000, help="cases for the handler, over all laws")
    parser.add_argument("--examples", type=int, default=200, help="cases a route of the OpenAPI document")
    parser.add_argument("--url", help="base address of a deployed API; $MLOPS_TOKEN is sent")
    arguments = parser.parse_args()
    if arguments.url:
        token = os.environ.get("MLOPS_TOKEN", "")
        return schemathesis(arguments.url, arguments.examples, token, excluded=EXCLUDED_BEHIND_A_GATEWAY)
    return handler(arguments.cases) or in_process(arguments.examples)


def handler(cases: int) -> int:
    """Hypothesis over the handler, with new cases each time."""
    environment = {**os.environ, "MLOPS_FUZZ_CASES": str(-(-cases // LAWS))}
    command = [sys.executable, "-m", "pytest", TESTS, "--quiet", "--numprocesses", "auto"]
    return subprocess.run(command, cwd=envs.ROOT, env=environment, check=False).returncode


def in_process(examples: int) -> int:
    """Schemathesis against predict behind an HTTP server here."""
    with tempfile.TemporaryDirectory() as folder:
        two_models(Path(folder))
        with served(application(Path(folder)), guarded=True) as address:
            return schemathesis(f"http://{address}", examples, "any")


def schemathesis(url: str, examples: int, token: str, *, excluded: str = EXCLUDED) -> int:
    """Schemathesis by the OpenAPI document at ``url``."""
    envs.ensure("fuzz")
    command = [
        envs.program("fuzz", "schemathesis"), "run", f"{url}/openapi.json", "--url", url,
        "--header", f"Authorization: Bearer {token}", "--max-examples", str(examples),
        "--phases", "examples,coverage,fuzzing", "--exclude-checks", excluded, "--no-color",
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:  # it keeps a folder of found cases
        return subprocess.run(command, cwd=folder, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
