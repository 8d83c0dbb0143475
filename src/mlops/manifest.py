"""The manifest of a model version: all that serving, evaluation and audit need to know about ``model.onnx``.

Written by ``train``, read on the request path, so it imports only the standard library and ``features.spec``.
It lies beside the model in the artifact bucket and in the model-set layer.

The ONNX graph takes one input ``input`` (float32, (rows, columns), see :mod:`mlops.features.encoding`) and
gives ``probabilities`` (float32, (rows, classes)) for classification or ``value`` (float32, (rows, 1)) for
regression.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlops.features.spec import Feature

INPUT = "input"
PROBABILITIES = "probabilities"
VALUE = "value"
#: Property of an ONNX file: means over the training rows of what a linear model multiplies, as a JSON array.
EXPECTED = "mlops.expected"


@dataclass(frozen=True, slots=True)
class Interval:
    """The prediction interval of a regression: a predicted value and about it a half width, which is a line through
    the points (``values``, ``half_widths``), level outside them. ``coverage``: share of true values within."""

    coverage: float
    values: tuple[float, ...]
    half_widths: tuple[float, ...]

    def half_width(self, value: float) -> float:
        """The half width around a predicted value, in the target's unit.

        >>> Interval(0.9, (0.0, 10.0), (1.0, 3.0)).half_width(5.0)
        2.0
        """
        values, widths = self.values, self.half_widths
        if value <= values[0]:
            return widths[0]
        if value >= values[-1]:
            return widths[-1]
        at = bisect_right(values, value)
        low, high = values[at - 1], values[at]
        return widths[at - 1] + (widths[at] - widths[at - 1]) * (value - low) / (high - low)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Interval:
        return cls(float(data["coverage"]), tuple(data["values"]), tuple(data["half_widths"]))

    def to_dict(self) -> dict[str, Any]:
        return {"coverage": self.coverage, "values": list(self.values), "half_widths": list(self.half_widths)}


@dataclass(frozen=True, slots=True)
class Manifest:
    """One model version.

    Attributes
    ----------
    version : 12 hexadecimal digits of SHA-256 over model, data set version and contract: the same training
        on the same data is the same version.
    threshold : probability from which the positive class is answered (binary classification).
    key : names of the entity key, sent beside the features for a sticky canary.
    created_at : ISO 8601 UTC.
    lineage : dataset_version, contract_digest, code, lock, family, parameters, seed, duration_seconds,
        parent_version, rows.
    metrics : on the hold-out set, from the ONNX model.
    capture_rate : share of requests captured outside a release.
    interval : the prediction interval (regression), when one was fitted.
    """

    model: str
    version: str
    task: str
    features: tuple[Feature, ...]
    target: str
    classes: tuple[str, ...] = ()
    positive: str | None = None
    threshold: float = 0.5
    key: tuple[str, ...] = ()
    created_at: str = ""
    onnx_sha256: str = ""
    lineage: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    capture_rate: float = 1.0
    value_range: tuple[float, float] | None = None  # of the target in training (regression)
    interval: Interval | None = None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Manifest:
        values = {k: v for k, v in data.items() if k != "schema"}
        values["features"] = tuple(Feature.from_dict(f) for f in values["features"])
        for name in ("classes", "key"):
            values[name] = tuple(values.get(name) or ())
        if values.get("value_range") is not None:
            values["value_range"] = tuple(values["value_range"])
        if values.get("interval") is not None:
            values["interval"] = Interval.from_dict(values["interval"])
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        return {
            "schema": "mlops.manifest.v1",
            "model": self.model,
            "version": self.version,
            "task": self.task,
            "features": [f.to_dict() for f in self.features],
            "target": self.target,
            "classes": list(self.classes),
            "positive": self.positive,
            "threshold": self.threshold,
            "key": list(self.key),
            "created_at": self.created_at,
            "onnx_sha256": self.onnx_sha256,
            "lineage": dict(self.lineage),
            "metrics": dict(self.metrics),
            "capture_rate": self.capture_rate,
            "value_range": list(self.value_range) if self.value_range else None,
            "interval": self.interval.to_dict() if self.interval else None,
        }
