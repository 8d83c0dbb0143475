"""Whatever is sent to predict is answered, and never with a fault of ours.

``make fuzz`` runs the same laws with 20,000 cases and more, and with new ones each time.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlops.inference.application import Application
from mlops.inference.errors import ERRORS, FIELD_ERRORS
from tests.unit.inference.small_models import MIXED_RECORD, TUMOUR_RECORD, application, proxy_event

CASES = int(os.environ.get("MLOPS_FUZZ_CASES", "0"))
many = settings(
    max_examples=CASES or 60,
    derandomize=not CASES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

PIECES = [
    "v2",
    "models",
    "tumour",
    "empty",
    "versions",
    "aaaaaaaaaaaa",
    "ready",
    "infer",
    "health",
    "..",
    "%00",
    "%ff",
    "",
]
MODELS = {"tumour": TUMOUR_RECORD, "price": {**MIXED_RECORD, "customer": "c-1"}}
#: What a number, a text or an absence can be in JSON, with the edges that parsers are known to stumble over.
EDGES = st.sampled_from(
    [
        None, True, False, 0, -0.0, 1, -1, 0.1, 1e308, -1e308, 5e-324, 3.4028235e38, 3.5e38, 2**31, 2**53 + 1, 2**63,
        2**64 - 1, 2**64, 10**400, float("nan"), float("inf"), float("-inf"), "", " ", "NaN", "null", "1", "1.0",
        "true", "2026-02-30", "2026-01-31", "9999-12-31T23:59:59+14:00", "-0001-01-01", "\x00", "\u2028", "\ud800",
        "\U0001f600", "a" * 10_000, [], {}, [[]], [None], {"": None}, {"a": {"b": [1]}},
    ]
)  # fmt: skip
SCALARS = EDGES | st.integers() | st.floats() | st.text(max_size=12)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)


def dumped(value: Any) -> str:
    """JSON as careless clients write it: NaN and lone surrogates included."""
    return json.dumps(value, ensure_ascii=False)


@st.composite
def near_records(draw: st.DrawFn) -> Any:
    """Requests like good ones, with something changed: fields left out, misnamed, added, of other types."""
    model = draw(st.sampled_from([*MODELS, "empty", "nobody"]))
    records = []
    for _ in range(draw(st.integers(0, 4))):
        record = dict(MODELS.get(model, TUMOUR_RECORD))
        for name in draw(st.lists(st.sampled_from(list(record)), max_size=3)):
            record[name] = draw(VALUES)
        for name in draw(st.lists(st.sampled_from(list(record)), max_size=1)):
            record.pop(name)
        record |= draw(st.dictionaries(st.text(max_size=8), VALUES, max_size=1))
        records.append(record)
    request: dict[str, Any] = {"model": model, "records": records}
    request |= draw(st.dictionaries(st.sampled_from(["partial", "explain", "interval"]), st.booleans() | VALUES))
    if draw(st.integers(0, 9)) == 0:
        request[draw(st.sampled_from(["model", "records", "rows", ""]))] = draw(VALUES)
    return request


@st.composite
def near_tensors(draw: st.DrawFn) -> Any:
    """``infer`` requests like good ones, named or packed, with something changed."""
    model = draw(st.sampled_from(list(MODELS)))
    rows = draw(st.integers(0, 3))
    datatypes = st.sampled_from(["FP16", "FP32", "FP64", "INT8", "INT64", "UINT8", "UINT64", "BOOL", "BYTES", "FP8"])
    inputs: list[dict[str, Any]] = []
    if draw(st.booleans()):
        data = draw(st.lists(SCALARS, min_size=rows * 3, max_size=rows * 3))
        inputs.append({"name": "x", "shape": [rows, 3], "datatype": draw(datatypes), "data": data})
    else:
        for name, value in MODELS[model].items():
            datatype = {bool: "BOOL", int: "INT64", float: "FP64", str: "BYTES"}[type(value)]
            inputs.append({"name": name, "shape": [rows, 1], "datatype": datatype, "data": [value] * rows})
    for tensor in inputs:
        if draw(st.integers(0, 5)) == 0:
            tensor[draw(st.sampled_from(["name", "shape", "datatype", "data", "parameters"]))] = draw(VALUES)
    request: dict[str, Any] = {"inputs": inputs}
    request |= draw(st.dictionaries(st.sampled_from(["id", "parameters", "outputs"]), VALUES, max_size=2))
    return model, request


def binary(path: str, body: bytes, **headers: str) -> dict[str, Any]:
    """A request whose body API Gateway handed on as bytes."""
    event = proxy_event("POST", path, base64.b64encode(body).decode(), isBase64Encoded=True)
    return {**event, "headers": {**event["headers"], **headers}}


def law(app: Application, event: dict[str, Any]) -> tuple[int, Any]:
    """What holds of every answer."""
    answer = app.handle(event, None)
    status, headers = answer["statusCode"], answer["headers"]
    assert all(type(name) is str and type(value) is str for name, value in headers.items())
    assert not any(set(value) & set("\r\n") for value in headers.values())
    if answer.get("isBase64Encoded"):
        return status, base64.b64decode(answer["body"])
    assert type(answer["body"]) is str
    answer["body"].encode()  # API Gateway takes UTF-8 only
    body = orjson.loads(answer["body"]) if "json" in headers["Content-Type"] and answer["body"] else answer["body"]
    if status >= 400 and "X-Error-Code" in headers:
        code = headers["X-Error-Code"]
        is_v2 = event["path"].startswith("/v2")
        assert status == (400 if is_v2 and ERRORS[code][0] == 422 else ERRORS[code][0])
        assert status < 500 or code == "no_champion", (code, body)
        if is_v2:
            assert type(body["error"]) is str
        else:
            assert body["error"]["code"] == code
            assert all(detail.get("code") in {*FIELD_ERRORS, None} for detail in body["error"]["details"])
    else:
        assert status in (200, 204)
    return status, body


@pytest.fixture(scope="module")
def app(models: Path) -> Application:
    return application(models, max_body_bytes=60_000)


@given(near_records())
@many
def test_records_that_are_almost_right(app: Application, sent: dict[str, Any]) -> None:
    status, body = law(app, proxy_event("POST", "/predict", dumped(sent)))
    if status == 200:
        assert len(body["predictions"]) == len(sent["records"])


@given(near_tensors())
@many
def test_tensors_that_are_almost_right(app: Application, sent: tuple[str, dict[str, Any]]) -> None:
    model, request = sent
    law(app, proxy_event("POST", f"/v2/models/{model}/infer", dumped(request)))


@given(VALUES, st.sampled_from(["/predict", "/v2/models/tumour/infer", "/v2/repository/index"]))
@many
def test_any_json(app: Application, value: Any, path: str) -> None:
    law(app, proxy_event("POST", path, dumped(value)))


@given(st.data(), near_records(), st.booleans())
@many
def test_bodies_damaged_on_their_way(app: Application, data: st.DataObject, sent: Any, zipped: bool) -> None:
    body = dumped(sent).encode(errors="surrogatepass")
    if zipped:
        body = gzip.compress(body, mtime=0)
    at = data.draw(st.integers(0, len(body)))
    damaged = body[:at] + data.draw(st.binary(max_size=8)) + body[at + data.draw(st.integers(0, 8)) :]
    law(app, binary("/predict", damaged))


@given(st.binary(max_size=200) | st.text(max_size=200), st.booleans())
@many
def test_any_bytes(app: Application, body: Any, is_base64: bool) -> None:
    event = binary("/predict", body) if isinstance(body, bytes) else proxy_event("POST", "/predict", body)
    law(app, {**event, "isBase64Encoded": is_base64})


@given(st.data(), st.integers(0, 3))
@many
def test_binary_tensors(app: Application, data: st.DataObject, rows: int) -> None:
    datatype = data.draw(st.sampled_from(["FP16", "FP32", "FP64", "INT16", "UINT32", "BOOL", "BYTES"]))
    values = data.draw(st.binary(max_size=64)) if data.draw(st.booleans()) else np.ones((rows, 3), "<f4").tobytes()
    tensor = {"name": "x", "shape": [rows, 3], "datatype": datatype, "parameters": {"binary_data_size": len(values)}}
    header = dumped({"inputs": [tensor], "parameters": {"binary_data_output": data.draw(st.booleans())}}).encode()
    length = data.draw(st.just(len(header)) | st.integers(-2, len(header) + 80))
    length_header = {"Inference-Header-Content-Length": str(length)}
    law(app, binary("/v2/models/tumour/infer", header + values, **length_header))


@given(
    st.sampled_from(["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "get", ""]),
    st.lists(
        st.sampled_from(PIECES) | st.text(max_size=6),
        max_size=6,
    ),
)
@many
def test_any_path(app: Application, method: str, parts: list[str]) -> None:
    law(app, proxy_event(method, "/" + "/".join(parts)))
