"""What every peer's process does: load, read and check once, and say how long it took and what it found."""

import json
import re
import sys
import time
from pathlib import Path

CHECKS = json.loads(Path(sys.argv[2]).read_text())


def run(check):
    """``check(path)`` gives the number of cells that break a check."""
    path = sys.argv[1]
    started = time.perf_counter()
    cpu = time.process_time()
    found = check(path)
    seconds, used = time.perf_counter() - started, time.process_time() - cpu
    # Of this program alone: the peak that getrusage gives counts the process that started it, too.
    status = Path("/proc/self/status").read_text()
    peak = int(re.search(r"VmHWM:\s+(\d+)", status).group(1)) / 1024
    print(json.dumps({"seconds": seconds, "cpu": used, "peak_mb": peak, "broken": found}))
