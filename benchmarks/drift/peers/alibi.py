"""alibi-detect's KSDrift: Kolmogorov-Smirnov on every column, Bonferroni, p 0.05."""

from alibi_detect.cd import KSDrift


def compare(reference, window):
    found = KSDrift(reference, p_val=0.05).predict(window, drift_type="feature")["data"]["is_drift"]
    return {f"c{i}" for i, drifted in enumerate(found) if drifted}
