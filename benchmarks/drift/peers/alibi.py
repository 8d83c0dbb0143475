"""alibi-detect's KSDrift: Kolmogorov-Smirnov on every column, p 0.05 over all of them by Bonferroni's correction."""

from alibi_detect.cd import KSDrift


def compare(reference, window):
    found = KSDrift(reference, p_val=0.05).predict(window)["data"]
    return {f"c{i}" for i, p_value in enumerate(found["p_val"]) if p_value < found["threshold"]}
