"""Names of a person's files by what is in them: the same files have the same place in a bucket, and are sent once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def name_of(files: Mapping[str, str]) -> str:
    """16 hexadecimal digits that stand for files, each given by its name and what stands for its content."""
    return hashlib.sha256(json.dumps(dict(files), sort_keys=True).encode()).hexdigest()[:16]
