"""Distributions of counts and of times."""

import math
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from kaiju_sim.scenario.base import Part
from kaiju_sim.scenario.quantities import (
    MAX_SECONDS,
    Numbers,
    PositiveSeconds,
    Seconds,
    Times,
)

MOST = 1_000_000
"""Largest mean or value of a count: with its tail it stays a 32-bit number of tokens."""


class Constant(Part):
    """Always the same value."""

    kind: Literal["constant"] = "constant"
    value: float = Field(ge=0, le=MOST)
    """The value."""


class Lognormal(Part):
    """Log-normal cut to [min, max]; the stated mean is the mean after the cut."""

    kind: Literal["lognormal"]
    mean: float = Field(gt=0, le=MOST)
    """Mean of the distribution."""
    sigma: float = Field(gt=0, le=3)
    """Standard deviation of the logarithm."""
    min: float = Field(default=0, ge=0)
    """Smallest value."""
    max: float | None = None
    """Largest value (none: no limit but the table's last quantile)."""

    @model_validator(mode="after")
    def _ordered(self) -> "Lognormal":
        if not self.min < self.mean < (math.inf if self.max is None else self.max):
            raise ValueError("a lognormal needs min < mean < max")
        return self


class Exponential(Part):
    """Exponential with a stated mean, drawn exactly (no table)."""

    kind: Literal["exponential"]
    mean: float = Field(gt=0, le=MOST)
    """Mean."""


class Geometric(Part):
    """Geometric on 1, 2, 3 ... with a stated mean, drawn exactly (no table)."""

    kind: Literal["geometric"]
    mean: float = Field(ge=1, le=MOST)
    """Mean."""


class Uniform(Part):
    """Uniform on [min, max]."""

    kind: Literal["uniform"]
    min: float = Field(ge=0)
    """Smallest value."""
    max: float = Field(ge=0, le=MOST)
    """Largest value."""

    @model_validator(mode="after")
    def _ordered(self) -> "Uniform":
        if self.min > self.max:
            raise ValueError("a uniform needs min <= max")
        return self


class Quantiles(Part):
    """Piecewise linear between quantiles at equal steps of probability from 0 to 1."""

    kind: Literal["quantiles"]
    values: Numbers = Field(min_length=2, max_length=1025)
    """Quantiles at 0, 1/(n-1), ... 1, not decreasing."""
    most: ClassVar[float] = MOST

    @model_validator(mode="after")
    def _ordered(self) -> "Quantiles":
        if self.values[0] < 0 or list(self.values) != sorted(self.values):
            raise ValueError("quantiles need values that start at 0 or more and do not decrease")
        if self.values[-1] > self.most:
            raise ValueError(f"quantiles need values of at most {self.most:g}")
        return self


class ConstantTime(Constant):
    """Always the same time."""

    value: Seconds
    """The time."""


class LognormalTime(Lognormal):
    """Log-normal cut to [min, max]; the stated mean is the mean after the cut."""

    mean: PositiveSeconds
    """Mean of the distribution."""
    min: Seconds = 0
    """Shortest time."""
    max: PositiveSeconds | None = None
    """Longest time (none: no limit but the table's last quantile)."""


class ExponentialTime(Exponential):
    """Exponential with a stated mean, drawn exactly (no table)."""

    mean: PositiveSeconds
    """Mean."""


class UniformTime(Uniform):
    """Uniform on [min, max]."""

    min: Seconds
    """Shortest time."""
    max: Seconds
    """Longest time."""


class QuantilesTime(Quantiles):
    """Piecewise linear between quantiles at equal steps of probability from 0 to 1."""

    values: Times = Field(min_length=2, max_length=1025)
    """Quantiles at 0, 1/(n-1), ... 1, not decreasing."""
    most: ClassVar[float] = MAX_SECONDS


Distribution = Annotated[
    Constant | Lognormal | Exponential | Geometric | Uniform | Quantiles,
    Field(discriminator="kind"),
]
"""A distribution of counts: tokens, turns."""


TimeDistribution = Annotated[
    ConstantTime | LognormalTime | ExponentialTime | UniformTime | QuantilesTime,
    Field(discriminator="kind"),
]
"""A distribution of times: the same kinds, with units in YAML and seconds here."""
