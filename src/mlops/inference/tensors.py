"""The Open Inference Protocol's tensors: from ``infer`` requests to records, from scores to output tensors.

Two forms of input. *Named*: one tensor of shape [n] or [n, 1] per feature (and per column of the entity key).
*Packed*: a single tensor of shape [n, features] with any other name, whose columns are the features in the order
of the model's metadata; for models whose features are numbers, integers and booleans.

Data comes as JSON, flat or nested, or as Triton's binary extension. ``null`` (JSON) and NaN (binary) are missing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from mlops.inference.answers import answered_rows, label_index, require_valid
from mlops.inference.body import count_keys, first_repeated, parse_json, raw_body, refuse_duplicate_keys
from mlops.inference.errors import ApiError
from mlops.inference.parsing import Parser, Record
from mlops.inference.protocol import outputs
from mlops.inference.scoring import Outcome
from mlops.inference.settings import InferenceSettings

_INTEGERS = {f"{sign}INT{bits}": (sign == "U", bits) for sign in ("", "U") for bits in (8, 16, 32, 64)}
_DTYPES = {
    **{name: f"<{'u' if unsigned else 'i'}{bits // 8}" for name, (unsigned, bits) in _INTEGERS.items()},
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
    "BOOL": "|u1",
}
_HEADER_LENGTH = "inference-header-content-length"


def _bad(message: str) -> ApiError:
    return ApiError("invalid_request", message)


def read_request(
    event: Mapping[str, Any], settings: InferenceSettings, parser: Parser
) -> tuple[dict[str, Any], list[Record]]:
    """The JSON part of an ``infer`` request, and its tensors as records.

    Raises
    ------
    ApiError
        saying which tensor is wrong and how.
    """
    body = raw_body(event, settings.max_body_bytes)
    headers = {str(k).lower(): v for k, v in (event.get("headers") or {}).items()}
    binary = b""
    if _HEADER_LENGTH in headers:
        body, binary = _split(body, str(headers[_HEADER_LENGTH]))
    request = parse_json(body)
    refuse_duplicate_keys(body, request, count_keys(request)[0])
    if type(request) is not dict or type(request.get("inputs")) is not list or not request["inputs"]:
        raise _bad('the body must be an object with "inputs": [{"name", "shape", "datatype", "data"}]')
    if not isinstance(request.get("id", ""), str):
        raise _bad("'id' must be a string")
    for name in ("parameters", "outputs"):
        kind = dict if name == "parameters" else list
        if not isinstance(request.get(name, kind()), kind):
            raise _bad(f"'{name}' must be {'an object' if kind is dict else 'an array'}")
    tensors, rest = [], memoryview(binary)
    for item in request["inputs"]:
        tensor, rest = _tensor(item, rest)
        tensors.append(tensor)
    if len(rest):
        raise _bad(f"{len(rest)} bytes of binary data belong to no input")
    if type((request.get("parameters") or {}).get("explain", False)) is not bool:
        raise _bad("the parameter 'explain' must be true or false")
    return request, _records(tensors, parser, settings.max_rows)


def wants_explanation(request: Mapping[str, Any]) -> bool:
    """Whether the parameters of a checked request ask for explanations."""
    return (request.get("parameters") or {}).get("explain") is True


def _split(body: bytes | str, length: str) -> tuple[bytes, bytes]:
    data = body.encode() if isinstance(body, str) else body
    if not (length.isascii() and length.isdigit()) or int(length) > len(data):
        raise _bad("Inference-Header-Content-Length is not a length within the body")
    return data[: int(length)], data[int(length) :]


Tensor = tuple[str, tuple[int, ...], Sequence[Any]]


def _tensor(item: Any, rest: memoryview) -> tuple[Tensor, memoryview]:
    """Name, shape and flat values of one input, and the binary data that is left."""
    if type(item) is not dict or type(item.get("name")) is not str:
        raise _bad("every input must be an object with a 'name'")
    name, shown = item["name"], item["name"][:80]
    shape, datatype = item.get("shape"), item.get("datatype")
    if type(shape) is not list or not 1 <= len(shape) <= 2 or any(type(n) is not int or n < 0 for n in shape):
        raise _bad(f"input '{shown}': 'shape' must be [n] or [n, m]")
    if type(datatype) is not str or (datatype not in _DTYPES and datatype != "BYTES"):
        raise _bad(f"input '{shown}': 'datatype' must be one of BYTES, {', '.join(sorted(_DTYPES))}")
    count = math.prod(shape)
    parameters = item.get("parameters") or {}
    size = parameters.get("binary_data_size") if type(parameters) is dict else None
    if size is not None:
        if type(size) is not int or not 0 <= size <= len(rest) or "data" in item:
            raise _bad(f"input '{shown}': 'binary_data_size' does not fit the body")
        values = _binary(shown, datatype, count, rest[:size])
        return (name, tuple(shape), values), rest[size:]
    values = _flatten(shown, item.get("data"))
    if len(values) != count:
        raise _bad(f"input '{shown}': shape {shape} needs {count} values, data has {len(values)}")
    _check_types(shown, datatype, values)
    return (name, tuple(shape), values), rest


def _flatten(name: str, data: Any) -> list[Any]:
    if type(data) is not list:
        raise _bad(f"input '{name}': 'data' must be an array")
    values: list[Any] = data
    if values and type(values[0]) is list:
        if set(map(type, values)) != {list}:
            raise _bad(f"input '{name}': 'data' mixes arrays and values")
        values = list(chain.from_iterable(values))
    return values


def _check_types(name: str, datatype: str, values: Sequence[Any]) -> None:
    types = set(map(type, values)) - {type(None)}
    if datatype == "BYTES":
        allowed: set[type] = {str}
    elif datatype == "BOOL":
        allowed = {bool}
    else:
        allowed = {int} if datatype in _INTEGERS else {int, float}
    if not types <= allowed:
        raise _bad(f"input '{name}': 'data' has values that are not {datatype}")
    if datatype in _INTEGERS and types:
        unsigned, bits = _INTEGERS[datatype]
        low, high = (0, 2**bits - 1) if unsigned else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        known = [v for v in values if v is not None]
        if min(known) < low or max(known) > high:
            raise _bad(f"input '{name}': 'data' has values outside {datatype}")


def _binary(name: str, datatype: str, count: int, data: memoryview) -> Sequence[Any]:
    if datatype == "BYTES":
        return _binary_texts(name, count, data)
    dtype = np.dtype(_DTYPES[datatype])
    if len(data) != count * dtype.itemsize:
        raise _bad(f"input '{name}': {count} values of {datatype} need {count * dtype.itemsize} bytes, not {len(data)}")
    array = np.frombuffer(data, dtype=dtype)
    if datatype == "BOOL":
        return list(map(bool, array.tolist()))
    values: list[Any] = array.tolist()
    if array.dtype.kind == "f" and np.isnan(array).any():
        values = [None if v != v else v for v in values]  # noqa: PLR0124 - NaN is what differs from itself
    return values


def _binary_texts(name: str, count: int, data: memoryview) -> list[str]:
    texts: list[str] = []
    at = 0
    while at < len(data) and len(texts) <= count:
        end = at + 4 + int.from_bytes(data[at : at + 4], "little")
        if at + 4 > len(data) or end > len(data):
            raise _bad(f"input '{name}': the binary texts are truncated")
        try:
            texts.append(bytes(data[at + 4 : end]).decode())
        except UnicodeDecodeError as error:
            raise ApiError("invalid_utf8", f"input '{name}': a text is not UTF-8") from error
        at = end
    if len(texts) != count:
        raise _bad(f"input '{name}': the shape needs {count} texts, the data has {len(texts)} or more")
    return texts


def _records(tensors: Sequence[Tensor], parser: Parser, max_rows: int) -> list[Record]:
    """Records from named tensors, or from one packed tensor."""
    known = {f.name for f in parser.features} | set(parser.key)
    names = [name for name, _, _ in tensors]
    twice = first_repeated(names)
    if twice is not None:
        raise _bad(f"input '{twice[:80]}' is given twice")
    rows = tensors[0][1][0]
    if rows > max_rows:
        raise ApiError("batch_too_large", f"{rows} records are more than the {max_rows} of one request")
    if len(tensors) == 1 and names[0] not in known and len(tensors[0][1]) == 2:
        return _packed(tensors[0], parser)
    for name, shape, _ in tensors:
        if shape[0] != rows:
            raise _bad(f"input '{name[:80]}' has {shape[0]} rows, '{names[0][:80]}' has {rows}")
        if len(shape) == 2 and shape[1] != 1:
            raise _bad(f"input '{name[:80]}': a feature has shape [n] or [n, 1], not {list(shape)}")
    return [dict(zip(names, row, strict=True)) for row in zip(*(values for _, _, values in tensors), strict=True)]


def _packed(tensor: Tensor, parser: Parser) -> list[Record]:
    name, (rows, columns), values = tensor
    features = parser.features
    texts = [f.name for f in features if f.type in ("category", "date")]
    if texts:
        raise _bad(f"input '{name[:80]}': '{texts[0]}' is no number; send one tensor per feature")
    if columns != len(features):
        raise _bad(f"input '{name[:80]}' has {columns} columns, the model has {len(features)} features")
    names = [f.name for f in features]
    return [dict(zip(names, values[i * columns : (i + 1) * columns], strict=True)) for i in range(rows)]


# Answers ------------------------------------------------------------------------------------------


def answer(outcome: Outcome, request: Mapping[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
    """The JSON part of the answer and the binary data that follows it (empty: a plain JSON answer).

    Raises
    ------
    ApiError
        ``invalid_records``, ``model_failed``, or ``invalid_request`` for an output that does not exist.
    """
    require_valid(outcome)
    values = _output_values(outcome)
    known = outputs(answered_rows(outcome)[0][0])
    versions = outcome.versions()
    parameters: dict[str, Any] = {"inference_id": outcome.inference_id}
    if wants_explanation(request):
        from mlops.inference.explain import as_tensors  # noqa: PLC0415

        more, explained = as_tensors(outcome, parameters)
        known += more
        values |= explained
    if len(versions) > 1:
        parameters["versions"] = ",".join(versions)
    header: dict[str, Any] = {
        "model_name": outcome.entry.name,
        "model_version": versions[0],
        "parameters": parameters,
        "outputs": [],
    }
    if "id" in request:
        header["id"] = request["id"]
    blobs: list[bytes] = []
    all_binary = (request.get("parameters") or {}).get("binary_data_output") is True
    rows = len(outcome.champion.rows)
    for spec, is_binary in _wanted(known, request, all_binary):
        output = {**spec, "shape": [rows, *spec["shape"][1:]]}
        if is_binary:
            blob = _encode(spec["datatype"], values[spec["name"]])
            output["parameters"] = {"binary_data_size": len(blob)}
            blobs.append(blob)
        else:
            output["data"] = values[spec["name"]]
        header["outputs"].append(output)
    return header, blobs


def _output_values(outcome: Outcome) -> dict[str, list[Any]]:
    """Flat values by output name."""
    answered = answered_rows(outcome)
    flat: list[float] = []
    labels: list[str] = []
    is_classification = outcome.champion.model.manifest.task == "classification"
    for model, row in answered:
        if row is None:
            raise ApiError("model_failed", f"the model '{outcome.entry.name}' gave no usable answer for this input")
        flat += row
        if is_classification:
            labels.append(model.manifest.classes[label_index(model, row)])
    return {"label": labels, "probabilities": flat} if is_classification else {"value": flat}


def _wanted(
    specs: Sequence[dict[str, Any]], request: Mapping[str, Any], all_binary: bool
) -> list[tuple[dict[str, Any], bool]]:
    """Outputs in the order asked for, and whether each goes as binary data."""
    known = {spec["name"]: spec for spec in specs}
    asked = request.get("outputs")
    if not asked:
        return [(spec, all_binary) for spec in known.values()]
    wanted = []
    for item in asked:
        name = item.get("name") if type(item) is dict else None
        if type(name) is not str or name not in known:
            raise _bad(f"an output is named {' or '.join(known)}, not '{str(name)[:80]}'")
        parameters = item.get("parameters") or {}
        chosen = parameters.get("binary_data") if type(parameters) is dict else None
        wanted.append((known[name], all_binary if chosen is None else chosen is True))
    return wanted


def _encode(datatype: str, values: Sequence[Any]) -> bytes:
    if datatype == "BYTES":
        texts = [v.encode() for v in values]
        return b"".join(len(t).to_bytes(4, "little") + t for t in texts)
    return np.array(values, dtype=_DTYPES[datatype]).tobytes()


def binary_response(headers: dict[str, str], header: Mapping[str, Any], blobs: Sequence[bytes]) -> dict[str, Any]:
    """An answer with binary data: the JSON part, then the tensors, base64 for API Gateway to undo."""
    import binascii  # noqa: PLC0415

    import orjson  # noqa: PLC0415

    start = orjson.dumps(header)
    body = binascii.b2a_base64(b"".join([start, *blobs]), newline=False).decode()
    return {
        "statusCode": 200,
        "headers": {
            **headers,
            "Content-Type": "application/octet-stream",
            "Inference-Header-Content-Length": str(len(start)),
        },
        "body": body,
        "isBase64Encoded": True,
    }
