"""Exact binomial bounds: SciPy's values, and the coverage that Clopper and Pearson promise."""

import pytest
from scipy import stats

from kaiju_sim.metrics.stats.binomial import at_least, beta_cdf, beta_quantile, clopper_pearson


@pytest.mark.parametrize("a", [0.5, 1, 30, 600, 1e5])
@pytest.mark.parametrize("b", [0.7, 2, 571, 1e6])
def test_the_incomplete_beta_function_is_scipys(a: float, b: float) -> None:
    centre = a / (a + b)
    for x in (0.0, centre / 3, centre, min(1.0, centre * 1.01), (1 + centre) / 2, 1.0):
        assert beta_cdf(x, a, b) == pytest.approx(stats.beta.cdf(x, a, b), rel=1e-7, abs=1e-12)


@pytest.mark.parametrize(("k", "n"), [(0, 10), (3, 10), (10, 10), (569, 600), (25, 600)])
def test_the_bounds_are_scipys(k: int, n: int) -> None:
    expected = stats.binomtest(k, n).proportion_ci(0.95, "exact")
    assert clopper_pearson(k, n) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_tails_are_sums_of_probabilities() -> None:
    assert at_least(7, 20, 0.3) == pytest.approx(stats.binom.sf(6, 20, 0.3), rel=1e-9)
    assert at_least(0, 20, 0.3) == 1.0
    assert at_least(21, 20, 0.3) == 0.0
    assert beta_quantile(beta_cdf(0.3, 4, 9), 4, 9) == pytest.approx(0.3, abs=1e-9)


@pytest.mark.parametrize("p", [0.01, 0.05, 0.3, 0.5, 0.93, 0.99])
def test_the_bounds_hold_the_rate_as_often_as_they_say(p: float) -> None:
    n = 60
    inside = 0.0
    for k in range(n + 1):
        low, high = clopper_pearson(k, n)
        inside += float(stats.binom.pmf(k, n, p)) * (low <= p <= high)
    assert 0.95 <= inside <= 1.0


def test_bounds_need_a_trial() -> None:
    with pytest.raises(ValueError, match="trial"):
        clopper_pearson(0, 0)
