"""Evidently's DataDriftPreset with its defaults."""

from evidently import Report
from evidently.presets import DataDriftPreset


def compare(reference, window):
    result = Report([DataDriftPreset()]).run(current_data=window, reference_data=reference).dict()
    drifted = set()
    for metric in result["metrics"]:
        config = metric.get("config", {})
        column = config.get("column")
        if column is None or "ValueDrift" not in config.get("type", metric["metric_name"]):
            continue
        method, threshold = str(config.get("method") or metric["metric_name"]), config.get("threshold")
        value = float(metric["value"])
        distance = any(word in method.lower() for word in ("distance", "divergence", "wasserstein", "jensen", "psi"))
        limit = float(threshold) if threshold is not None else (0.1 if distance else 0.05)
        if value >= limit if distance else value < limit:
            drifted.add(column)
    return drifted
