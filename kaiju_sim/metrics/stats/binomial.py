"""Binomial probabilities and exact confidence bounds on a rate.

Tails are regularised incomplete beta functions, I_p(k, n - k + 1), by the continued fraction of
Press et al., *Numerical Recipes*, section 6.4 (modified Lentz); tested against SciPy, which the
simulator does not import.
"""

import math

CONFIDENCE = 0.95
_TINY = 1e-300


def beta_cdf(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b), a and b above 0."""
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    if x > (a + 1.0) / (a + b + 2.0):  # the fraction converges fast on the other side
        return 1.0 - beta_cdf(1.0 - x, b, a)
    log = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    log += a * math.log(x) + b * math.log1p(-x)
    return math.exp(log) / (a * _fraction(x, a, b))


def _fraction(x: float, a: float, b: float) -> float:
    """Denominator of the continued fraction of I_x(a, b), after x^a (1-x)^b / (a B(a, b))."""
    c, d = 1.0, 1.0 / _away(1.0 - (a + b) * x / (a + 1.0))
    value = d
    for m in range(1, 10_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        step = 1.0
        for term in (even, odd):
            d = 1.0 / _away(1.0 + term * d)
            c = _away(1.0 + term / c)
            step = c * d
            value *= step
        if abs(step - 1.0) < 1e-15:
            break
    return 1.0 / value


def _away(x: float) -> float:
    """A number that may be divided by."""
    return x if abs(x) > _TINY else _TINY


def at_least(k: int, n: int, p: float) -> float:
    """P(X >= k) of a binomial count of n trials."""
    if k <= 0:
        return 1.0
    return 0.0 if k > n else beta_cdf(p, k, n - k + 1)


def beta_quantile(q: float, a: float, b: float) -> float:
    """The q-quantile of the beta law, by bisection to 1e-15."""
    low, high = 0.0, 1.0
    for _ in range(60):
        mid = (low + high) / 2
        if beta_cdf(mid, a, b) < q:
            low = mid
        else:
            high = mid
    return (low + high) / 2


def clopper_pearson(k: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Exact two-sided bounds on the rate behind k of n (Clopper and Pearson 1934).

    They hold the true rate with at least this confidence whatever it is, often with more.
    """
    if n < 1:
        raise ValueError("bounds on a rate need a trial")
    out = (1.0 - confidence) / 2
    low = 0.0 if k == 0 else beta_quantile(out, k, n - k + 1)
    high = 1.0 if k == n else beta_quantile(1.0 - out, k + 1, n - k)
    return low, high
