"""``POST /predict`` from event to response."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlops.inference.application import Application
from mlops.inference.errors import ERRORS
from mlops.manifest import Interval
from tests.unit.inference.small_models import (
    MIXED_RECORD,
    TUMOUR_RECORD,
    application,
    classifier,
    failing,
    linear,
    proxy_event,
    put_set,
    put_version,
    regressor,
)

Printed = Callable[[], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def app(models: Path) -> Application:
    return application(models)


def post(app: Application, body: Any, **changes: Any) -> tuple[int, dict[str, Any], dict[str, str]]:
    response = app.handle(proxy_event("POST", "/predict", body, **changes), None)
    return response["statusCode"], json.loads(response["body"]), response["headers"]


def code(app: Application, body: Any, **changes: Any) -> tuple[int, str]:
    status, answer, headers = post(app, body, **changes)
    assert headers["X-Error-Code"] == answer["error"]["code"]
    assert ERRORS[answer["error"]["code"]][0] == status
    assert answer["error"]["message"]
    return status, answer["error"]["code"]


def test_a_record_is_answered_with_label_and_probabilities(app: Application) -> None:
    status, answer, headers = post(app, {"model": "tumour", "records": [TUMOUR_RECORD]})
    assert status == 200
    (prediction,) = answer["predictions"]
    assert prediction["probabilities"].keys() == {"benign", "malignant"}
    assert sum(prediction["probabilities"].values()) == pytest.approx(1.0)
    assert prediction["label"] == max(prediction["probabilities"], key=prediction["probabilities"].get)
    assert headers["X-Model-Version"] == answer["version"] == "aaaaaaaaaaaa"
    assert headers["X-Inference-Id"] == answer["inference_id"]
    assert prediction["id"] == f"{answer['inference_id']}-0"


def test_a_batch_equals_its_records_one_by_one(app: Application) -> None:
    records = [{"radius": i / 3, "texture": None if i % 2 else i, "cells": i} for i in range(20)]
    _, together, _ = post(app, {"model": "tumour", "records": records})
    alone = [post(app, {"model": "tumour", "records": [r]})[1]["predictions"][0] for r in records]
    for one, other in zip(together["predictions"], alone, strict=True):
        assert one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-6)


def test_the_answer_is_what_the_onnx_model_gives(app: Application) -> None:
    _, answer, _ = post(app, {"model": "price", "records": [MIXED_RECORD]})
    model = app.models.champion("price")
    expected = model.run(model.parser.parse([MIXED_RECORD]).matrix)
    assert np.float32(answer["predictions"][0]["value"]) == expected[0, 0]


def test_the_threshold_decides_the_label(tmp_path: Path) -> None:
    for version, threshold in (("aaaaaaaaaaaa", 0.01), ("dddddddddddd", 0.99)):
        put_version(tmp_path, classifier(version=version, threshold=threshold))
        put_set(tmp_path, {"tumour": (version, None)})
        _, answer, _ = post(application(tmp_path), {"model": "tumour", "records": [TUMOUR_RECORD]})
        assert answer["predictions"][0]["label"] == ("malignant" if threshold < 0.5 else "benign")


def test_one_bad_record_refuses_the_request_and_names_the_field(app: Application) -> None:
    status, answer, _ = post(app, {"model": "tumour", "records": [TUMOUR_RECORD, {**TUMOUR_RECORD, "radius": "big"}]})
    assert status == 422
    assert answer["error"]["code"] == "invalid_records"
    assert "'radius'" in answer["error"]["message"]
    (detail,) = answer["error"]["details"]
    assert (detail["record"], detail["field"], detail["code"]) == (1, "radius", "wrong_type")


def test_a_value_comes_with_its_interval_when_it_is_asked_for(tmp_path: Path) -> None:
    interval = Interval(0.9, (-1.0, 1.0), (0.5, 2.5))
    put_version(tmp_path, regressor(interval=interval))
    put_set(tmp_path, {"price": ("bbbbbbbbbbbb", None)})
    body = {"model": "price", "records": [MIXED_RECORD]}
    (plain,) = post(application(tmp_path), body)[1]["predictions"]
    (given_,) = post(application(tmp_path), {**body, "interval": True})[1]["predictions"]

    assert "interval" not in plain
    assert given_["value"] == plain["value"]
    half = float(np.interp(plain["value"], interval.values, interval.half_widths))
    assert given_["interval"] == {
        "low": pytest.approx(plain["value"] - half),
        "high": pytest.approx(plain["value"] + half),
        "coverage": 0.9,
    }


def test_a_version_without_intervals_says_so(app: Application) -> None:
    _, answer, _ = post(app, {"model": "price", "records": [MIXED_RECORD], "interval": True})
    assert answer["predictions"][0]["interval"] is None
    _, answer, _ = post(app, {"model": "tumour", "records": [TUMOUR_RECORD], "interval": True})
    assert "interval" not in answer["predictions"][0]


def test_partial_answers_the_good_records_in_their_places(app: Application) -> None:
    bad = {**TUMOUR_RECORD, "radius": "big"}
    status, answer, _ = post(app, {"model": "tumour", "records": [bad, TUMOUR_RECORD, 7], "partial": True})
    first, second, third = answer["predictions"]
    assert status == 200
    assert first["error"]["details"][0]["field"] == "radius"
    assert second["label"] in ("benign", "malignant")
    assert third["error"]["details"][0]["code"] == "not_an_object"
    assert [p["id"][-2:] for p in answer["predictions"]] == ["-0", "-1", "-2"]


def test_partial_without_a_good_record_is_still_an_answer(app: Application) -> None:
    status, answer, _ = post(app, {"model": "tumour", "records": [{}], "partial": True})
    assert status == 200
    assert answer["predictions"][0]["error"]["code"] == "invalid_records"


GOOD = {"model": "tumour", "records": [TUMOUR_RECORD]}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (None, "empty_body"),
        ("", "empty_body"),
        ("{", "invalid_json"),
        ("[]", "invalid_request"),
        ("null", "invalid_request"),
        ('"text"', "invalid_request"),
        ("{}", "invalid_request"),
        ({**GOOD, "modle": 1}, "invalid_request"),
        ({**GOOD, "model": ""}, "invalid_request"),
        ({**GOOD, "model": 7}, "invalid_request"),
        ({**GOOD, "records": {}}, "invalid_request"),
        ({**GOOD, "records": "abc"}, "invalid_request"),
        ({**GOOD, "partial": "yes"}, "invalid_request"),
        ({**GOOD, "interval": 1}, "invalid_request"),
        ({**GOOD, "records": []}, "empty_batch"),
        ({**GOOD, "model": "nobody"}, "unknown_model"),
        ({**GOOD, "model": "empty"}, "no_champion"),
        ({**GOOD, "records": [{}] * 10_001}, "batch_too_large"),
        ({**GOOD, "records": [None]}, "invalid_records"),
        ('{"model":"tumour","records":[{"radius":NaN,"texture":1,"cells":1}]}', "invalid_json"),
        ('{"model":"tumour","records":[{"radius":-Infinity,"texture":1,"cells":1}]}', "invalid_json"),
        ('{"model":"tumour","records":[{"radius":1e999,"texture":1,"cells":1}]}', "invalid_json"),
        ('{"model":"tumour","model":"price","records":[]}', "duplicate_key"),
        ('{"model":"tumour","records":[{"radius":1,"radius":2,"texture":1,"cells":1}]}', "duplicate_key"),
        ('{"model":"tumour","records":[{"radius":1,"r\\u0061dius":2,"texture":1,"cells":1}]}', "duplicate_key"),
        ('{"model":"tumour","records":[' + "[" * 2000 + "]" * 2000 + "]}", "too_deep"),
        ('{"model":"tumour","records":[' + "[" * 900 + "]" * 900 + "]}", "invalid_records"),
        ("\ufeff" + json.dumps(GOOD), "invalid_json"),
        ('{"model":"\ud800","records":[]}', "invalid_utf8"),
        ('{"model":"\\ud800","records":[]}', "invalid_json"),
        ("x" * 5_000_001, "body_too_large"),
    ],
)
def test_every_bad_body_has_a_defined_answer(app: Application, body: Any, expected: str) -> None:
    assert code(app, body)[1] == expected


def test_nan_is_explained(app: Application) -> None:
    _, answer, _ = post(app, '{"model":"tumour","records":[{"radius": NaN}]}')
    assert "send null" in answer["error"]["message"]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\xff\xfe", "invalid_utf8"),
        (json.dumps(GOOD).encode("utf-16"), "invalid_utf8"),
        (gzip.compress(b"{}", mtime=0)[:-9], "invalid_encoding"),
        (gzip.compress(b"{}", mtime=0) + b"more", "invalid_encoding"),
        (b"\x1f\x8bno gzip at all", "invalid_encoding"),
        (gzip.compress(b" " * 50_000_000), "body_too_large"),
    ],
)
def test_every_bad_binary_body_has_a_defined_answer(app: Application, data: bytes, expected: str) -> None:
    assert code(app, base64.b64encode(data).decode(), isBase64Encoded=True)[1] == expected


def test_text_that_is_no_base64_is_refused(app: Application) -> None:
    assert code(app, "***", isBase64Encoded=True)[1] == "invalid_encoding"


@pytest.mark.parametrize("wrap", [lambda b: b, gzip.compress])
def test_base64_and_gzip_bodies_are_read(app: Application, wrap: Callable[[bytes], bytes]) -> None:
    body = base64.b64encode(wrap(json.dumps(GOOD).encode())).decode()
    assert post(app, body, isBase64Encoded=True)[0] == 200


def test_colons_and_escapes_in_values_are_no_duplicates(app: Application) -> None:
    record = {**MIXED_RECORD, "colour": 'a":b:{"', "since": "2026-01-31T10:00:00Z", "customer": "x:y\\u003a"}
    assert post(app, {"model": "price", "records": [record, record]})[0] == 200


def test_values_outside_their_range_are_answered_with_a_warning(app: Application) -> None:
    status, answer, _ = post(app, {"model": "tumour", "records": [{**TUMOUR_RECORD, "radius": 99}]})
    assert status == 200
    assert answer["warnings"][0]["field"] == "radius"


@pytest.mark.parametrize(
    ("authorizer", "status"),
    [
        ({"models": "*", "scopes": "predict"}, 200),
        ({"models": "price tumour", "scopes": "predict models:read"}, 200),
        ({}, 200),
        ({"models": "tumou", "scopes": "predict"}, 403),
        ({"models": "", "scopes": "predict"}, 403),
        ({"models": "*", "scopes": "models:read"}, 403),
    ],
)
def test_the_token_permits_models(app: Application, authorizer: dict[str, str], status: int) -> None:
    event = proxy_event("POST", "/predict", GOOD)
    event["requestContext"]["authorizer"] = authorizer
    assert app.handle(event, None)["statusCode"] == status


def test_a_model_that_is_not_permitted_is_not_revealed(app: Application) -> None:
    event = proxy_event("POST", "/predict", {**GOOD, "model": "nobody"})
    event["requestContext"]["authorizer"] = {"models": "price", "scopes": "predict"}
    assert app.handle(event, None)["statusCode"] == 403


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/predict", 405), ("POST", "/predictions", 404), ("POST", "/predict/", 200), ("OPTIONS", "/predict", 405)],
)
def test_paths_and_methods(app: Application, method: str, path: str, status: int) -> None:
    answer = app.handle(proxy_event(method, path, GOOD), None)
    assert answer["statusCode"] == status
    if status == 405:  # RFC 9110 wants it; schemathesis found that it was missing
        assert answer["headers"]["Allow"] == "POST"


def test_other_origins_are_answered_when_configured(models: Path) -> None:
    app = application(models, cors_origin="https://app.example.com")
    preflight = app.handle(proxy_event("OPTIONS", "/predict"), None)
    assert preflight["statusCode"] == 204
    assert preflight["headers"]["Access-Control-Allow-Origin"] == "https://app.example.com"
    for answer in (post(app, GOOD), post(app, {})):  # a page must be able to read what was wrong as well
        assert answer[2]["Access-Control-Allow-Origin"] == "https://app.example.com"
        assert "X-Error-Code" in answer[2]["Access-Control-Expose-Headers"]


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/predict", "POST"),
        ("/openapi.json", "GET"),
        ("/v2", "GET"),
        ("/v2/models", "GET"),
        ("/v2/models/tumour", "GET"),
        ("/v2/models/tumour/versions/1/ready", "GET"),
        ("/v2/models/tumour/infer", "POST"),
        ("/v2/repository/index", "POST"),
    ],
)
def test_every_route_answers_a_browser_that_asks_first(models: Path, path: str, method: str) -> None:
    answer = application(models, cors_origin="*").handle(proxy_event("OPTIONS", path), None)
    assert (answer["statusCode"], answer["body"]) == (204, "")
    assert answer["headers"]["Access-Control-Allow-Methods"] == method
    assert {"Authorization", "X-Api-Key"} <= set(answer["headers"]["Access-Control-Allow-Headers"].split(", "))
    assert application(models).handle(proxy_event("OPTIONS", path), None)["statusCode"] == 405


def test_nobody_asks_for_a_path_that_does_not_exist(models: Path) -> None:
    answer = application(models, cors_origin="*").handle(proxy_event("OPTIONS", "/ledger"), None)
    assert answer["statusCode"] == 404


def test_no_model_set_is_an_answer_and_not_a_crash(tmp_path: Path) -> None:
    assert code(application(tmp_path), GOOD) == (404, "unknown_model")
    assert code(application(Path("")), GOOD) == (404, "unknown_model")


def test_a_version_that_cannot_be_loaded_hurts_only_its_own_model(
    models: Path, tmp_path: Path, printed: Printed
) -> None:
    put_version(tmp_path, classifier())
    put_version(tmp_path, classifier("broken", "eeeeeeeeeeee"))
    (tmp_path / "broken" / "eeeeeeeeeeee" / "model.onnx").write_bytes(b"no model")
    put_set(tmp_path, {"tumour": ("aaaaaaaaaaaa", None), "broken": ("eeeeeeeeeeee", None)})
    app = application(tmp_path)
    assert post(app, GOOD)[0] == 200
    printed()
    assert code(app, {**GOOD, "model": "broken"}) == (503, "model_unavailable")
    log = printed()[0]
    assert log["level"] == "ERROR"
    assert "broken/eeeeeeeeeeee" in log["reasons"]
    assert str(tmp_path) not in json.dumps(log)


@pytest.mark.parametrize("damage", ["{", "[]", '{"models": 7}', '{"models": {"tumour": "x"}}'])
def test_a_damaged_set_is_an_answer(tmp_path: Path, damage: str) -> None:
    tmp_path.joinpath("set.json").write_text(damage)
    assert code(application(tmp_path), GOOD) == (404, "unknown_model")


def test_a_model_whose_width_differs_from_its_manifest_is_not_loaded(tmp_path: Path) -> None:
    put_version(tmp_path, classifier(), graph=lambda columns, outputs: linear(columns + 1, outputs, 1))
    put_set(tmp_path, {"tumour": ("aaaaaaaaaaaa", None)})
    assert code(application(tmp_path), GOOD) == (503, "model_unavailable")


@pytest.mark.parametrize("graph", [failing, lambda c, o: linear(c, o, 1, nan_safe=False)])
def test_a_model_that_fails_or_gives_nan_is_a_defined_error(tmp_path: Path, graph: Any) -> None:
    put_version(tmp_path, classifier(), graph=graph)
    put_set(tmp_path, {"tumour": ("aaaaaaaaaaaa", None)})
    app = application(tmp_path)
    gap = {"radius": 1, "texture": None, "cells": 1}
    assert code(app, {"model": "tumour", "records": [gap]}) == (500, "model_failed")
    status, answer, _ = post(app, {"model": "tumour", "records": [gap], "partial": True})
    assert status == 200
    assert answer["predictions"][0]["error"]["code"] == "model_failed"


def test_nan_for_one_record_does_not_sink_the_others_of_a_partial_request(tmp_path: Path) -> None:
    put_version(tmp_path, classifier(), graph=lambda c, o: linear(c, o, 1, nan_safe=False))
    put_set(tmp_path, {"tumour": ("aaaaaaaaaaaa", None)})
    gap = {"radius": 1, "texture": None, "cells": 1}
    _, answer, _ = post(application(tmp_path), {"model": "tumour", "records": [gap, TUMOUR_RECORD], "partial": True})
    assert "error" in answer["predictions"][0]
    assert "label" in answer["predictions"][1]


def test_an_unexpected_fault_tells_the_caller_nothing(
    models: Path, monkeypatch: pytest.MonkeyPatch, printed: Printed
) -> None:
    app = application(models)
    secret = "secret of another caller"

    def explode(*_: Any, **__: Any) -> None:
        raise RuntimeError(secret)

    monkeypatch.setattr(app.scorer, "score", explode)
    status, answer, _ = post(app, GOOD)
    lines = printed()
    assert (status, answer["error"]["code"]) == (500, "internal_error")
    assert answer["error"]["request_id"] == "req-1"
    assert secret not in json.dumps([answer, lines])
    assert lines[0]["level"] == "ERROR"
    assert lines[0]["fault"].startswith("RuntimeError at test_predict_records.py:")
    assert lines[-1]["Errors"] == 1


def test_an_answer_that_is_too_large_to_send_is_refused(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlops.inference.application.MAX_ANSWER_BYTES", 500)
    assert code(application(models), {**GOOD, "records": [TUMOUR_RECORD] * 10}) == (413, "batch_too_large")


def test_every_error_in_the_table_is_documented() -> None:
    text = Path("docs/predict.md").read_text()
    for name, (status, _) in ERRORS.items():
        assert f"| `{name}` | {status} |" in text


BODIES = st.text(max_size=60) | st.binary(max_size=60).map(lambda b: base64.b64encode(b).decode())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
REQUESTS = st.fixed_dictionaries(
    {},
    optional={
        "model": st.sampled_from(["tumour", "price", "empty", "?"]) | JSON,
        "records": st.lists(
            st.dictionaries(st.sampled_from([*TUMOUR_RECORD, *MIXED_RECORD, "customer"]), JSON, max_size=9) | JSON,
            max_size=4,
        )
        | JSON,
        "partial": st.booleans() | JSON,
    },
).map(lambda value: json.dumps(value, allow_nan=True))


@given(body=BODIES | JSON.map(json.dumps) | REQUESTS, encoded=st.booleans())
@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_body_whatever_gives_a_server_error(app: Application, body: str, encoded: bool) -> None:
    response = app.handle(proxy_event("POST", "/predict", body, isBase64Encoded=encoded), None)
    answer = json.loads(response["body"])
    assert response["statusCode"] < 500 or answer["error"]["code"] == "no_champion"
    if response["statusCode"] != 200:
        assert ERRORS[answer["error"]["code"]][0] == response["statusCode"]
