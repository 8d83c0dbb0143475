"""Where each feature lies in the matrix of :mod:`mlops.features.encoding`. Imports nothing, for the request path."""

from __future__ import annotations

from collections.abc import Sequence

from mlops.features.spec import Feature

WIDTHS = {"number": 1, "integer": 1, "boolean": 1, "date": 3, "category": 1}


def width(features: Sequence[Feature]) -> int:
    """Number of columns of the encoded matrix."""
    return sum(WIDTHS[f.type] for f in features)


def offsets(features: Sequence[Feature]) -> list[int]:
    """First column of each feature."""
    result, position = [], 0
    for feature in features:
        result.append(position)
        position += WIDTHS[feature.type]
    return result


def missing_code(feature: Feature) -> int:
    """Code of a missing category."""
    return len(feature.categories)


def other_code(feature: Feature) -> int:
    """Code of a level outside ``feature.categories``, and of those in ``feature.pooled``."""
    return len(feature.categories) + 1


def level_codes(feature: Feature) -> dict[str, int]:
    """Code of every level of ``feature.categories``."""
    codes = {level: code for code, level in enumerate(feature.categories)}
    codes.update(dict.fromkeys(feature.pooled, other_code(feature)))
    return codes
