"""The Open Inference Protocol, version 2: health, readiness and metadata.

Specification: https://github.com/kserve/open-inference-protocol (REST). The repository index and the binary
tensors are Triton's extensions, which its clients use.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlops import __version__
from mlops.inference.errors import ApiError
from mlops.inference.models import Model, ModelSet

#: The datatype that metadata states per feature type; any other that fits is accepted as well.
DATATYPES = {"number": "FP64", "integer": "INT64", "boolean": "BOOL", "category": "BYTES", "date": "BYTES"}


def server(models: ModelSet, path: str) -> tuple[int, dict[str, Any]]:
    """``/v2``, ``/v2/health/live`` and ``/v2/health/ready``."""
    if path == "/v2":
        extensions = ["binary_tensor_data", "model_repository"]
        return 200, {"name": "serverless-mlops", "version": __version__, "extensions": extensions}
    if path == "/v2/health/live":
        return 200, {"live": True}
    champions = [(e.name, e.champion) for e in models.entries.values() if e.champion]
    is_ready = not models.error and all(models.try_load(n, v) is not None for n, v in champions)
    return (200 if is_ready else 503), {"ready": is_ready}


def index(models: ModelSet, permits: Callable[[str], bool]) -> list[dict[str, str]]:
    """``POST /v2/repository/index``: one item per deployed version."""
    items = []
    for name, version in models.versions():
        if permits(name):
            is_ready = models.try_load(name, version) is not None
            state, reason = ("READY", "") if is_ready else ("UNAVAILABLE", "the files could not be loaded")
            items.append({"name": name, "version": version, "state": state, "reason": reason})
    return items


def select(models: ModelSet, name: str, version: str | None) -> Model:
    """The champion, or the deployed version asked for.

    Raises
    ------
    ApiError
        ``unknown_model``, ``unknown_version``, ``no_champion`` or ``model_unavailable``.
    """
    entry = models.entry(name)
    if version is None or version == entry.champion:
        return models.champion(name)
    if version != entry.challenger:
        raise ApiError("unknown_version", f"version '{version[:40]}' of '{name}' is not deployed here")
    model = models.try_load(name, version)
    if model is None:
        raise ApiError("model_unavailable", f"version {version} of the model '{name}' could not be loaded")
    return model


def ready(models: ModelSet, name: str, version: str | None) -> tuple[int, dict[str, Any]]:
    """``/v2/models/{name}[/versions/{version}]/ready``."""
    try:
        select(models, name, version)
    except ApiError as error:
        if error.status != 503:
            raise
        return 503, {"name": name, "ready": False}
    return 200, {"name": name, "ready": True}


def metadata(models: ModelSet, name: str, version: str | None) -> dict[str, Any]:
    """``/v2/models/{name}[/versions/{version}]``: the named tensors of the features, and the outputs."""
    model = select(models, name, version)
    entry = models.entry(name)
    names = [(f.name, DATATYPES[f.type]) for f in model.manifest.features]
    names += [(key, "BYTES") for key in model.parser.key]
    return {
        "name": name,
        "versions": [v for v in (entry.champion, entry.challenger) if v],
        "platform": "onnx_onnxv1",
        "inputs": [{"name": n, "datatype": datatype, "shape": [-1]} for n, datatype in names],
        "outputs": outputs(model),
    }


def outputs(model: Model) -> list[dict[str, Any]]:
    """Names, datatypes and shapes of what a model gives."""
    if model.manifest.task == "classification":
        return [
            {"name": "label", "datatype": "BYTES", "shape": [-1]},
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, model.columns]},
        ]
    return [{"name": "value", "datatype": "FP32", "shape": [-1, 1]}]
