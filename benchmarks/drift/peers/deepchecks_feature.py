"""deepchecks' FeatureDrift, with its condition's default of 0.2."""

from deepchecks.tabular import Dataset
from deepchecks.tabular.checks import FeatureDrift


def compare(reference, window):
    train, test = (Dataset(t, cat_features=[]) for t in (reference, window))
    found = FeatureDrift(n_samples=10**9).run(train, test).value
    return {c for c, v in found.items() if v["Drift score"] is not None and v["Drift score"] >= 0.2}
