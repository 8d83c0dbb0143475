"""Every method against a reference, its bounds, and what it says of two samples without drift."""

from __future__ import annotations

import json
import math
from importlib.resources import files

import numpy as np
import pytest
import scipy.spatial.distance
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.drift.methods import METHODS, Cells, choose, measure
from mlops.drift.significance import change_of_rate, exact_rate, homogeneity

counts = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 10_000)), min_size=1, max_size=30)


def cells(old, new, *, ordered=True, middles=None, scale=1.0) -> Cells:
    old, new = np.array(old, dtype=float), np.array(new, dtype=float)
    if middles is None and ordered:
        middles = np.arange(len(old), dtype=float)
    return Cells(old, new, ordered, middles, scale)


@settings(max_examples=150, deadline=None)
@given(counts)
def test_distances_agree_with_scipy(pairs):
    old, new = [a + 1 for a, _ in pairs], [b for _, b in pairs]
    if sum(new) == 0:
        new[0] = 1
    pair = cells(old, new)
    p, q = np.array(old) / sum(old), np.array(new) / sum(new)
    values = {name: method.value(pair) for name, method in METHODS.items()}
    assert values["jensen_shannon"] == pytest.approx(scipy.spatial.distance.jensenshannon(p, q, base=2), abs=1e-7)
    assert values["hellinger"] == pytest.approx(np.linalg.norm(np.sqrt(p) - np.sqrt(q)) / math.sqrt(2), abs=1e-7)
    positions = np.arange(len(old))
    assert values["wasserstein"] == pytest.approx(
        scipy.stats.wasserstein_distance(positions, positions, p, q), abs=1e-9
    )
    assert values["ks"] == pytest.approx(np.abs(np.cumsum(p) - np.cumsum(q)).max(), abs=1e-12)
    assert values["total_variation"] == pytest.approx(np.abs(p - q).sum() / 2, abs=1e-12)


def test_a_contract_may_ask_for_every_method_and_for_no_other():
    schema = json.loads(files("mlops.contract").joinpath("schema.json").read_text())
    assert schema["properties"]["drift"]["properties"]["methods"]["additionalProperties"]["enum"] == list(METHODS)


def test_psi_by_hand():
    # 50/50 against 90/10, many rows: (0.9 - 0.5) ln(0.9/0.5) + (0.1 - 0.5) ln(0.1/0.5)
    expected = 0.4 * math.log(1.8) - 0.4 * math.log(0.2)
    assert METHODS["psi"].value(cells([5e8, 5e8], [9e8, 1e8])) == pytest.approx(expected, rel=1e-6)


def test_cramers_v_at_equal_sizes_is_the_chi_square_statistic():
    old, new = [40, 30, 30], [20, 50, 30]
    chi = scipy.stats.chi2_contingency([old, new], correction=False).statistic
    assert METHODS["cramers_v"].value(cells(old, new)) == pytest.approx(math.sqrt(chi / 200), rel=1e-12)


def test_binned_ks_is_below_the_exact_statistic_and_close():
    rng = np.random.default_rng(4)
    old, new = rng.normal(size=5000), rng.normal(0.4, 1, size=3000)
    edges = np.quantile(old, np.linspace(0, 1, 21))
    edges[0], edges[-1] = -np.inf, np.inf
    pair = cells(np.histogram(old, edges)[0], np.histogram(new, edges)[0])
    exact = scipy.stats.ks_2samp(old, new).statistic
    assert exact - 0.03 < METHODS["ks"].value(pair) <= exact + 1e-12


def test_wasserstein_is_in_standard_deviations():
    rng = np.random.default_rng(5)
    old, new = rng.normal(100, 20, 50_000), rng.normal(110, 20, 50_000)
    edges = np.linspace(0, 210, 211)
    pair = cells(
        np.histogram(old, edges)[0], np.histogram(new, edges)[0], middles=edges[:-1] + 0.5, scale=float(old.std())
    )
    assert METHODS["wasserstein"].value(pair) == pytest.approx(0.5, abs=0.02)


@settings(max_examples=200, deadline=None)
@given(counts, st.booleans())
def test_every_method_is_finite_and_zero_for_equal_shares(pairs, ordered):
    old, new = [a for a, _ in pairs], [b for _, b in pairs]
    for name in METHODS:
        if ordered or not METHODS[name].ordered_only:
            measured = measure(cells(old, new, ordered=ordered), threshold=0.2, method=name)
            for value in (measured.value, measured.noise, measured.effect, measured.threshold):
                assert math.isfinite(value)
            assert measured.effect >= 0
            same = measure(cells(old, old, ordered=ordered), threshold=0.2, method=name)
            assert same.value == pytest.approx(0.0, abs=1e-6)
    assert 0.0 <= homogeneity(cells(old, new, ordered=ordered)) <= 1.0


