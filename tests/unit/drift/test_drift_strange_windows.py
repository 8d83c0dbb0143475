"""Every kind of strange traffic through the whole check: a defined outcome that says what it did, and no NaN in it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from mlops.contract import Contract, Drift, Target
from mlops.features.columns import Column, Columns, category_column
from mlops.features.spec import Feature
from mlops.objects import capture_prefix
from mlops.statistics.baseline import build
from tests.unit.drift.test_drift_check import MODEL, VERSION, World

FEATURES = (
    Feature("n", "number"), Feature("same", "number"), Feature("d", "date"), Feature("c", "category"),
)  # fmt: skip
CONTRACT = Contract(
    MODEL, "classification", Target("y", ("no", "yes"), "yes"), FEATURES, drift=Drift(feature_share=0.2)
)
Row = dict[str, Any]


def usual(count: int = 400) -> list[Row]:
    rng = np.random.default_rng(7)
    return [
        {"n": float(rng.normal()), "same": 5.0, "d": f"2026-01-{1 + i % 28:02d}", "c": "ab"[i % 2]}
        for i in range(count)
    ]


def changed(**values: Any) -> Callable[[], list[Row]]:
    """The usual rows with values replaced: by a constant, or by what a function makes of the row's number."""
    return lambda: [row | {n: v(i) if callable(v) else v for n, v in values.items()} for i, row in enumerate(usual())]


def without(name: str) -> list[Row]:
    return [{n: v for n, v in row.items() if n != name} for row in usual()]


def world() -> World:
    rng = np.random.default_rng(1)
    table = Columns(
        (
            Column("n", "number", rng.normal(size=2_000)),
            Column("same", "number", np.full(2_000, 5.0)),
            Column("d", "date", 20_454.0 + np.arange(2_000) % 28),
            category_column("c", ["ab"[i % 2] for i in range(2_000)]),
        )
    )
    made = World(replace(CONTRACT))
    made.put_baseline(build(FEATURES, table, pairs=True).labelled(MODEL, VERSION).to_dict())
    return made


def send(to: World, rows: list[Row], hours_ago: float = 1.0) -> None:
    moment = to.clock() - timedelta(hours=hours_ago)
    lines = [
        {"kind": "mlops.capture.v1", "model": MODEL, "time": moment.isoformat(), "request_id": f"r{i}",
         "rows": [{"id": f"r{i}", "features": row, "answered": "champion"}], "champion": {"version": VERSION, "us": 1}}
        for i, row in enumerate(rows)
    ]  # fmt: skip
    prefix = capture_prefix(MODEL, moment.strftime("%Y-%m-%d"), moment.strftime("%H"))
    to.data.put(f"{prefix}x.jsonl", "\n".join(map(json.dumps, lines)).encode())


@pytest.mark.parametrize(
    ("rows", "status", "drifted", "words"),
    [
        pytest.param(usual, "ok", [], "No column differs", id="nothing strange"),
        pytest.param(list, "insufficient", [], "0 rows in the window", id="an empty window"),
        pytest.param(lambda: usual(1), "insufficient", [], "1 rows in the window", id="one row"),
        pytest.param(changed(same=6.0), "drift", ["same"], "same: mean 6, was 5", id="a constant changed"),
        pytest.param(changed(n=1.0), "drift", ["n"], "n: mean 1", id="a column became constant"),
        pytest.param(changed(n=None), "drift", ["n"], "n is missing in 100 % of rows", id="all missing"),
        pytest.param(changed(extra=1), "ok", [], "New columns that the model does not know: extra", id="a new column"),
        pytest.param(lambda: without("n"), "drift", ["n"], "n is no longer there", id="a vanished column"),
        pytest.param(changed(n=lambda i: i % 2 or "text"), "drift", ["n"], "200 captured values were not of its type",
                     id="mixed types"),
        pytest.param(changed(d="2126-01-01"), "drift", ["d"], "d: mean 2126-01-01", id="dates in the future"),
        pytest.param(changed(d="2026-13-45"), "drift", ["d"], "400 captured values were not of its type",
                     id="dates that do not exist"),
        pytest.param(changed(c=lambda i: f"level {i * 25 % 10_000}"), "drift", ["c"],
                     "c: a level that training did not have in 100 % of rows", id="10,000 categories"),
        pytest.param(changed(n=math.inf), "drift", ["n"], "400 captured values were not of its type", id="infinities"),
        pytest.param(changed(n=1e308), "drift", ["n"], "100 % of values outside the range", id="huge numbers"),
    ],
)  # fmt: skip
def test_a_strange_window_has_a_defined_outcome_that_says_what_it_did(rows, status, drifted, words):
    made = world()
    sent = rows()
    send(made, sent)
    outcome = made.check.window(MODEL)
    assert (outcome.status, outcome.rows) == (status, len(sent))
    assert [d["feature"] for d in outcome.drifted] == drifted
    document = made.data.get(outcome.report_key.replace(".html", ".json")).decode()
    json.loads(document, parse_constant=pytest.fail)  # NaN and Infinity are no JSON
    page = made.data.get(outcome.report_key).decode()
    assert words in page
    assert words in document
    assert "nan" not in page.lower().split("</style>")[1]


def test_a_clock_that_is_ahead_puts_rows_into_the_window_of_their_time():
    made = world()
    send(made, usual(), hours_ago=-2)
    assert made.check.window(MODEL).rows == 0
    made.clock.forward(hours=24)
    assert made.check.window(MODEL).rows == 400


def test_infinities_in_a_file_lie_outside_the_range_and_are_not_averaged():
    """A file may hold what JSON does not; validation lets it through where the contract allows it."""
    made = world()
    table = Columns(
        (
            Column("n", "number", np.where(np.arange(400) % 2, np.inf, 0.0)),
            Column("same", "number", np.full(400, 5.0)),
            Column("d", "date", 20_454.0 + np.arange(400) % 28),
            category_column("c", ["ab"[i % 2] for i in range(400)]),
        )
    )
    made.put_part("p1", table)
    outcome = made.check.dataset(MODEL, "p1")
    assert [d["feature"] for d in outcome.drifted] == ["n"]
    assert outcome.drifted[0]["message"].startswith("n: mean 0, was ")
    assert "50 % of values outside the range" in outcome.drifted[0]["message"]
