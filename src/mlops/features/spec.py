"""What one feature is. Shared by the contract, the manifest of a model version and the request path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

FeatureType = Literal["number", "integer", "boolean", "category", "date"]
Pii = Literal["none", "drop", "pseudonymise"]
OnUnknown = Literal["other", "reject"]
Severity = Literal["warn", "quarantine", "reject"]

FEATURE_TYPES: tuple[str, ...] = get_args(FeatureType)


@dataclass(frozen=True, slots=True)
class Feature:
    """One input column of a model, or one that it is judged by and never sees.

    Attributes
    ----------
    name : the column's name in files and requests.
    type : ``number`` and ``integer`` (float64 in memory), ``boolean``, ``category`` (strings; numbers
        and booleans are compared by their JSON text), ``date`` (ISO 8601 date or date-time, UTC).
    nullable : whether a missing value is accepted.
    minimum, maximum : inclusive range for numbers, integers; ``None`` means unbounded.
    categories : the known levels of a category, in the order that gives their codes.
    on_unknown : a level outside ``categories``: ``other`` groups it, ``reject`` is a violation.
    pooled : levels of ``categories`` that a model version knows too few rows of, and takes for *other*. Training says
        which (:mod:`mlops.training.pooling`); a contract has none.
    severity : what a violation does at ingestion: ``warn``, ``quarantine`` the row, ``reject`` the file.
    pii : personal data: ``drop`` never leaves the request, ``pseudonymise`` leaves it as a keyed hash.
    description : free text for people; shown in the OpenAPI document.
    """

    name: str
    type: FeatureType
    nullable: bool = False
    minimum: float | None = None
    maximum: float | None = None
    categories: tuple[str, ...] = ()
    on_unknown: OnUnknown = "reject"
    pooled: tuple[str, ...] = ()
    severity: Severity = "quarantine"
    pii: Pii = "none"
    description: str = ""

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Feature:
        fields = dict(data)
        for name in ("categories", "pooled"):
            fields[name] = tuple(fields.get(name) or ())
        return cls(**fields)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, defaults left out."""
        result: dict[str, Any] = {"name": self.name, "type": self.type}
        if self.nullable:
            result["nullable"] = True
        if self.minimum is not None:
            result["minimum"] = self.minimum
        if self.maximum is not None:
            result["maximum"] = self.maximum
        if self.categories:
            result["categories"] = list(self.categories)
        if self.on_unknown != "reject":
            result["on_unknown"] = self.on_unknown
        if self.pooled:
            result["pooled"] = list(self.pooled)
        if self.severity != "quarantine":
            result["severity"] = self.severity
        if self.pii != "none":
            result["pii"] = self.pii
        if self.description:
            result["description"] = self.description
        return result
