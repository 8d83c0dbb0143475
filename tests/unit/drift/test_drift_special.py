"""Tail probabilities against scipy."""

from __future__ import annotations

import pytest
import scipy.special
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.drift.special import adjusted, chi2_sf, gamma_q, normal_two_sided


@settings(max_examples=300, deadline=None)
@given(st.floats(0, 5000), st.integers(1, 400))
def test_chi_square_tail(statistic, freedom):
    expected = float(scipy.stats.chi2.sf(statistic, freedom))
    assert chi2_sf(statistic, freedom) == pytest.approx(expected, rel=1e-9, abs=1e-290)


@settings(max_examples=200, deadline=None)
@given(st.floats(0.01, 500), st.floats(0, 1000))
def test_incomplete_gamma(a, x):
    assert gamma_q(a, x) == pytest.approx(float(scipy.special.gammaincc(a, x)), rel=1e-8, abs=1e-290)


@pytest.mark.parametrize("z", [-40.0, -2.5, 0.0, 0.1, 1.96, 6.0, 37.0])
def test_normal_tail(z):
    assert normal_two_sided(z) == pytest.approx(2 * scipy.stats.norm.sf(abs(z)), rel=1e-12)


def test_edges_of_the_chi_square_tail():
    assert chi2_sf(0.0, 3) == 1.0
    assert chi2_sf(5.0, 0) == 1.0
    assert chi2_sf(float("inf"), 3) == 0.0


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(0, 1), max_size=30))
def test_false_discovery_adjustment(p_values):
    expected = scipy.stats.false_discovery_control(p_values) if p_values else []
    assert adjusted(p_values) == pytest.approx(list(expected), rel=1e-12, abs=1e-300)
