"""The files of SageMaker Model Monitor: ``statistics.json``, ``constraints.json``, ``constraint_violations.json``.

Layout: "Schema for Statistics" and "Schema for Constraints" in the Amazon SageMaker AI developer guide. Histogram
buckets are written; the KLL sketch beside them is not, because the bins here are exact counts and tools read the
buckets. So files of Model Monitor can be read as a baseline, and its readers can read ours.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np

from mlops.features.columns import Column
from mlops.statistics.axis import Axis, BaselineError, choose
from mlops.statistics.baseline import Baseline, Counts
from mlops.statistics.tally import Tally

INFERRED = {"number": "Fractional", "integer": "Integral", "boolean": "Integral", "date": "Fractional"}

#: Categories with more levels get no list of allowed values.
MAX_DOMAIN = 200


def statistics(baseline: Baseline) -> dict[str, Any]:
    """The baseline as ``statistics.json``."""
    features = [_feature(axis, tally) for axis, tally in zip(baseline.axes, baseline.counts.tallies, strict=True)]
    return {"version": 0.0, "dataset": {"item_count": baseline.counts.rows}, "features": features}


def constraints(baseline: Baseline, *, threshold: float = 0.1) -> dict[str, Any]:
    """Constraints that the baseline's own data keeps, as ``constraints.json``.

    ``threshold``: distance of distributions above which Model Monitor reports drift.
    """
    found = []
    for axis, tally in zip(baseline.axes, baseline.counts.tallies, strict=True):
        entry: dict[str, Any] = {
            "name": axis.name,
            "inferred_type": _inferred(axis),
            "completeness": tally.present / tally.known if tally.known else 0.0,
        }
        if axis.kind == "numeric" and tally.minimum is not None:
            entry["num_constraints"] = {"is_non_negative": tally.minimum >= 0}
        if axis.kind == "category" and 0 < len(axis.levels) <= MAX_DOMAIN and tally.other == 0:
            entry["string_constraints"] = {"domains": list(axis.levels)}
        found.append(entry)
    return {
        "version": 0.0,
        "features": found,
        "monitoring_config": {
            "evaluate_constraints": "Enabled",
            "emit_metrics": "Disabled",
            "datatype_check_threshold": 1.0,
            "domain_content_threshold": 1.0,
            "distribution_constraints": {
                "perform_comparison": "Enabled",
                "comparison_threshold": threshold,
                "comparison_method": "Robust",
            },
        },
    }


def violations(found: Sequence[tuple[str, str, str]]) -> dict[str, Any]:
    """``constraint_violations.json`` of ``(feature, check, description)``; checks by Model Monitor's names, such as
    ``baseline_drift_check``, ``completeness_check``, ``data_type_check``, ``categorical_values_check``,
    ``missing_column_check``, ``extra_column_check``."""
    return {
        "violations": [
            {"feature_name": name, "constraint_check_type": check, "description": text} for name, check, text in found
        ]
    }


def read(statistics_json: Mapping[str, Any], *, features: Mapping[str, str] | None = None) -> Baseline:
    """A baseline from a ``statistics.json``, of Model Monitor or ours.

    Parameters
    ----------
    statistics_json : the parsed file.
    features : feature -> type (:mod:`mlops.features.spec`) where the file's type is not enough (dates, booleans).

    Raises
    ------
    BaselineError
        when the file lacks the fields that the layout names, or its buckets do not adjoin.
    """
    try:
        rows = int(statistics_json["dataset"]["item_count"])
        pairs = [_read(entry, features or {}) for entry in statistics_json["features"]]
    except (KeyError, TypeError, ValueError) as error:
        raise BaselineError(f"statistics.json: missing or malformed field ({error})") from error
    frame = Baseline(tuple(a for a, _ in pairs), Counts("", 0, ()))
    return Baseline(frame.axes, Counts(frame.reference, rows, tuple(t for _, t in pairs)))


def dump(document: Mapping[str, Any]) -> bytes:
    """As JSON with indentation; refuses numbers that JSON lacks."""
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False).encode()


def _inferred(axis: Axis) -> str:
    if axis.kind == "private":
        return "Unknown"
    return "String" if axis.kind == "category" else INFERRED.get(axis.type, "Fractional")


def _feature(axis: Axis, tally: Tally) -> dict[str, Any]:
    common = {"num_present": tally.present, "num_missing": tally.missing + tally.absent}
    entry: dict[str, Any] = {"name": axis.name, "inferred_type": _inferred(axis)}
    if axis.kind == "category":
        buckets = [{"value": v, "count": c} for v, c in zip(axis.levels, tally.counts, strict=True)]
        entry["string_statistics"] = {
            "common": common,
            "distinct_count": float(len(axis.levels)),
            "distribution": {"categorical": {"buckets": buckets}},
        }
        return entry
    numbers: dict[str, Any] = {"common": common}
    mean, deviation = tally.mean(axis), tally.deviation(axis)
    if mean is not None and deviation is not None:
        total = mean * (tally.present - tally.infinite)
        numbers |= {
            "mean": mean,
            "sum": total if math.isfinite(total) else None,
            "std_dev": deviation,
            "min": tally.minimum,
            "max": tally.maximum,
            "distribution": {
                "kll": {
                    "buckets": [
                        {"lower_bound": low, "upper_bound": high, "count": float(c)}
                        for low, high, c in zip(axis.edges[:-1], axis.edges[1:], tally.counts, strict=True)
                    ]
                }
            },
        }
    entry["numerical_statistics"] = numbers
    return entry


def _read(entry: Mapping[str, Any], types: Mapping[str, str]) -> tuple[Axis, Tally]:
    name, inferred = str(entry["name"]), str(entry["inferred_type"])
    if "string_statistics" in entry or inferred == "String":
        strings = entry["string_statistics"]
        buckets = strings.get("distribution", {}).get("categorical", {}).get("buckets", [])
        levels = tuple(str(b["value"]) for b in buckets)
        counts = tuple(int(b["count"]) for b in buckets)
        present, missing = int(strings["common"]["num_present"]), int(strings["common"]["num_missing"])
        axis = Axis(name, types.get(name, "category"), "feature", "category", levels=levels)
        return axis, Tally(counts, other=max(0, present - sum(counts)), missing=missing)
    numbers = entry["numerical_statistics"]
    type_ = types.get(name, "integer" if inferred == "Integral" else "number")
    present, missing = int(numbers["common"]["num_present"]), int(numbers["common"]["num_missing"])
    buckets = numbers.get("distribution", {}).get("kll", {}).get("buckets", [])
    if inferred == "Unknown":
        return Axis(name, type_, "feature", "private"), Tally(other=present, missing=missing)
    if not buckets or not present:
        return Axis(name, type_, "feature", "numeric", discrete=True), Tally(above=present, missing=missing)
    low, high = float(numbers["min"]), float(numbers["max"])
    edges = [float(b["lower_bound"]) for b in buckets] + [float(buckets[-1]["upper_bound"])]
    for left, right in pairwise(buckets):
        if float(left["upper_bound"]) != float(right["lower_bound"]):
            raise BaselineError(f"statistics.json: the buckets of feature '{name}' do not adjoin")
    if edges[0] == edges[-1]:
        edges = list(choose(Column(name, type_, np.array([low])), role="feature").edges)
        buckets = [{"count": present}]
    grid = choose(Column(name, type_, np.array([low, high])), role="feature")
    checked = Axis.from_dict({**grid.to_dict(), "edges": edges, "discrete": False})
    counts = tuple(round(float(b["count"])) for b in buckets)
    mean, deviation = float(numbers["mean"]), float(numbers["std_dev"])
    fine = Fraction(mean) / Fraction(2) ** checked.exponent - checked.origin
    step = Fraction(2) ** checked.shift
    square = (Fraction(deviation) / Fraction(2) ** (checked.exponent + checked.shift)) ** 2 + (fine / step) ** 2
    return checked, Tally(
        counts=counts,
        above=max(0, present - sum(counts)),
        missing=missing,
        total=round(fine * present),
        coarse=round(fine / step * present),
        square=round(square * present),
        minimum=low,
        maximum=high,
    )
