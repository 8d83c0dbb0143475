"""What a library says of samples of whole numbers from 0, given as counts; runs in the library's own environment.

    answers.py LIBRARY < samples.json

Reads [{"old": [counts], "new": [counts]}], prints [{method: value}]. Values are categories for the methods that take
cells, and numbers for those that take an order; on whole numbers both see the same cells as drift-check.
"""

import json
import sys
import warnings

import numpy as np


def spread(counts):
    return np.repeat(np.arange(len(counts)), counts)


def evidently(old, new):
    import pandas as pd  # noqa: PLC0415 - only this environment has it
    from evidently.legacy.calculations import stattests  # noqa: PLC0415
    from evidently.legacy.core import ColumnType  # noqa: PLC0415

    before, after = pd.Series(spread(old)), pd.Series(spread(new))
    tests = {
        "psi": (stattests.psi_stat_test, ColumnType.Categorical),
        "jensen_shannon": (stattests.jensenshannon_stat_test, ColumnType.Categorical),
        "hellinger": (stattests.hellinger_stat_test, ColumnType.Categorical),
        "chi_square_p": (stattests.chi_stat_test, ColumnType.Categorical),
        "wasserstein": (stattests.wasserstein_stat_test, ColumnType.Numerical),
    }
    return {name: float(test(before, after, kind, None).drift_score) for name, (test, kind) in tests.items()}


def nannyml(old, new):
    import nannyml as nml  # noqa: PLC0415
    import pandas as pd  # noqa: PLC0415

    before, after = spread(old), spread(new)
    rng = np.random.default_rng(0)
    rng.shuffle(before)
    tables = [pd.DataFrame({"number": v.astype(float), "level": [f"v{x}" for x in v]}) for v in (before, after)]
    found = {}
    calculator = nml.UnivariateDriftCalculator(
        column_names=["number", "level"],
        continuous_methods=["kolmogorov_smirnov", "wasserstein"],
        categorical_methods=["jensen_shannon", "hellinger", "chi2"],
        chunk_size=len(after),
    )
    frame = calculator.fit(tables[0]).calculate(tables[1]).filter(period="analysis").to_df()
    for column, method, ours in (
        ("number", "kolmogorov_smirnov", "ks"),
        ("number", "wasserstein", "wasserstein_of_values"),
        ("level", "jensen_shannon", "jensen_shannon"),
        ("level", "hellinger", "hellinger"),
        ("level", "chi2", "chi_square"),
    ):
        found[ours] = float(frame[(column, method, "value")].iloc[0])
    return found


def alibi_detect(old, new):
    from alibi_detect.cd import ChiSquareDrift, KSDrift  # noqa: PLC0415

    before, after = spread(old)[:, None], spread(new)[:, None]
    ks = KSDrift(before.astype(np.float32)).predict(after.astype(np.float32), drift_type="feature")["data"]
    levels = {0: list(range(len(old)))}
    chi = ChiSquareDrift(before, categories_per_feature=levels).predict(after, drift_type="feature")["data"]
    return {
        "ks": float(ks["distance"][0]),
        "chi_square": float(chi["distance"][0]),
        "chi_square_p": float(chi["p_val"][0]),
    }


def main(library):
    warnings.filterwarnings("ignore")
    answer = {"evidently": evidently, "nannyml": nannyml, "alibi-detect": alibi_detect}[library]
    print(json.dumps([answer(s["old"], s["new"]) for s in json.load(sys.stdin)]))


if __name__ == "__main__":
    main(sys.argv[1])
