"""The cheapest way to buy GPUs for a demand curve: reserved, on demand, spot.

Reserved GPUs are paid for in every hour, the others in the hours that use them. For a number of
reserved ones each hour is settled by itself: what they do not cover is spot as far as its limit (a
share of the hour's GPUs) allows and as long as spot is the cheaper, the rest on demand. The best
number is found by trying each that the curve steps over, so the answer is exact.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Prices:
    """Prices of a GPU hour of work, in USD."""

    reserved: float
    """Paid in every hour, used or not."""
    on_demand: float
    spot: float
    """Per hour that is not lost to interruptions."""
    spot_limit: float
    """Largest share of an hour's GPUs that may be spot."""


@dataclass(frozen=True)
class Mix:
    """GPUs bought, and their mean bill."""

    reserved_gpus: int
    on_demand_gpus: float
    """Mean over the hours."""
    spot_gpus: float
    """Mean over the hours, doing work."""
    usd_per_hour: float
    """Mean over the hours."""


def mix_with(reserved: int, demand: Sequence[float], prices: Prices) -> Mix:
    """What so many reserved GPUs come to for a demand in GPUs by hour."""
    hours = np.asarray(demand, float)
    short = np.maximum(hours - reserved, 0.0)
    cheap = prices.spot < prices.on_demand
    spot = np.minimum(short, hours * prices.spot_limit) if cheap else np.zeros_like(short)
    rest = short - spot
    usd = reserved * prices.reserved + spot * prices.spot + rest * prices.on_demand
    return Mix(reserved, float(rest.mean()), float(spot.mean()), float(usd.mean()))


def best_mix(demand: Sequence[float], prices: Prices) -> Mix:
    """The cheapest mix; of equals the one with the fewest reserved GPUs.

    The bill is piecewise linear and convex in the number of reserved GPUs, with corners where an
    hour's demand, or what spot may not take of it, is met; whole numbers beside them suffice.
    """
    hours = np.asarray(demand, float)
    corners = np.concatenate([[0.0], hours, hours * (1.0 - prices.spot_limit)])
    counts = np.unique(np.concatenate([np.floor(corners), np.ceil(corners)]).astype(int))
    return min((mix_with(int(n), demand, prices) for n in counts), key=_cost)


def _cost(mix: Mix) -> tuple[float, int]:
    return mix.usd_per_hour, mix.reserved_gpus
