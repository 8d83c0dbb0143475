"""What it takes to read captured traffic before and after folding: ``python -m benchmarks.quality.reading``."""

from __future__ import annotations

import gzip
import json
import random
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from mlops.capture import columns, reading
from mlops.capture.folding import fold
from mlops.drift.traffic import batches
from mlops.features.spec import Feature
from tests.fakes import MemoryObjects

FEATURES = [Feature(f"mean feature {i}", "number") for i in range(30)]
START = datetime(2026, 11, 22, tzinfo=UTC)
END = START + timedelta(days=1)
ROWS, IN_AN_OBJECT = 24_000, 1000
VERSION = "20261122-abcdef"


def lines() -> Iterator[str]:
    """A day of one row a request, spread evenly."""
    chance = random.Random(1)
    for i in range(ROWS):
        moment = START + i * timedelta(days=1) / ROWS
        row = {
            "id": f"{chance.getrandbits(128):032x}-0", "entity": f"{chance.getrandbits(128):032x}",
            "features": {f.name: round(chance.gauss(0, 10), 4) for f in FEATURES},
            "answered": "champion", "champion": [chance.random(), chance.random()], "challenger": None,
        }  # fmt: skip
        side = {"version": VERSION, "us": 41, "error": None}
        line = {
            "kind": "mlops.capture.v1", "model": "m", "time": moment.isoformat(timespec="milliseconds"),
            "request_id": f"{i:032x}", "step": None, "release": None, "rows": [row], "champion": side,
            "challenger": None,
        }  # fmt: skip
        yield json.dumps(line, separators=(",", ":"))


def store(texts: list[str], size: int) -> MemoryObjects:
    objects = MemoryObjects()
    for i in range(0, ROWS, size):
        hour = (START + i * timedelta(days=1) / ROWS).hour
        body = gzip.compress("\n".join(texts[i : i + size]).encode(), mtime=0)
        objects.put(f"captures/m/dt=2026-11-22/hh={hour:02}/{i:08}.jsonl.gz", body)
    return objects


def microseconds(work: Callable[[], int]) -> float:
    """Of processor time a row, the best of five."""
    best = float("inf")
    for _ in range(5):
        began = time.process_time()
        assert work() == ROWS
        best = min(best, time.process_time() - began)
    return best / ROWS * 1e6


def main() -> None:
    """Print the table of docs/quality.md."""
    texts = list(lines())
    hourly, folded = store(texts, IN_AN_OBJECT), store(texts, 1)
    began = time.process_time()
    print(fold(folded, "m", END + timedelta(hours=3), keep_days=90))
    print(f"folding {(time.process_time() - began) / ROWS * 1e6:.0f} us a row")
    for name, objects in (("lines, an object an hour", hourly), ("folded", folded)):
        size = sum(i.size for i in objects.list("captures/"))
        row = (
            microseconds(lambda objects=objects: sum(len(x.rows) for x in reading.read(objects, "m", START, END))),  # type: ignore[misc]
            microseconds(lambda objects=objects: sum(len(b) for b in columns.read(objects, "m", START, END))),  # type: ignore[misc]
            microseconds(
                lambda objects=objects: sum(  # type: ignore[misc]
                    b.table.rows for b in batches(FEATURES, columns.read(objects, "m", START, END), VERSION)
                )
            ),
        )
        print(f"{name:<26}{size / ROWS:5.0f} bytes a row; simple reader {row[0]:.1f}, columns {row[1]:.1f}, "
              f"columns for drift {row[2]:.1f} us a row")  # fmt: skip


if __name__ == "__main__":
    main()
