"""Least squares with weights that are not negative, in relative error, robust to outliers."""

from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls

from calibrate.fit.basis import Floats

TURNS = 4
HUBER = 2.5
"""Residuals beyond this many robust standard deviations pull no more than one at this distance
(Huber): a few spoilt steps do no harm, and steps that the model fits badly keep a say."""
LEAST_SIGMA = 1e-4
NOISE = 0.005
"""Relative standard deviation of a step's time that a prior is weighed against."""


class Prior(NamedTuple):
    """Where weights are drawn to, and how far they may stray at little cost."""

    mean: Floats
    spread: Floats


def fitted(columns: Floats, seconds: Floats, prior: Prior | None = None) -> Floats:
    """Weights w >= 0 that minimise the squares of columns @ w / seconds - 1.

    With a prior, the squares of (w - mean) / spread count as those of the steps' errors do, each in
    standard deviations. Steps that stand out are weighed down in turns (Huber).
    """
    relative = columns / seconds[:, None]
    weight = np.ones(seconds.size)
    found = np.zeros(columns.shape[1])
    for _ in range(TURNS):
        found = _solved(relative * weight[:, None], weight, prior)
        weight = _weights(relative @ found - 1.0)
    return found


def _solved(a: Floats, b: Floats, prior: Prior | None) -> Floats:
    if prior is not None:
        pull = NOISE / prior.spread
        a = np.concatenate([a, np.diag(pull)])
        b = np.concatenate([b, pull * prior.mean])
    scale = np.sqrt((a * a).sum(axis=0))
    scale[scale == 0.0] = 1.0
    weights, _ = nnls(a / scale, b, maxiter=30 * a.shape[1])
    return np.asarray(weights / scale, np.float64)


def _weights(residuals: Floats) -> Floats:
    """Square roots of Huber's weight of each residual."""
    size = np.abs(residuals)
    limit = HUBER * max(1.4826 * float(np.median(size)), LEAST_SIGMA)
    return np.asarray(np.sqrt(limit / np.maximum(size, limit)), np.float64)
