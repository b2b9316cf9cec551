"""How long people take: a lognormal through two quantiles.

ln T is normal with mean ln p50 and standard deviation ln(p99 / p50) / z(0.99), z(0.99) = 2.326: the
two conditions are solved exactly. Repair times are skewed to the right, and lognormals are their
usual model; the quantiles are assumptions of the scenario, with their source and grade.
"""

import math
from statistics import NormalDist

from kaiju_sim import rng
from kaiju_sim.scenario.parts.incidents import Response

Z99 = NormalDist().inv_cdf(0.99)


def lognormal(p50: float, p99: float) -> tuple[float, float]:
    """Mean and standard deviation of the logarithm of a time with these two quantiles."""
    return math.log(p50), math.log(p99 / p50) / Z99


def quantile_s(response: Response, u: float) -> float:
    """The u-quantile of the time from the alarm to the remedy, seconds."""
    mu, sigma = lognormal(response.mttr_p50_s.value, response.mttr_p99_s.value)
    return math.exp(mu + sigma * NormalDist().inv_cdf(u))


def drawn_s(response: Response, seed: int, number: int) -> float:
    """The time that incident `number` of a scenario takes, in every variant of one seed."""
    return quantile_s(response, rng.uniform(seed, rng.MTTR, number, 0))
