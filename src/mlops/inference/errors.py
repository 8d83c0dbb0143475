"""Every error that ``predict`` answers with: one table from code to HTTP status."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlops.errors import MlopsError

#: code -> (HTTP status, what it means). The documentation and the OpenAPI document are made from this table.
ERRORS: dict[str, tuple[int, str]] = {
    "empty_body": (400, "The request has no body."),
    "invalid_json": (400, "The body is not JSON. NaN and Infinity are not JSON: a missing value is null."),
    "invalid_utf8": (400, "The body is not UTF-8."),
    "invalid_encoding": (400, "The body is not valid base64 or gzip."),
    "too_deep": (400, "The JSON is nested too deeply."),
    "duplicate_key": (400, "An object names the same field twice."),
    "invalid_request": (400, "The request's fields are not those of this route."),
    "empty_batch": (400, "There is no record to score."),
    "model_not_allowed": (403, "The token does not permit this model."),
    "unknown_model": (404, "No model of that name is deployed here."),
    "unknown_version": (404, "That version is neither the champion nor the challenger."),
    "unknown_route": (404, "There is no such path."),
    "method_not_allowed": (405, "The path exists, but not with this method."),
    "body_too_large": (413, "The body, or what it decompresses to, has too many bytes."),
    "batch_too_large": (413, "Too many records for one request, or an answer too large to send."),
    "not_explainable": (422, "This model's answers cannot be explained; the message says why."),
    "invalid_records": (422, "One or more records do not match the model's contract; details name the fields."),
    "internal_error": (500, "A fault on our side; the request id finds it in the logs."),
    "model_failed": (500, "The model gave no usable answer for this input."),
    "no_champion": (503, "The model has no released version yet."),
    "model_unavailable": (503, "The model's files could not be loaded."),
}

#: Codes that ``details`` use for one field of one record.
FIELD_ERRORS: dict[str, str] = {
    "not_an_object": "The record is not a JSON object.",
    "missing_field": "A feature that may not be missing is absent.",
    "null_not_allowed": "A feature that may not be missing is null.",
    "unknown_field": "The name is neither a feature nor part of the entity key.",
    "wrong_type": "The value has another JSON type than the feature.",
    "not_integer": "The value of an integer feature has a fraction.",
    "out_of_range": "The number is too large for a 32-bit float.",
    "not_finite": "The number is NaN or infinite.",
    "invalid_date": "The value is not an ISO 8601 date or date-time.",
    "unknown_category": "The level is not one that the contract knows.",
    "model_failed": "The model gave no usable answer for this record.",
    "outside_range": "Warning only: the value is outside the contract's minimum and maximum; it was scored.",
}


class ApiError(MlopsError):
    """A request that is answered with an error; ``code`` is a key of :data:`ERRORS`."""

    code = "internal_error"

    def __init__(self, code: str, message: str, details: Sequence[dict[str, Any]] = (), *, allow: str = "") -> None:
        super().__init__(message, code=code)
        self.details = list(details)
        self._allow = allow

    @property
    def headers(self) -> dict[str, str]:
        """What the answer's headers say of the error: when to try again, or with which method."""
        headers = {"X-Error-Code": self.code}
        if self.status == 503:
            headers["Retry-After"] = "30"
        if self._allow:
            headers["Allow"] = self._allow
        return headers

    @property
    def status(self) -> int:
        """The HTTP status."""
        return ERRORS[self.code][0]

    def body(self, request_id: str = "") -> dict[str, Any]:
        """The JSON form: ``{"error": {"code", "message", "details", "request_id"}}``."""
        error: dict[str, Any] = {"code": self.code, "message": self.message, "details": self.details}
        if request_id:
            error["request_id"] = request_id
        return {"error": error}
