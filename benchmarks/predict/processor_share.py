"""A share of a processor for one process, by a control group: what Lambda gives a function of some memory.

Lambda gives a function memory / 1769 MB of a processor ("at 1,769 MB, a function has the equivalent of one vCPU",
https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html) by the kernel's bandwidth control, in periods of
20 ms, as measurements from inside show. The same control is used here. Needs root.
"""

from __future__ import annotations

import os
from pathlib import Path

WHOLE_MB = 1769
PERIOD_US = 20_000
_ROOT = Path("/sys/fs/cgroup")


class Share:
    """A control group for one process, removed when the process has ended."""

    def __init__(self, memory: int) -> None:
        """Make the group.

        Raises
        ------
        OSError
            when the kernel or the user may not.
        """
        quota = round(PERIOD_US * memory / WHOLE_MB)
        self._is_v2 = (_ROOT / "cgroup.controllers").exists()
        self.folder = (_ROOT if self._is_v2 else _ROOT / "cpu") / f"mlops-bench-{os.getpid()}-{memory}"
        self.folder.mkdir(exist_ok=True)
        if self._is_v2:
            (self.folder / "cpu.max").write_text(f"{quota} {PERIOD_US}")
        else:
            (self.folder / "cpu.cfs_period_us").write_text(str(PERIOD_US))
            (self.folder / "cpu.cfs_quota_us").write_text(str(quota))

    def hold(self, pid: int) -> None:
        """Put a process with all its threads into the group."""
        (self.folder / "cgroup.procs").write_text(str(pid))

    def throttled(self) -> int:
        """Periods in which the group had used its share before the period ended."""
        pairs = dict(line.split() for line in (self.folder / "cpu.stat").read_text().splitlines())
        return int(pairs["nr_throttled"])

    def close(self) -> None:
        """Remove the group; its process must have ended."""
        self.folder.rmdir()
