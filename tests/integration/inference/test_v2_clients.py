"""The Open Inference Protocol as Triton's HTTP client speaks it, in its default binary form and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.http as httpclient

from mlops.inference.application import Application
from tests.integration.inference.http_door import served
from tests.unit.inference.small_models import MIXED_RECORD, application, two_models


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Application:
    folder = tmp_path_factory.mktemp("models")
    two_models(folder)
    return application(folder)


@pytest.fixture(scope="module")
def client(app: Application) -> Iterator[Any]:
    with served(app) as address:
        client = httpclient.InferenceServerClient(address)
        yield client
        client.close()


def test_health_and_metadata(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("tumour")
    assert not client.is_model_ready("empty")
    assert client.get_server_metadata()["name"] == "serverless-mlops"
    metadata = client.get_model_metadata("tumour")
    assert [i["name"] for i in metadata["inputs"]] == ["radius", "texture", "cells"]
    index = client.get_model_repository_index()
    assert {(m["name"], m["state"]) for m in index} == {("tumour", "READY"), ("price", "READY")}


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
@pytest.mark.parametrize("dtype", ["FP32", "FP64"])
def test_a_packed_tensor(app: Application, client: Any, binary_in: bool, binary_out: bool, dtype: str) -> None:
    values = np.array([[14.5, 20.25, 12], [3, 4, 5]], dtype=np.float32 if dtype == "FP32" else np.float64)
    tensor = httpclient.InferInput("x", list(values.shape), dtype)
    tensor.set_data_from_numpy(values, binary_data=binary_in)
    outputs = [httpclient.InferRequestedOutput(n, binary_data=binary_out) for n in ("label", "probabilities")]
    result = client.infer("tumour", [tensor], outputs=outputs, request_id="my-id")
    model = app.models.champion("tumour")
    expected = model.run(values.astype(np.float32))
    np.testing.assert_array_equal(result.as_numpy("probabilities"), expected)
    assert result.get_response()["id"] == "my-id"
    labels = [v.decode() if isinstance(v, bytes) else v for v in result.as_numpy("label")]
    assert labels == [model.manifest.classes[i] for i in (expected[:, 1] >= 0.5).astype(int)]


@pytest.mark.parametrize("binary", [True, False])
def test_named_tensors_of_every_type(app: Application, client: Any, binary: bool) -> None:
    dtypes: dict[str, tuple[str, Any]] = {
        "amount": ("FP32", np.float32),
        "age": ("INT64", np.int64),
        "active": ("BOOL", np.bool_),
        "since": ("BYTES", np.object_),
        "colour": ("BYTES", np.object_),
        "size": ("BYTES", np.object_),
        "email": ("BYTES", np.object_),
    }
    inputs = []
    for name, (datatype, dtype) in dtypes.items():
        values = np.array([MIXED_RECORD[name]] * 3, dtype=dtype).reshape(3, 1)
        tensor = httpclient.InferInput(name, [3, 1], datatype)
        tensor.set_data_from_numpy(values, binary_data=binary)
        inputs.append(tensor)
    result = client.infer("price", inputs)
    model = app.models.champion("price")
    expected = model.run(model.parser.parse([MIXED_RECORD] * 3).matrix)
    np.testing.assert_array_equal(result.as_numpy("value"), expected)


WHOLE = [f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)]
#: The client itself sends FP16 as binary data only.
SENT = [("FP16", True), *((datatype, binary) for datatype in WHOLE for binary in (True, False))]


@pytest.mark.parametrize(("datatype", "binary"), SENT)
def test_every_datatype_of_numbers(app: Application, client: Any, datatype: str, binary: bool) -> None:
    dtype = np.float16 if datatype == "FP16" else np.dtype(datatype.lower())
    values = np.array([[14, 20, 12], [3, 4, 5]], dtype=dtype)
    tensor = httpclient.InferInput("x", [2, 3], datatype)
    tensor.set_data_from_numpy(values, binary_data=binary)
    model = app.models.champion("tumour")
    expected = model.run(values.astype(np.float32))
    np.testing.assert_array_equal(client.infer("tumour", [tensor]).as_numpy("probabilities"), expected)


def test_missing_values_are_nan(app: Application, client: Any) -> None:
    values = np.array([[14.5, np.nan, 12]], dtype=np.float32)
    tensor = httpclient.InferInput("x", [1, 3], "FP32")
    tensor.set_data_from_numpy(values)
    expected = app.models.champion("tumour").run(values)
    np.testing.assert_array_equal(client.infer("tumour", [tensor]).as_numpy("probabilities"), expected)


def test_versions_are_asked_for_by_name(client: Any) -> None:
    assert client.is_model_ready("tumour", "aaaaaaaaaaaa")
    assert not client.is_model_ready("tumour", "cccccccccccc")
    assert client.get_model_metadata("tumour", "aaaaaaaaaaaa")["versions"] == ["aaaaaaaaaaaa"]
    with pytest.raises(httpclient.InferenceServerException, match="not deployed here"):
        client.get_model_metadata("tumour", "cccccccccccc")


def test_errors_reach_the_client_as_texts(client: Any) -> None:
    tensor = httpclient.InferInput("x", [1, 2], "FP32")
    tensor.set_data_from_numpy(np.zeros((1, 2), dtype=np.float32))
    with pytest.raises(httpclient.InferenceServerException, match="has 2 columns, the model has 3 features"):
        client.infer("tumour", [tensor])
    with pytest.raises(httpclient.InferenceServerException, match="no model 'nobody'"):
        client.get_model_metadata("nobody")
    with pytest.raises(httpclient.InferenceServerException, match="not deployed here"):
        client.infer("tumour", [tensor], model_version="0")


@pytest.mark.parametrize("binary", [True, False])
def test_a_version_and_compressed_requests(client: Any, binary: bool) -> None:
    tensor = httpclient.InferInput("x", [1, 3], "FP32")
    tensor.set_data_from_numpy(np.ones((1, 3), dtype=np.float32), binary_data=binary)
    result = client.infer("tumour", [tensor], model_version="aaaaaaaaaaaa", request_compression_algorithm="gzip")
    assert result.get_response()["model_version"] == "aaaaaaaaaaaa"
