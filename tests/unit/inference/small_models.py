"""Small real ONNX models and model sets for the tests of the request path."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mlops.features.encoding import width
from mlops.features.spec import Feature
from mlops.inference.application import Application
from mlops.inference.models import load_model
from mlops.inference.settings import InferenceSettings, Route
from mlops.manifest import Manifest

TUMOUR = (
    Feature("radius", "number", minimum=0.0, maximum=40.0),
    Feature("texture", "number", nullable=True),
    Feature("cells", "integer", minimum=0, maximum=1000),
)
MIXED = (
    Feature("amount", "number", minimum=0.0, maximum=100.0),
    Feature("age", "integer", nullable=True, pii="pseudonymise"),
    Feature("active", "boolean"),
    Feature("since", "date", nullable=True),
    Feature("colour", "category", categories=("red", "green", "1"), on_unknown="other"),
    Feature("size", "category", categories=("S", "M", "L"), nullable=True),
    Feature("email", "category", categories=("a@x", "b@x"), on_unknown="other", pii="drop"),
)
TUMOUR_RECORD = {"radius": 14.5, "texture": 20.25, "cells": 12}
MIXED_RECORD = {
    "amount": 12.5,
    "age": 40,
    "active": True,
    "since": "2026-01-31",
    "colour": "red",
    "size": "M",
    "email": "a@x",
}


def linear(columns: int, outputs: int, seed: int, *, bias: float = 0.0, nan_safe: bool = True) -> onnx.ModelProto:
    """Softmax (or identity for one output) of a linear map; missing values count as 0 unless ``nan_safe`` is off."""
    random = np.random.default_rng(seed)
    weights = random.normal(scale=0.05, size=(columns, outputs)).astype(np.float32)
    offset = np.full(outputs, bias, dtype=np.float32)
    result = "probabilities" if outputs > 1 else "value"
    nodes = []
    if nan_safe:
        nodes += [
            helper.make_node("IsNaN", ["input"], ["gap"]),
            helper.make_node("Where", ["gap", "zero", "input"], ["known"]),
        ]
    nodes.append(helper.make_node("Gemm", ["known" if nan_safe else "input", "w", "b"], ["raw"]))
    nodes.append(helper.make_node("Softmax" if outputs > 1 else "Identity", ["raw"], [result]))
    return _model(nodes, columns, outputs, result, {"w": weights, "b": offset, "zero": np.float32(0)})


def failing(columns: int, outputs: int) -> onnx.ModelProto:
    """A model that loads and raises at every run: it gathers a row that does not exist."""
    result = "probabilities" if outputs > 1 else "value"
    nodes = [
        helper.make_node("ReduceSum", ["input"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "zero"], ["nought"]),
        helper.make_node("Cast", ["nought"], ["index"], to=TensorProto.INT64),
        helper.make_node("Add", ["index", "far"], ["there"]),
        helper.make_node("Gather", ["table", "there"], ["row"], axis=0),
        helper.make_node("Identity", ["row"], [result]),
    ]
    table = np.zeros((2, outputs), dtype=np.float32)
    return _model(nodes, columns, outputs, result, {"table": table, "zero": np.float32(0), "far": np.int64(99)})


def endless(columns: int, outputs: int, rounds: int = 2**40) -> onnx.ModelProto:
    """A model that loads and does not come back in any reasonable time: a loop of ``rounds`` rounds."""
    result = "probabilities" if outputs > 1 else "value"
    carried = helper.make_tensor_value_info("carried_in", TensorProto.FLOAT, None)
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going_in"], ["going_out"]),
            helper.make_node("Identity", ["carried_in"], ["carried_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("going_in", TensorProto.BOOL, []),
            carried,
        ],
        [
            helper.make_tensor_value_info("going_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("carried_out", TensorProto.FLOAT, None),
        ],
    )
    nodes = [
        helper.make_node("Loop", ["rounds", "going", "input"], ["looped"], body=body),
        helper.make_node("Gemm", ["looped", "w"], [result]),
    ]
    weights = np.zeros((columns, outputs), dtype=np.float32)
    constants = {"rounds": np.int64(rounds), "going": np.bool_(True), "w": weights}
    return _model(nodes, columns, outputs, result, constants)


def _model(
    nodes: list[onnx.NodeProto], columns: int, outputs: int, result: str, constants: Mapping[str, Any]
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [None, columns])],
        [helper.make_tensor_value_info(result, TensorProto.FLOAT, [None, outputs])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def classifier(model: str = "tumour", version: str = "aaaaaaaaaaaa", **changes: Any) -> Manifest:
    values: dict[str, Any] = {
        "model": model,
        "version": version,
        "task": "classification",
        "features": TUMOUR,
        "target": "diagnosis",
        "classes": ("benign", "malignant"),
        "positive": "malignant",
    }
    return Manifest(**{**values, **changes})


def regressor(model: str = "price", version: str = "bbbbbbbbbbbb", **changes: Any) -> Manifest:
    values: dict[str, Any] = {
        "model": model,
        "version": version,
        "task": "regression",
        "features": MIXED,
        "target": "price",
        "key": ("customer",),
    }
    return Manifest(**{**values, **changes})


def put_version(
    models: Path,
    manifest: Manifest,
    *,
    seed: int = 1,
    graph: Callable[[int, int], onnx.ModelProto] | None = None,
    golden: Sequence[dict[str, Any]] | None = None,
) -> None:
    """Write one version into a model set's folder, with its golden answers when ``golden`` records are given."""
    folder = models / manifest.model / manifest.version
    folder.mkdir(parents=True)
    outputs = len(manifest.classes) or 1
    columns = width(manifest.features)
    proto = graph(columns, outputs) if graph else linear(columns, outputs, seed)
    body = proto.SerializeToString()
    (folder / "model.onnx").write_bytes(body)
    data = {**manifest.to_dict(), "onnx_sha256": hashlib.sha256(body).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(data))
    (folder / "baseline.json").write_text("{}")
    if golden is not None:
        model = load_model(str(folder))
        expected = model.run(model.parser.parse(golden).matrix).tolist()
        (folder / "golden.json").write_text(json.dumps({"records": list(golden), "expected": expected}))


