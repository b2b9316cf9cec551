"""What a bill comes to per unit, and how it is split between kinds of tokens.

The split is a convention, stated here once:

- host memory is borne by cached input (by uncached input where nothing is cached), network by
  output;
- every other line is divided like the GPUs' time: prompt rows' share of it falls to input, the rest
  to output;
- a cached input token bears `cached_input_weight` of what an uncached one bears.
"""

from dataclasses import dataclass

from kaiju_sim.economics.cost.bill import Bill, Month


@dataclass(frozen=True)
class Split:
    """A bill by kind of token, in USD."""

    uncached: float
    """Prompt tokens that were computed."""
    cached: float
    """Prompt tokens found in caches."""
    output: float
    """Tokens delivered."""

    @property
    def total(self) -> float:
        """The sum of the three."""
        return self.uncached + self.cached + self.output


def split(bill: Bill, month: Month, input_share: float, cached_weight: float) -> Split:
    """The bill by kind of token."""
    shared = bill.total - bill.host_memory - bill.network
    own = split_shared(shared, month, input_share, cached_weight)
    at_cached = month.cached > 0
    return Split(
        own.uncached + (0.0 if at_cached else bill.host_memory),
        own.cached + (bill.host_memory if at_cached else 0.0),
        own.output + bill.network,
    )


def split_shared(usd: float, month: Month, input_share: float, cached_weight: float) -> Split:
    """What is divided like the GPUs' time."""
    weighed = month.uncached + cached_weight * month.cached
    if weighed <= 0:
        return Split(0.0, 0.0, usd)
    for_input = usd * input_share
    uncached = for_input * month.uncached / weighed
    return Split(uncached, for_input - uncached, usd - for_input)


def per_million(usd: float, tokens: float) -> float | None:
    """Price of a million tokens; none without tokens."""
    return per(usd * 1e6, tokens)


def per(usd: float, units: float) -> float | None:
    """Price of a unit; none without units."""
    return usd / units if units > 0 else None