@pytest.mark.parametrize("method", [m for m in METHODS if m != "new_share"])
@pytest.mark.parametrize(("n", "m"), [(400, 100), (2000, 400), (20_000, 1000)])
def test_noise_is_the_value_to_expect_without_drift(method, n, m):
    rng = np.random.default_rng(11)
    share = np.full(12, 1 / 12)
    pairs = [cells(rng.multinomial(n, share), rng.multinomial(m, share)) for _ in range(400)]
    measured = [measure(p, threshold=0.2, method=method) for p in pairs]
    power = 2 if METHODS[method].squared and method not in ("wasserstein", "total_variation") else 1
    seen = np.mean([x.value**power for x in measured])
    stated = np.mean([x.noise**power for x in measured])
    assert seen == pytest.approx(stated, rel=0.15)


@pytest.mark.parametrize("method", [m for m in METHODS if m != "new_share"])
def test_thresholds_of_all_methods_mean_the_same_shift(method):
    """PSI 0.2 is a shift by sqrt(0.2) standard deviations; each method's threshold is what it says of that shift."""
    edges = np.linspace(-6, 6.5, 2001)
    mass = 1e9
    old = np.diff(scipy.stats.norm.cdf(edges)) * mass
    new = np.diff(scipy.stats.norm.cdf(edges, loc=math.sqrt(0.2))) * mass
    measured = measure(cells(old, new, middles=(edges[:-1] + edges[1:]) / 2), threshold=0.2, method=method)
    assert measured.value == pytest.approx(measured.threshold, rel=0.03)


def test_the_method_follows_type_and_rows():
    many, few = [1000] * 10, [5] * 10
    assert choose(cells(many, many)) == "psi"
    assert choose(cells(many, few)) == "ks"
    assert choose(cells(many, few, ordered=False)) == "hellinger"
    assert measure(cells(many, few, ordered=False), threshold=0.2, method="wasserstein").method == "total_variation"


def test_p_values_are_uniform_without_drift():
    rng = np.random.default_rng(12)
    share = rng.dirichlet(np.ones(15))
    for n, m in [(5000, 5000), (3000, 150), (150, 3000)]:
        p = np.array([homogeneity(cells(rng.multinomial(n, share), rng.multinomial(m, share))) for _ in range(1500)])
        assert np.mean(p <= 0.01) <= 0.02
        assert np.mean(p <= 0.05) <= 0.075


def test_chi_square_agrees_with_scipy_when_no_cell_is_rare():
    old, new = [400, 300, 300], [200, 500, 310]
    expected = scipy.stats.chi2_contingency([old, new], correction=False).pvalue
    assert homogeneity(cells(old, new)) == pytest.approx(expected, rel=1e-9)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 40), st.integers(1, 400), st.integers(0, 40), st.integers(1, 400))
def test_exact_test_agrees_with_fisher(old, old_rows, new, new_rows):
    old, new = min(old, old_rows), min(new, new_rows)
    table = [[old, old_rows - old], [new, new_rows - new]]
    less = scipy.stats.fisher_exact(table, "less").pvalue
    greater = scipy.stats.fisher_exact(table, "greater").pvalue
    assert exact_rate(old, old_rows, new, new_rows) == pytest.approx(min(1.0, 2 * min(less, greater)), rel=1e-6)


def test_a_rare_value_that_becomes_frequent_is_seen_beside_a_large_one():
    assert homogeneity(cells([9997, 3], [40, 60], ordered=False)) < 1e-30


def test_a_constant_that_takes_another_value_is_seen():
    assert homogeneity(cells([0, 10_000, 0], [0, 0, 100])) < 1e-30


@pytest.mark.parametrize(
    ("args", "low", "high"),
    [
        ((0, 1000, 0, 100), 1.0, 1.0),
        ((0, 1000, 1, 100), 0.05, 1.0),
        ((0, 1000, 50, 100), 0.0, 1e-20),
        ((100, 1000, 100, 1000), 0.99, 1.0),
        ((1000, 1000, 0, 100), 0.0, 1e-20),
        ((0, 0, 5, 10), 1.0, 1.0),
    ],
)
def test_change_of_a_rate(args, low, high):
    assert low <= change_of_rate(*args) <= high
