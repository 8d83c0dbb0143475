"""Findings as ``constraint_violations.json`` of SageMaker Model Monitor, for tools that read those.

Only what has a name there is written: types, completeness, categories, missing and extra columns. Ranges, rules,
duplicates and checks of the whole file are in our own report alone. The names and the layout are those of
https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-interpreting-violations.html (read 2026-11-26); its sixth,
``baseline_drift_check``, is for the drift check.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mlops.statistics import model_monitor

#: Our code -> Model Monitor's ``constraint_check_type``.
CHECK_TYPES: Mapping[str, str] = {
    "wrong_type": "data_type_check",
    "bad_date": "data_type_check",
    "not_finite": "data_type_check",
    "missing_value": "completeness_check",
    "missing_target": "completeness_check",
    "completeness": "completeness_check",
    "unknown_category": "categorical_values_check",
    "unknown_class": "categorical_values_check",
    "missing_columns": "missing_column_check",
    "extra_columns": "extra_column_check",
}


def constraint_violations(findings: Iterable[Mapping[str, Any]], reasons: Iterable[Mapping[str, Any]]) -> bytes:
    """The file of one upload.

    Parameters
    ----------
    findings : ``{code, column, count, share, message}`` each, as in the report.
    reasons : of a rejection, ``{code, column, message}`` each; those that are findings too are written once.
    """
    found = {
        (f["code"], f["column"]): f"{f['message']}: {f['count']:,} rows ({f['share']:.2%})"
        for f in findings
        if f["code"] in CHECK_TYPES and f["column"]
    }
    for reason in reasons:
        if reason["code"] in CHECK_TYPES and reason["column"]:
            found.setdefault((reason["code"], reason["column"]), str(reason["message"]))
    listed = [(column, CHECK_TYPES[code], text) for (code, column), text in found.items()]
    return model_monitor.dump(model_monitor.violations(listed))
