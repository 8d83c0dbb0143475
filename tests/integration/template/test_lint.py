"""Linters that know AWS better than we do. Every rule is clean, or excused with a reason where it is switched off."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
ENVIRONMENT = {**os.environ, "SAM_CLI_TELEMETRY": "0", "AWS_DEFAULT_REGION": "us-east-1"}
COMMANDS = {
    "sam validate": [".cache/envs/tools/bin/sam", "validate", "--lint", "--template", "template.yaml"],
    "cfn-lint": [".cache/envs/tools/bin/cfn-lint", "template.yaml"],
    "checkov": [".cache/envs/security/bin/checkov", "--config-file", ".checkov.yaml", "--file", "template.yaml"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_template_is_clean(name: str) -> None:
    done = subprocess.run(COMMANDS[name], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
