"""The child process that reads a suspect Parquet file to its end: whether it survives is the answer.

See ``open_table`` in :mod:`mlops.data.reading`, which starts it.
"""

from __future__ import annotations

import contextlib
import os
import resource
from pathlib import Path

from mlops.contract import FileFormat
from mlops.data.outcome import UnreadableError
from mlops.data.reading import open_table


def main(name: str) -> None:
    """Read a file. Damage that polars reports is no news here: the process that asked meets it again."""
    _bound()
    path = Path(name)
    with contextlib.suppress(UnreadableError):
        for _ in open_table(path, FileFormat(), path.stat().st_size, path.parent).batches():
            pass


def _bound() -> None:
    """No more memory than the machine has: then an allocation fails in this process, instead of the kernel ending
    whichever process it likes. And no core dump, which would fill a function's disk."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit, value in ((resource.RLIMIT_DATA, memory), (resource.RLIMIT_CORE, 0)):
        hard = resource.getrlimit(limit)[1]
        resource.setrlimit(limit, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))
