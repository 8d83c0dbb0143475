"""The Open Inference Protocol v2, request by request. ``tests/integration/inference`` uses clients of others."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlops.inference.application import Application
from tests.unit.inference.small_models import (
    MIXED,
    MIXED_RECORD,
    TUMOUR_RECORD,
    application,
    duel,
    proxy_event,
    routes,
)

DATATYPES = {"number": "FP64", "integer": "INT64", "boolean": "BOOL", "category": "BYTES", "date": "BYTES"}


@pytest.fixture(scope="module")
def app(models: Path) -> Application:
    return application(models)


def call(app: Application, method: str, path: str, body: Any = None, **changes: Any) -> tuple[int, Any]:
    response = app.handle(proxy_event(method, path, body, **changes), None)
    return response["statusCode"], json.loads(response["body"])


def tensor(name: str, datatype: str, data: list[Any], shape: list[int] | None = None) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape or [len(data)], "data": data}


def mixed_inputs(rows: int = 1) -> list[dict[str, Any]]:
    return [tensor(f.name, DATATYPES[f.type], [MIXED_RECORD[f.name]] * rows) for f in MIXED]


def records_value(app: Application, record: dict[str, Any]) -> float:
    body = {"model": "price", "records": [record]}
    value: float = call(app, "POST", "/predict", body)[1]["predictions"][0]["value"]
    return value


def test_server_and_health(app: Application) -> None:
    status, answer = call(app, "GET", "/v2")
    assert status == 200
    assert answer.keys() == {"name", "version", "extensions"}
    assert call(app, "GET", "/v2/health/live") == (200, {"live": True})
    assert call(app, "GET", "/v2/health/ready") == (200, {"ready": True})


def test_health_tells_when_a_champion_cannot_be_loaded(tmp_path: Path) -> None:
    duel(tmp_path)
    (tmp_path / "tumour" / "aaaaaaaaaaaa" / "manifest.json").write_text("{}")
    app = application(tmp_path)
    assert call(app, "GET", "/v2/health/ready") == (503, {"ready": False})
    assert call(app, "GET", "/v2/health/live")[0] == 200
    assert call(app, "GET", "/v2/models/tumour/ready") == (503, {"name": "tumour", "ready": False})


def test_metadata_names_a_tensor_per_feature(app: Application) -> None:
    status, answer = call(app, "GET", "/v2/models/price")
    assert status == 200
    assert [(i["name"], i["datatype"]) for i in answer["inputs"]] == [
        *((f.name, DATATYPES[f.type]) for f in MIXED),
        ("customer", "BYTES"),
    ]
    assert answer["outputs"] == [{"name": "value", "datatype": "FP32", "shape": [-1, 1]}]
    assert call(app, "GET", "/v2/models/price/versions/bbbbbbbbbbbb") == (200, answer)


def test_models_are_listed_as_far_as_the_token_permits(app: Application) -> None:
    assert call(app, "GET", "/v2/models")[1] == {"models": ["tumour", "price", "empty"]}
    event = proxy_event("GET", "/v2/models")
    event["requestContext"]["authorizer"] = {"models": "price", "scopes": "models:read"}
    assert json.loads(app.handle(event, None)["body"]) == {"models": ["price"]}
    event["path"] = "/v2/models/tumour"
    assert app.handle(event, None)["statusCode"] == 403
    event["path"] = "/v2/models/price"
    assert app.handle(event, None)["statusCode"] == 200


def test_named_tensors_equal_records(app: Application) -> None:
    status, answer = call(app, "POST", "/v2/models/price/infer", {"id": "42", "inputs": mixed_inputs(3)})
    assert status == 200
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("42", "price", "bbbbbbbbbbbb")
    (output,) = answer["outputs"]
    assert (output["name"], output["datatype"], output["shape"]) == ("value", "FP32", [3, 1])
    assert output["data"] == pytest.approx([records_value(app, MIXED_RECORD)] * 3)


def test_a_packed_tensor_equals_named_ones(app: Application) -> None:
    named = [tensor("radius", "FP32", [1.5, 2.5]), tensor("texture", "FP64", [3, 4]), tensor("cells", "INT32", [5, 6])]
    packed = [tensor("predict", "FP64", [[1.5, 3, 5], [2.5, 4, 6]], [2, 3])]
    flat = [tensor("predict", "FP32", [1.5, 3, 5, 2.5, 4, 6], [2, 3])]
    answers = [call(app, "POST", "/v2/models/tumour/infer", {"inputs": i}) for i in (named, packed, flat)]
    assert [status for status, _ in answers] == [200] * 3
    outputs = [answer["outputs"] for _, answer in answers]
    assert outputs[0] == outputs[1] == outputs[2]
    label, probabilities = outputs[0]
    assert (label["datatype"], label["shape"]) == ("BYTES", [2])
    assert (probabilities["datatype"], probabilities["shape"]) == ("FP32", [2, 2])
    assert len(probabilities["data"]) == 4


@pytest.mark.parametrize("datatype", ["INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "FP64"])
def test_every_datatype_that_fits_is_read(app: Application, datatype: str) -> None:
    inputs = [tensor(n, datatype, [7]) for n in TUMOUR_RECORD]
    assert call(app, "POST", "/v2/models/tumour/infer", {"inputs": inputs})[0] == 200


def test_null_is_missing(app: Application) -> None:
    inputs = [tensor("radius", "FP64", [1]), tensor("texture", "FP64", [None]), tensor("cells", "INT64", [1])]
    assert call(app, "POST", "/v2/models/tumour/infer", {"inputs": inputs})[0] == 200


def test_outputs_can_be_chosen(app: Application) -> None:
    body = {"inputs": [tensor("x", "FP64", [1, 2, 3], [1, 3])], "outputs": [{"name": "probabilities"}]}
    assert [o["name"] for o in call(app, "POST", "/v2/models/tumour/infer", body)[1]["outputs"]] == ["probabilities"]


def binary_event(header: dict[str, Any], *blobs: bytes, path: str = "/v2/models/tumour/infer") -> dict[str, Any]:
    start = json.dumps(header).encode()
    event = proxy_event("POST", path, base64.b64encode(start + b"".join(blobs)).decode(), isBase64Encoded=True)
    event["headers"]["Inference-Header-Content-Length"] = str(len(start))
    return event


def binary_tensor(name: str, array: Any, datatype: str) -> tuple[dict[str, Any], bytes]:
    blob = array.tobytes()
    size = {"binary_data_size": len(blob)}
    return {"name": name, "shape": list(array.shape), "datatype": datatype, "parameters": size}, blob


def test_binary_tensors_in_and_out(app: Application) -> None:
    values = np.array([[1.5, np.nan, 5], [2.5, 4, 6]], dtype=np.float32)
    spec, blob = binary_tensor("x", values, "FP32")
    header = {"inputs": [spec], "parameters": {"binary_data_output": True}}
    response = app.handle(binary_event(header, blob), None)
    assert response["statusCode"] == 200
    assert response["isBase64Encoded"] is True
    assert response["headers"]["Content-Type"] == "application/octet-stream"
    body = base64.b64decode(response["body"])
    length = int(response["headers"]["Inference-Header-Content-Length"])
    answer = json.loads(body[:length])
    label, probabilities = answer["outputs"]
    size = label["parameters"]["binary_data_size"]
    assert body[length : length + size][4:].startswith((b"benign", b"malignant"))
    scores = np.frombuffer(body[length + size :], dtype="<f4").reshape(probabilities["shape"])
    plain = {"inputs": [tensor("x", "FP32", [1.5, None, 5, 2.5, 4, 6], [2, 3])], "outputs": [{"name": "probabilities"}]}
    expected = call(app, "POST", "/v2/models/tumour/infer", plain)[1]["outputs"][0]["data"]
    assert scores.ravel().tolist() == expected


X = tensor("x", "FP64", [1, 2, 3], [1, 3])


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("{", "not JSON"),
        ([], "inputs"),
        ({}, "inputs"),
        ({"inputs": []}, "inputs"),
        ({"inputs": [7]}, "name"),
        ({"inputs": [{**X, "shape": None}]}, "shape"),
        ({"inputs": [{**X, "shape": [1, -3]}]}, "shape"),
        ({"inputs": [{**X, "shape": [1, True]}]}, "shape"),
        ({"inputs": [{**X, "shape": [1, 1, 3]}]}, "shape"),
        ({"inputs": [{**X, "shape": [2**62, 3]}]}, "needs"),
        ({"inputs": [{**X, "shape": [1, 4], "data": [1, 2, 3, 4]}]}, "columns"),
        ({"inputs": [{**X, "datatype": "FP128"}]}, "datatype"),
        ({"inputs": [{**X, "data": "abc"}]}, "array"),
        ({"inputs": [{**X, "data": [[1, 2], 3]}]}, "mixes"),
        ({"inputs": [{**X, "data": [[[1, 2, 3]]]}]}, "needs"),
        ({"inputs": [{**X, "data": [1, 2, "3"]}]}, "not FP64"),
        ({"inputs": [{**X, "datatype": "INT8", "data": [1, 2, 300]}]}, "outside INT8"),
        ({"inputs": [{**X, "datatype": "UINT8", "data": [1, 2, -3]}]}, "outside UINT8"),
        ({"inputs": [{**X, "datatype": "BOOL"}]}, "not BOOL"),
        ({"inputs": [X, X]}, "twice"),
        ({"inputs": [X], "id": 7}, "id"),
        ({"inputs": [X], "outputs": {}}, "outputs"),
        ({"inputs": [X], "outputs": [{"name": "nothing"}]}, "output"),
        ({"inputs": [X], "parameters": []}, "parameters"),
        ({"inputs": [tensor("radius", "FP64", [1])]}, "'cells' is missing"),
        ({"inputs": [tensor("radius", "FP64", [1]), tensor("cells", "INT64", [1, 2])]}, "rows"),
        ({"inputs": [tensor("radius", "FP64", [1, 2], [1, 2]), tensor("cells", "INT64", [1])]}, "[n, 1]"),
        ({"inputs": [{**X, "parameters": {"binary_data_size": 24}}]}, "binary_data_size"),
    ],
)
def test_every_bad_request_is_a_text_with_400(app: Application, body: Any, says: str) -> None:
    status, answer = call(app, "POST", "/v2/models/tumour/infer", body)
    assert status == 400
    assert answer.keys() == {"error"}
    assert says in answer["error"]


@pytest.mark.parametrize("length", ["-1", "x", "99999", ""])
def test_a_wrong_header_length_is_refused(app: Application, length: str) -> None:
    event = binary_event({"inputs": [X]})
    event["headers"]["Inference-Header-Content-Length"] = length
    assert app.handle(event, None)["statusCode"] == 400


@pytest.mark.parametrize(
    "blob",
    [b"", b"\x01", b"\x05\x00\x00\x00ab", b"\x01\x00\x00\x00\xff", b"\xff\xff\xff\xffa", b"\x00\x00\x00\x00" * 9],
)
def test_damaged_binary_texts_are_refused(app: Application, blob: bytes) -> None:
    inputs = [i for i in mixed_inputs() if i["name"] != "colour"]
    size = {"binary_data_size": len(blob)}
    inputs.append({"name": "colour", "datatype": "BYTES", "shape": [1], "parameters": size})
    event = binary_event({"inputs": inputs}, blob, path="/v2/models/price/infer")
    assert app.handle(event, None)["statusCode"] == 400


def test_binary_data_that_nobody_names_is_refused(app: Application) -> None:
    assert app.handle(binary_event({"inputs": [X]}, b"more"), None)["statusCode"] == 400


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/models/nobody", 404),
        ("GET", "/v2/models/empty", 503),
        ("POST", "/v2/models/empty/infer", 503),
        ("GET", "/v2/models/tumour/versions/123", 404),
        ("POST", "/v2/models/tumour/versions/123/infer", 404),
        ("GET", "/v2/models/tumour/infer", 405),
        ("POST", "/v2/models/tumour", 405),
        ("GET", "/v2/models/tumour/wrong", 404),
        ("GET", "/v2/models/", 200),
        ("GET", "/v2/nothing", 404),
        ("GET", "/", 404),
    ],
)
def test_paths(app: Application, method: str, path: str, status: int) -> None:
    body = {"inputs": [X]} if method == "POST" else None
    assert call(app, method, path, body)[0] == status


def test_a_version_in_the_path_is_the_one_that_answers(tmp_path: Path) -> None:
    duel(tmp_path)
    app = application(tmp_path, routes=routes(0.5))
    answers = {}
    for version in ("aaaaaaaaaaaa", "cccccccccccc"):
        path = f"/v2/models/tumour/versions/{version}/infer"
        rows = [tensor("x", "FP64", [[i, i, i] for i in range(20)], [20, 3])]
        status, answers[version] = call(app, "POST", path, {"inputs": rows})
        assert status == 200
        assert answers[version]["model_version"] == version
    assert answers["aaaaaaaaaaaa"]["outputs"] != answers["cccccccccccc"]["outputs"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)
INPUT = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from([*TUMOUR_RECORD, "x", *MIXED_RECORD]) | JSON,
        "shape": st.lists(st.integers(-1, 4), max_size=3) | JSON,
        "datatype": st.sampled_from(["FP64", "INT8", "BOOL", "BYTES"]) | JSON,
        "data": st.lists(st.floats(allow_nan=False) | st.integers() | st.text(max_size=3) | JSON, max_size=4) | JSON,
        "parameters": st.fixed_dictionaries({}, optional={"binary_data_size": st.integers(-1, 9) | JSON}) | JSON,
    },
)
REQUEST = st.fixed_dictionaries(
    {},
    optional={
        "inputs": st.lists(INPUT, max_size=4) | JSON,
        "id": JSON,
        "parameters": JSON,
        "outputs": st.lists(st.fixed_dictionaries({}, optional={"name": JSON, "parameters": JSON}), max_size=2) | JSON,
    },
)


@given(request=REQUEST, blob=st.binary(max_size=12), model=st.sampled_from(["tumour", "price"]), binary=st.booleans())
@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_infer_request_whatever_gives_a_server_error(
    app: Application, request: Any, blob: bytes, model: str, binary: bool
) -> None:
    path = f"/v2/models/{model}/infer"
    event = binary_event(request, blob, path=path) if binary else proxy_event("POST", path, request)
    response = app.handle(event, None)
    assert response["statusCode"] < 500
    if response["statusCode"] != 200:
        assert isinstance(json.loads(response["body"])["error"], str)
