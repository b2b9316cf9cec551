"""Monotone piecewise-linear curves as sums of rising steps with weights that are not negative.

A curve is its value at a first knot and its rise from knot to knot; the weights are these rises.
Rows and sequences are padded to buckets, so their curves are staircases: constant in a bucket, a
knot a bucket. The other curves are constant up to the first knot (a kernel's floor), linear between
knots, which are ends of the simulator's slots (`kaiju_sim.steptime.grid`): what is fitted is what
the simulator reads, to the last digit of the file.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibrate.design.buckets import row_buckets
from calibrate.fit.features import CURVES, Ints
from kaiju_sim.steptime.profile import Points

Floats = NDArray[np.float64]
STAIRCASES = ("rows", "seqs")
DIGITS = 5
"""Significant digits of a time in the file: far finer than any error, coarser than rounding."""


class Basis(NamedTuple):
    """The knots of one curve."""

    name: str
    knots: Ints
    """Increasing; a staircase's are the last x of each bucket."""

    @property
    def stairs(self) -> bool:
        """Whether it is a staircase."""
        return self.name in STAIRCASES


def bases_for(features: Ints) -> list[Basis]:
    """A basis for each curve, over the range of these features."""
    return [_basis(name, features[:, i]) for i, name in enumerate(CURVES)]


def _basis(name: str, x: Ints) -> Basis:
    if name in STAIRCASES:
        return Basis(name, np.array(row_buckets(max(int(x.max()), 17)), np.int64))
    known = x[x > 0]
    if known.size == 0:
        return Basis(name, np.array([2, 4], np.int64))
    return Basis(name, half_octaves(int(known.min()), int(known.max())))


def half_octaves(first: int, last: int) -> Ints:
    """2, 3, 4, 6, 8, 12 ... from the last one up to `first` to the first one from `last`."""
    found = [2]
    while found[-1] < last or len(found) < 2:
        power = 1 << (found[-1].bit_length() - 1)
        found.append(power * 3 // 2 if found[-1] == power else 2 * power)
    below = sum(knot <= first for knot in found)
    start = min(max(below - 1, 0), len(found) - 2)
    return np.array(found[start:], np.int64)


def design(basis: Basis, x: Ints) -> Floats:
    """The share of each rise that is reached at each x: [x, knots]."""
    at = x[:, None].astype(np.float64)
    if basis.stairs:
        before = np.concatenate([[0], basis.knots[:-1]])
        return (at > before).astype(np.float64)
    low, high = basis.knots[:-1].astype(np.float64), basis.knots[1:].astype(np.float64)
    rises = np.clip((at - low) / (high - low), 0.0, 1.0)
    return np.concatenate([(at > 0).astype(np.float64), rises], axis=1)


def points_of(basis: Basis, rises: Floats) -> Points:
    """The curve as a profile holds it (rises in seconds)."""
    values = [rounded(value) for value in np.cumsum(rises)]
    if not basis.stairs:
        return Points(x=tuple(int(x) for x in basis.knots), seconds=tuple(values))
    before = [0, *basis.knots[:-1]]
    pairs = zip(before, basis.knots, values, strict=True)
    ends = [(int(x), s) for low, high, s in pairs for x in (low + 1, high)]
    return Points(x=tuple(x for x, _ in ends), seconds=tuple(s for _, s in ends))


def rounded(value: float) -> float:
    """`value` with DIGITS significant digits."""
    return float(f"{value:.{DIGITS - 1}e}")
