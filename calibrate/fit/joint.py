"""All curves at once, fitted to whole steps in two stages.

1. **Coarse.** Each curve is a value at its first knot, a few straight pieces, and, where operators
   were measured, their shape: few weights, found by non-negative least squares.
2. **Fine.** Each knot has a rise of its own, drawn to the coarse curve's by a prior whose width is
   a share of that rise: wide for the staircases, whose every step is measured, narrow for the
   others, which are smooth.

Widths, and whether prefill attention goes in rounds, are chosen by cross-validation within the
steps of the fit (`choose`); held-out steps are never seen here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from calibrate.fit.basis import Basis, Floats, bases_for, design
from calibrate.fit.features import CURVES, Card, Ints, features_of
from calibrate.fit.prior import prior_rises
from calibrate.fit.read import Call, Step
from calibrate.fit.solve import Prior, fitted
from kaiju_sim.catalog.models import Model

COARSE_STEP = 4
"""Knots to a straight piece of the coarse curves."""
FOLDS = 4
LEAST_SPREAD = 0.1
"""Of a curve's mean rise: how far a knot without any coarse rise may stray."""


class Widths(NamedTuple):
    """Relative widths of the prior around the coarse curves' rises."""

    stairs: float
    smooth: float


WIDTHS = tuple(Widths(a, b) for a in (0.3, 1.0, 3.0) for b in (0.1, 0.3, 1.0))


@dataclass(frozen=True)
class Data:
    """Steps to fit, and what is known beside them."""

    steps: Sequence[Step]
    calls: Sequence[Call]
    model: Model
    host_s: float
    """Host time of every step, which no curve holds."""
    card: Card

    def seconds(self) -> Floats:
        """What the curves have to add up to, by step."""
        return np.array([step.wall_s - self.host_s for step in self.steps])

    def features(self) -> Ints:
        """What the curves are read at, by step."""
        return features_of([step.shape for step in self.steps], self.card)


class Problem(NamedTuple):
    """Data as numbers: fine columns by step, and how coarse weights make fine rises."""

    bases: list[Basis]
    columns: Floats
    coarse: Floats
    """[rises, coarse weights]"""
    seconds: Floats
    wall: Floats


def problem_of(data: Data) -> Problem:
    """The columns of every curve, side by side."""
    features = data.features()
    bases = bases_for(features)
    columns = [design(basis, features[:, i]) for i, basis in enumerate(bases)]
    blocks = [
        _coarse(basis, prior_rises(data.calls, data.model, basis, data.card)) for basis in bases
    ]
    wall = np.array([step.wall_s for step in data.steps])
    return Problem(bases, np.concatenate(columns, axis=1), _diagonal(blocks), data.seconds(), wall)


def _coarse(basis: Basis, shape: Floats | None) -> Floats:
    """Rises that each coarse weight of a curve stands for: floor, straight pieces, known shape."""
    knots = basis.knots.astype(np.float64)
    ends = sorted({*range(0, len(knots), COARSE_STEP), len(knots) - 1})
    pieces = [np.eye(len(knots))[0]]
    for low, high in zip(ends[:-1], ends[1:], strict=True):
        piece = np.diff(np.clip((knots - knots[low]) / (knots[high] - knots[low]), 0, 1), prepend=0)
        pieces.append(piece)
    if shape is not None and shape.sum() > 0:
        pieces.append(shape / shape.sum())
    return np.stack(pieces, axis=1)


def _diagonal(blocks: Sequence[Floats]) -> Floats:
    sizes = np.array([block.shape for block in blocks])
    whole = np.zeros(sizes.sum(axis=0))
    ends = np.cumsum(sizes, axis=0)
    for block, (row, column) in zip(blocks, ends, strict=True):
        whole[row - block.shape[0] : row, column - block.shape[1] : column] = block
    return whole


def solve(problem: Problem, widths: Widths, rows: Ints | None = None) -> Floats:
    """Rises of all curves in seconds, from these rows of the data (none: all)."""
    chosen = np.arange(problem.seconds.size) if rows is None else rows
    columns = problem.columns[chosen]
    seconds = problem.seconds[chosen]
    coarse = problem.coarse @ fitted(columns @ problem.coarse, seconds)
    return fitted(columns, seconds, Prior(coarse, _spread(problem.bases, coarse, widths)))


def _spread(bases: Sequence[Basis], coarse: Floats, widths: Widths) -> Floats:
    spread, at = np.empty(coarse.size), 0
    for basis in bases:
        mine = coarse[at : at + len(basis.knots)]
        width = widths.stairs if basis.stairs else widths.smooth
        least = max(LEAST_SPREAD * float(mine.mean()), 1e-9)
        spread[at : at + len(basis.knots)] = width * (mine + least)
        at += len(basis.knots)
    return spread


def choose(candidates: Sequence[Data]) -> tuple[Problem, Widths, Data]:
    """The data (they differ in their card) and widths with the least error in cross-validation."""
    best: tuple[float, Problem, Widths, Data] | None = None
    for data in candidates:
        problem = problem_of(data)
        for widths in WIDTHS:
            error = validated(problem, widths)
            if best is None or error < best[0]:
                best = (error, problem, widths, data)
    assert best is not None
    return best[1:]


def validated(problem: Problem, widths: Widths) -> float:
    """Mean error on steps that were left out in turn, relative to the whole step."""
    fold = np.arange(problem.seconds.size) % FOLDS
    total = 0.0
    for left_out in range(FOLDS):
        rises = solve(problem, widths, np.flatnonzero(fold != left_out))
        mine = fold == left_out
        errors = (problem.columns[mine] @ rises - problem.seconds[mine]) / problem.wall[mine]
        total += float(np.abs(errors).sum())
    return total / problem.seconds.size


def split(bases: Sequence[Basis], rises: Floats) -> dict[str, tuple[Basis, Floats]]:
    """Each curve's basis and rises, by name."""
    ends = np.cumsum([len(basis.knots) for basis in bases])
    parts = np.split(rises, ends[:-1])
    return {name: (basis, part) for name, basis, part in zip(CURVES, bases, parts, strict=True)}