def put_set(models: Path, entries: Mapping[str, tuple[str | None, str | None]]) -> None:
    """Write ``set.json``: model -> (champion, challenger)."""
    body = {n: {"champion": champion, "challenger": challenger} for n, (champion, challenger) in entries.items()}
    models.mkdir(parents=True, exist_ok=True)
    (models / "set.json").write_text(json.dumps({"schema": "mlops.model-set.v1", "models": body}))


def two_models(models: Path) -> None:
    """A classifier and a regressor, and a model that has no champion yet."""
    put_version(models, classifier(), golden=[TUMOUR_RECORD, {"radius": 3, "texture": None, "cells": 0}])
    put_version(models, regressor(), golden=[MIXED_RECORD])
    put_set(models, {"tumour": ("aaaaaaaaaaaa", None), "price": ("bbbbbbbbbbbb", None), "empty": (None, None)})


def duel(models: Path, *, graph: Callable[[int, int], onnx.ModelProto] | None = None, **changes: Any) -> None:
    """A champion and a challenger that answer differently."""
    put_version(models, classifier(**changes), golden=[TUMOUR_RECORD])
    put_version(models, classifier(version="cccccccccccc", **changes), seed=2, graph=graph)
    put_set(models, {"tumour": ("aaaaaaaaaaaa", "cccccccccccc")})


def application(models: Path, **settings: Any) -> Application:
    """An application whose challengers have half a minute: a busy machine must not cut a good one off."""
    values: dict[str, Any] = {"stack": "test", "models_dir": str(models), "pseudonym_key": b"k" * 32}
    values["budget_ms"] = 30_000.0
    return Application(InferenceSettings(**{**values, **settings}))


def routes(share: float, model: str = "tumour") -> dict[str, Route]:
    return {model: Route(share, "canary-1", "release-7")}


def proxy_event(method: str, path: str, body: Any = None, **changes: Any) -> dict[str, Any]:
    """A REST proxy event as API Gateway sends it, as far as ``predict`` looks at it."""
    text = body if body is None or isinstance(body, str) else json.dumps(body)
    event = {
        "resource": "/{proxy+}",
        "path": path,
        "httpMethod": method,
        "headers": {"Content-Type": "application/json", "Accept": "*/*"},
        "queryStringParameters": None,
        "pathParameters": None,
        "stageVariables": None,
        "requestContext": {
            "requestId": "req-1",
            "stage": "live",
            "httpMethod": method,
            "authorizer": {"principal": "ana", "scopes": "predict", "models": "*"},
        },
        "body": text,
        "isBase64Encoded": False,
    }
    return {**event, **changes}
