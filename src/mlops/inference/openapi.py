"""The OpenAPI 3.1 document of the models in force, made from their manifests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlops import __version__
from mlops.features.spec import Feature
from mlops.inference.errors import ERRORS
from mlops.inference.models import Model, ModelSet

Schema = dict[str, Any]

_TENSOR: Schema = {
    "type": "object",
    "required": ["name", "shape", "datatype"],
    "properties": {
        "name": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1, "maxItems": 2},
        "datatype": {
            "enum": ["BOOL", "BYTES", "FP16", "FP32", "FP64"]
            + [f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)],
        },
        "parameters": {"type": "object"},
        "data": {"type": "array"},
    },
}

_EXPLANATION: Schema = {
    "type": "object",
    "description": "score = base + the sum of contributions",
    "required": ["space", "base", "score", "contributions"],
    "properties": {
        "of": {"type": "string", "description": "The class whose score is explained."},
        "space": {"enum": ["log_odds", "margin", "probability", "value", "log"]},
        "base": {"type": "number", "description": "The score on average over the training rows."},
        "score": {"type": "number"},
        "calibrated": {"const": True, "description": "The answer is made from the score by a calibration."},
        "contributions": {"type": "object", "additionalProperties": {"type": "number"}},
    },
}


def document(models: ModelSet, permits: Callable[[str], bool]) -> Schema:
    """The document, with the models whose champion is loaded and that the caller may use."""
    serving = [
        model
        for entry in models.entries.values()
        if permits(entry.name) and (model := models.try_load(entry.name, entry.champion)) is not None
    ]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Predictions",
            "version": __version__,
            "description": "Plain records at /predict; the Open Inference Protocol v2 below /v2.",
        },
        "servers": [{"url": ".", "description": "where this document is"}],
        "security": [{"token": []}],
        "paths": _paths(),
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
            "schemas": _schemas(serving),
            "responses": _error_responses(),
        },
    }


def _paths() -> Schema:
    name = {"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}
    version = {"name": "version", "in": "path", "required": True, "schema": {"type": "string"}}
    paths: Schema = {
        "/predict": {
            "post": _operation(
                "predict", "Score plain records", "Prediction", body="PredictRequest", errors=(400, 403, 404, 413, 422)
            )
        },
        "/openapi.json": {"get": _operation("openapi", "This document", None)},
        "/docs": {
            "get": {
                "operationId": "docs",
                "summary": "This document as a page",
                "security": [],
                "responses": {"200": {"description": "A page", "content": {"text/html": {}}}},
            }
        },
        "/v2": {"get": _operation("server", "Name and extensions", None)},
        "/v2/health/live": {"get": _operation("live", "Is the process up", None, is_open=True)},
        "/v2/health/ready": {"get": _operation("ready", "Can every champion score", None, errors=(503,), is_open=True)},
        "/v2/models": {"get": _operation("models", "Deployed models", None)},
        "/v2/repository/index": {"post": _operation("index", "Deployed versions", None)},
    }
    for prefix, parameters, suffix in (
        ("/v2/models/{model}", [name], ""),
        ("/v2/models/{model}/versions/{version}", [name, version], "Version"),
    ):
        errors = (400, 403, 404, 503)
        paths[prefix] = {
            "parameters": parameters,
            "get": _operation(f"metadata{suffix}", "Inputs and outputs", None, errors=errors, v2=True),
        }
        paths[f"{prefix}/ready"] = {
            "parameters": parameters,
            "get": _operation(f"modelReady{suffix}", "Can it score", None, errors=errors, v2=True),
        }
        paths[f"{prefix}/infer"] = {
            "parameters": parameters,
            "post": _operation(
                f"infer{suffix}", "Score tensors", "InferResponse", body="InferRequest", errors=(*errors, 413), v2=True
            ),
        }
    return paths


def _operation(
    identifier: str,
    summary: str,
    answer: str | None,
    *,
    body: str | None = None,
    errors: tuple[int, ...] = (),
    v2: bool = False,
    is_open: bool = False,
) -> Schema:
    """``is_open``: API Gateway wants no token for it."""
    schema = {"$ref": f"#/components/schemas/{answer}"} if answer else {}
    responses: Schema = {"200": {"description": summary, "content": {"application/json": {"schema": schema}}}}
    for status in sorted({405, 429, 500, 503, *errors, *(() if is_open else (401, 403))}):
        form = "V2" if v2 else "Plain"
        responses[str(status)] = {"$ref": f"#/components/responses/{form}{status}"}
    operation: Schema = {"operationId": identifier, "summary": summary, "responses": responses}
    if is_open:
        operation["security"] = []
    if body:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{body}"}}},
        }
    return operation


def _error_responses() -> Schema:
    by_status: dict[int, list[str]] = {
        401: ["The token is missing or not valid; API Gateway answers."],
        429: ["Too many requests; API Gateway answers. Retry-After says when to try again."],
    }
    for code, (status, meaning) in ERRORS.items():
        by_status.setdefault(status, []).append(f"`{code}`: {meaning}")
    responses = {}
    for status, lines in by_status.items():
        for form in ("Plain", "V2"):
            # API Gateway's own answers (401, 403 of the authorizer) have a "message" instead
            schema = {"anyOf": [{"$ref": f"#/components/schemas/{form}Error"}, {"type": "object"}]}
            content = {"application/json": {"schema": schema}}
            responses[f"{form}{status}"] = {"description": "\n".join(lines), "content": content}
    return responses


def _schemas(serving: list[Model]) -> Schema:
    requests = [_request(model) for model in serving]
    anything = {"type": "object", "required": ["model", "records"]}
    return {
        "PredictRequest": {"oneOf": requests} if requests else anything,
        "Prediction": {
            "type": "object",
            "required": ["model", "version", "inference_id", "predictions"],
            "properties": {
                "model": {"type": "string"},
                "version": {"type": "string"},
                "inference_id": {"type": "string"},
                "predictions": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["id"],
                        "properties": {"explanation": {"$ref": "#/components/schemas/Explanation"}},
                    },
                },
                "warnings": {"type": "array", "items": {"$ref": "#/components/schemas/Problem"}},
            },
        },
        "Explanation": _EXPLANATION,
        "Problem": {
            "type": "object",
            "properties": {
                "record": {"type": "integer"},
                "field": {"type": ["string", "null"]},
                "code": {"type": "string"},
                "message": {"type": "string"},
            },
        },
        "PlainError": {
            "type": "object",
            "required": ["error"],
            "properties": {
                "error": {
                    "type": "object",
                    "required": ["code", "message", "details"],
                    "properties": {
                        "code": {"enum": list(ERRORS)},
                        "message": {"type": "string"},
                        "details": {"type": "array", "items": {"$ref": "#/components/schemas/Problem"}},
                        "request_id": {"type": "string"},
                    },
                }
            },
        },
        "V2Error": {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}},
        "Tensor": _TENSOR,
        "InferRequest": {
            "type": "object",
            "required": ["inputs"],
            "properties": {
                "id": {"type": "string"},
                "parameters": {
                    "type": "object",
                    "properties": {
                        "explain": {
                            "type": "boolean",
                            "description": "Adds the outputs contributions, base and (for classes) explained.",
                        }
                    },
                },
                "inputs": {"type": "array", "minItems": 1, "items": {"$ref": "#/components/schemas/Tensor"}},
                "outputs": {"type": "array", "items": {"type": "object", "required": ["name"]}},
            },
        },
        "InferResponse": {
            "type": "object",
            "required": ["model_name", "outputs"],
            "properties": {
                "model_name": {"type": "string"},
                "model_version": {"type": "string"},
                "id": {"type": "string"},
                "parameters": {"type": "object"},
                "outputs": {"type": "array", "items": {"$ref": "#/components/schemas/Tensor"}},
            },
        },
    }


def _request(model: Model) -> Schema:
    manifest = model.manifest
    properties: Schema = {f.name: feature_schema(f) for f in manifest.features}
    for name in model.parser.key:
        properties[name] = {"type": ["string", "number", "boolean", "null"], "description": "Part of the entity key."}
    record = {
        "type": "object",
        "required": [f.name for f in manifest.features if not f.nullable],
        "properties": properties,
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "title": manifest.model,
        "description": f"{manifest.task} of '{manifest.target}', version {manifest.version}",
        "required": ["model", "records"],
        "properties": {
            "model": {"const": manifest.model},
            "records": {"type": "array", "minItems": 1, "items": record},
            "partial": {"type": "boolean", "default": False},
            "interval": {
                "type": "boolean",
                "default": False,
                "description": "Regression: answer every value with its prediction interval.",
            },
            "explain": {
                "type": "boolean",
                "default": False,
                "description": "Whether every prediction comes with what each feature added to its score.",
            },
        },
        "additionalProperties": False,
    }


def feature_schema(feature: Feature) -> Schema:
    """The JSON Schema of what a request may send for a feature.

    A range is not a limit here: values outside it are scored, with a warning; so it stands in the description.
    """
    notes = [feature.description] if feature.description else []
    types: list[str] = {
        "number": ["number"],
        "integer": ["integer"],
        "boolean": ["boolean", "integer"],
        "date": ["string"],
        "category": ["string", "number", "boolean"],
    }[feature.type]
    schema: Schema = {}
    if feature.type in ("number", "integer"):
        if feature.minimum is not None or feature.maximum is not None:
            low = "-∞" if feature.minimum is None else f"{feature.minimum:g}"
            high = "∞" if feature.maximum is None else f"{feature.maximum:g}"
            notes.append(f"Expected range {low} to {high}; outside it the answer has a warning.")
        schema["examples"] = [next((b for b in (feature.minimum, feature.maximum) if b is not None), 0)]
    elif feature.type == "boolean":
        schema["enum"] = [True, False, 1, 0, *([None] if feature.nullable else [])]
        schema["examples"] = [True]
    elif feature.type == "date":
        notes.append("ISO 8601 date or date-time; UTC without an offset.")
        schema["examples"] = ["2026-11-22"]
    else:
        unknown = "any other counts as 'other'" if feature.on_unknown == "other" else "no other is accepted"
        levels = ", ".join(f"'{c}'" for c in feature.categories[:50])
        notes.append(f"Known levels: {levels}; {unknown}. Numbers and booleans are compared by their JSON text.")
        schema["examples"] = list(feature.categories[:3])
    schema["type"] = [*types, "null"] if feature.nullable else types
    if notes:
        schema["description"] = " ".join(notes)
    return schema
