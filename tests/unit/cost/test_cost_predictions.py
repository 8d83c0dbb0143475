"""Predictions by model version from captured traffic."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from typing import Any

from mlops.cost.predictions import MAX_OBJECTS, Answered, count
from mlops.cost.usage import Window
from tests.fakes import MemoryObjects

WINDOW = Window(datetime(2026, 11, 22, 9, tzinfo=UTC), datetime(2026, 11, 22, 11, tzinfo=UTC))


def line(minute: int = 30, champion: int = 2, challenger: int = 0, **changes: Any) -> dict[str, Any]:
    rows = [{"answered": "champion"}] * champion + [{"answered": "challenger"}] * challenger
    data = {
        "kind": "mlops.capture.v1", "model": "m", "time": f"2026-11-22T10:{minute:02}:00.123Z", "rows": rows,
        "champion": {"version": "a", "us": 40, "error": None},
        "challenger": {"version": "b", "us": 60, "error": None} if challenger else None,
    }  # fmt: skip
    return data | changes


def put(objects: MemoryObjects, hour: str, name: str, *lines: dict[str, Any]) -> None:
    body = gzip.compress("\n".join(json.dumps(x) for x in lines).encode())
    objects.put(f"captures/m/dt=2026-11-22/hh={hour}/{name}.jsonl.gz", body)


def test_rows_are_counted_for_the_version_that_answered_and_as_shadow_for_the_other() -> None:
    objects = MemoryObjects()
    put(objects, "10", "x", line(champion=3, challenger=1), line(champion=2))
    found = count(objects, ["m"], WINDOW)
    assert found.answered == (Answered("m", "a", 5, 2, 1, 80), Answered("m", "b", 1, 1, 3, 60))
    assert found.rows == 6
    assert found.basis == "1 of 1 capture files"


def test_lines_outside_the_window_do_not_count_even_when_their_file_lies_inside() -> None:
    objects = MemoryObjects()
    put(objects, "10", "x", line(time="2026-11-22T08:59:59Z"), line(time="2026-11-22T11:00:00Z"), line())
    assert count(objects, ["m"], WINDOW).rows == 2


def test_a_line_written_after_its_hour_is_found() -> None:
    objects = MemoryObjects()
    put(objects, "11", "late", line(time="2026-11-22T10:59:59Z"))
    assert count(objects, ["m"], WINDOW).rows == 2


def test_a_capture_rate_scales_the_count() -> None:
    objects = MemoryObjects()
    put(objects, "10", "x", line(champion=5))
    assert count(objects, ["m"], WINDOW, {"m": 0.1}).rows == 50


def test_a_model_without_capture_is_not_metered_rather_than_zero() -> None:
    found = count(MemoryObjects(), ["m"], WINDOW, {"m": 0.0})
    assert found.answered == ()
    assert "not captured" in found.not_metered[0].reason


def test_a_damaged_file_is_named_and_the_others_count() -> None:
    objects = MemoryObjects()
    put(objects, "10", "x", line())
    objects.put("captures/m/dt=2026-11-22/hh=10/y.jsonl.gz", b"not gzip")
    objects.put("captures/m/dt=2026-11-22/hh=10/z.jsonl.gz", gzip.compress(b"{not json}\n"))
    found = count(objects, ["m"], WINDOW)
    assert found.rows == 2
    assert ["y.jsonl.gz" in found.not_metered[0].reason, "z.jsonl.gz" in found.not_metered[1].reason] == [True, True]


def test_lines_of_another_kind_or_layout_are_passed_over() -> None:
    objects = MemoryObjects()
    without_version = line() | {"champion": {"us": 40}}
    put(objects, "10", "x", line(kind="other"), line(rows=None), line(time=None), without_version, line())
    assert count(objects, ["m"], WINDOW).rows == 2


def test_many_files_are_sampled_and_scaled() -> None:
    objects = MemoryObjects()
    for i in range(MAX_OBJECTS * 2):
        put(objects, "10", f"{i:05}", line(champion=1))
    found = count(objects, ["m"], WINDOW)
    assert found.rows == MAX_OBJECTS * 2
    assert found.basis == f"{MAX_OBJECTS} of {MAX_OBJECTS * 2} capture files, scaled to all"


def test_a_whole_day_is_listed_once() -> None:
    objects = MemoryObjects()
    put(objects, "10", "x", line())
    day = Window(datetime(2026, 11, 22, tzinfo=UTC), datetime(2026, 11, 23, tzinfo=UTC))
    assert count(objects, ["m"], day).rows == 2
