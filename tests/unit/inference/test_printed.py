"""What ``predict`` prints: captures by the personal-data rules, metrics, logs without values."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from mlops.capture.reading import CaptureLine
from mlops.inference.application import Application
from mlops.inference.emit import MAX_LINE_BYTES, is_sampled
from tests.unit.inference.small_models import (
    MIXED,
    MIXED_RECORD,
    TUMOUR_RECORD,
    application,
    proxy_event,
    put_set,
    put_version,
    regressor,
)

Printed = Callable[[], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def app(models: Path) -> Application:
    return application(models)


def send(app: Application, body: dict[str, Any]) -> dict[str, Any]:
    response: dict[str, Any] = app.handle(proxy_event("POST", "/predict", body), None)
    return response


def test_a_capture_line_is_what_the_architecture_says(app: Application, printed: Printed) -> None:
    record = {**MIXED_RECORD, "customer": "c-9"}
    answer = json.loads(send(app, {"model": "price", "records": [record]})["body"])
    capture, _ = printed()
    line = CaptureLine.from_dict(capture)
    assert capture["kind"] == "mlops.capture.v1"
    assert (line.model, line.request_id, line.step, line.release) == ("price", "req-1", None, None)
    assert abs((line.time - datetime.now(line.time.tzinfo)).total_seconds()) < 60
    assert line.rows[0].id == answer["predictions"][0]["id"]
    assert line.rows[0].champion == (answer["predictions"][0]["value"],)
    assert line.champion.version == "bbbbbbbbbbbb"
    assert line.champion.us >= 0
    assert line.challenger is None


def test_personal_data_is_dropped_or_pseudonymised(app: Application, printed: Printed) -> None:
    for customer in ("c-9", "c-9", "c-8"):
        send(app, {"model": "price", "records": [{**MIXED_RECORD, "customer": customer, "age": 4711}]})
    rows = [x["rows"][0] for x in printed() if x.get("kind")]
    features = rows[0]["features"]
    assert features.keys() == {f.name for f in MIXED} - {"email"}
    assert "4711" not in json.dumps(rows)
    assert "c-9" not in json.dumps(rows)
    assert len(features["age"]) == 32
    assert rows[0]["entity"] == rows[1]["entity"] != rows[2]["entity"]
    assert features["colour"] == "red"


def test_without_a_pseudonym_key_personal_data_is_left_out(models: Path, printed: Printed) -> None:
    send(application(models, pseudonym_key=b""), {"model": "price", "records": [{**MIXED_RECORD, "customer": "c-9"}]})
    row = printed()[0]["rows"][0]
    assert row["entity"] is None
    assert "age" not in row["features"]


def test_missing_values_are_null_in_a_capture(app: Application, printed: Printed) -> None:
    record = {k: v for k, v in TUMOUR_RECORD.items() if k != "texture"}
    send(app, {"model": "tumour", "records": [record]})
    assert printed()[0]["rows"][0]["features"] == {**record, "texture": None}


def test_wrong_records_are_not_captured(app: Application, printed: Printed) -> None:
    send(app, {"model": "tumour", "records": [{"radius": "bad"}, TUMOUR_RECORD], "partial": True})
    line = printed()[0]
    assert [row["id"][-2:] for row in line["rows"]] == ["-1"]
    send(app, {"model": "tumour", "records": [{"radius": "bad"}]})
    assert not [x for x in printed() if x.get("kind")]


def test_a_large_batch_is_captured_whole_in_lines_that_the_log_takes(
    app: Application, capsys: pytest.CaptureFixture[str]
) -> None:
    send(app, {"model": "tumour", "records": [{**TUMOUR_RECORD, "cells": i % 1000} for i in range(5000)]})
    lines = [x for x in capsys.readouterr().out.splitlines() if "capture" in x]
    assert len(lines) > 1
    assert max(len(x.encode()) for x in lines) <= MAX_LINE_BYTES
    positions = [int(row["id"].rsplit("-", 1)[1]) for x in lines for row in json.loads(x)["rows"]]
    assert positions == list(range(5000))


def test_a_single_record_that_no_log_line_takes_keeps_its_scores(app: Application, printed: Printed) -> None:
    send(app, {"model": "price", "records": [{**MIXED_RECORD, "colour": "x" * 300_000}]})
    (row,) = printed()[0]["rows"]
    assert row["features"] == {}
    assert row["champion"]


def test_sampling_keeps_the_rate_and_is_decided_by_the_id(tmp_path: Path, printed: Printed) -> None:
    put_version(tmp_path, regressor(capture_rate=0.0))
    put_set(tmp_path, {"price": ("bbbbbbbbbbbb", None)})
    send(application(tmp_path), {"model": "price", "records": [MIXED_RECORD]})
    assert not [x for x in printed() if x.get("kind")]
    ids = [f"{i * 2654435761 % 2**32:08x}" for i in range(10_000)]
    assert sum(is_sampled(i, 0.25) for i in ids) == pytest.approx(2500, abs=200)
    assert all(is_sampled(i, 1.0) for i in ids)


def test_metrics_are_one_line_in_embedded_metric_format(app: Application, printed: Printed) -> None:
    send(app, {"model": "tumour", "records": [TUMOUR_RECORD]})
    line = printed()[-1]
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "ServerlessMLOps"
    assert directive["Dimensions"] == [["stack", "model"]]
    assert {m["Name"] for m in directive["Metrics"]} <= line.keys()
    assert (line["stack"], line["model"], line["Requests"], line["Errors"], line["Rejected"]) == (
        "test",
        "tumour",
        1,
        0,
        0,
    )


@pytest.mark.parametrize(
    ("body", "model", "errors", "rejected"),
    [
        ({"model": "invented-by-the-caller", "records": []}, "-", 0, 1),
        ({"model": "tumour", "records": []}, "tumour", 0, 1),
        ({"model": "empty", "records": [{}]}, "empty", 0, 1),
    ],
)
def test_callers_cannot_invent_metrics(
    app: Application, printed: Printed, body: dict[str, Any], model: str, errors: int, rejected: int
) -> None:
    send(app, body)
    line = printed()[-1]
    assert (line["model"], line["Errors"], line["Rejected"]) == (model, errors, rejected)


def test_a_refusal_is_logged_with_its_code_and_nothing_of_the_body(app: Application, printed: Printed) -> None:
    send(app, {"model": "tumour", "records": [{**TUMOUR_RECORD, "radius": "my secret", "my field": 1}]})
    log = printed()[0]
    assert (log["level"], log["code"], log["service"], log["correlation_id"]) == (
        "WARNING",
        "invalid_records",
        "predict",
        "req-1",
    )
    assert "secret" not in json.dumps(log)
    assert "my field" not in json.dumps(log)


def test_a_token_never_reaches_the_log(app: Application, capsys: pytest.CaptureFixture[str]) -> None:
    event = proxy_event("POST", "/predict", {"model": "tumour", "records": [TUMOUR_RECORD]})
    event["headers"]["Authorization"] = "Bearer very.secret.token"
    app.handle(event, None)
    app.handle({**event, "body": "{"}, None)
    assert "very.secret" not in capsys.readouterr().out


def test_only_the_common_line_is_printed_when_all_is_well(app: Application, printed: Printed) -> None:
    send(app, {"model": "tumour", "records": [TUMOUR_RECORD]})
    assert [bool(x.get("kind")) for x in printed()] == [True, False]
