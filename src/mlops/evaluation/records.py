"""Golden records back into columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlops.errors import MlopsError
from mlops.features.columns import Columns, category_column, float_column
from mlops.features.parse import category_text, parse_date
from mlops.features.spec import Feature


def decode(features: Sequence[Feature], records: Sequence[Mapping[str, Any]]) -> Columns:
    """Columns of JSON records; a feature that a record lacks is missing.

    Raises
    ------
    MlopsError
        naming record and feature, for a value that is not of the feature's type.
    """
    columns = []
    for feature in features:
        values = [_value(feature, record.get(feature.name), i) for i, record in enumerate(records)]
        if feature.type == "category":
            columns.append(category_column(feature.name, values))
        else:
            columns.append(float_column(feature.name, feature.type, values))
    return Columns(tuple(columns))


def _value(feature: Feature, value: Any, row: int) -> Any:
    if value is None:
        return None
    try:
        if feature.type == "category":
            return category_text(value)
        return parse_date(value) if feature.type == "date" else float(value)
    except (TypeError, ValueError) as error:
        raise MlopsError(
            f"golden record {row}: feature '{feature.name}' is not a {feature.type}", code="invalid_record"
        ) from error
