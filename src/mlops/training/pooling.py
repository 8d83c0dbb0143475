"""Rare levels of categories, counted as one.

A level that few training rows have gets no weight that can be trusted, and thousands of them make a model large and
slow. As scikit-learn's ``OneHotEncoder`` does with ``min_frequency`` and ``max_categories``, such levels share one
column: that of *other*, which unknown levels have as well. Which levels these are is counted on the training rows alone
and kept in the version's features, so that every encoding of the version is the same one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mlops.features.columns import Columns
from mlops.features.spec import Feature


def pool_rare(features: Sequence[Feature], table: Columns, *, min_rows: int, max_levels: int) -> tuple[Feature, ...]:
    """The features with their rare levels named.

    Parameters
    ----------
    table : the rows that a model will be fitted on.
    min_rows : a level of fewer rows is rare. A level that no row has is rare whatever it says.
    max_levels : so many levels at most are kept, the most frequent ones; of equally frequent ones the earlier.

    >>> from mlops.features.columns import category_column
    >>> city = Feature("city", "category", categories=("Ulm", "Rome", "Oslo"))
    >>> table = Columns((category_column("city", ["Rome"] * 9 + ["Oslo"] * 5 + ["Ulm"]),))
    >>> pool_rare([city], table, min_rows=2, max_levels=100)[0].pooled
    ('Ulm',)
    """
    return tuple(_pooled(f, table, min_rows, max_levels) if f.type == "category" else f for f in features)


def _pooled(feature: Feature, table: Columns, min_rows: int, max_levels: int) -> Feature:
    count = len(feature.categories)
    codes = table[feature.name].recode(feature.categories)
    counts = np.bincount(codes[codes >= 0], minlength=count)[:count]
    frequent = np.argsort(-counts, kind="stable")[:max_levels]
    kept = {int(i) for i in frequent if counts[i] >= max(1, min_rows)}
    return replace(feature, pooled=tuple(level for i, level in enumerate(feature.categories) if i not in kept))
