"""What is in ServeGen fits: how fast, at which hour, by whom, how bursty, how long."""

import math
from typing import Any

import numpy as np

from kaiju_sim.workload.traces.model import Ints
from kaiju_sim.workload.traces.servegen.fits import (
    GAMMA,
    INPUT,
    LENGTH_WINDOW_S,
    OUTPUT,
    WEIBULL,
    WINDOW_S,
    Fits,
    Floats,
)

_HOUR = 3600 // WINDOW_S
_PERCENT = (50, 90, 99)


def fit_figures(fits: Fits) -> dict[str, Any]:
    """The figures of docs/traces.md; rates in requests/s, hours from the first window."""
    total = fits.rate.sum(axis=0)
    mean = math.fsum(total) / fits.windows
    hours = hour_of_day(fits)
    by_client = np.sort(fits.rate.sum(axis=1))[::-1]
    return {
        "name": fits.name,
        "format": "servegen",
        "sha256": fits.sha256,
        "clients": len(fits.clients),
        "span_s": fits.windows * WINDOW_S,
        "mean_rate": round(mean, 3),
        "max_rate": round(float(total.max()), 3),
        "hour_of_day_mean": [round(rate, 2) for rate in hours],
        "peak_over_mean": round(max(hours) / mean, 3) if mean > 0 else None,
        "top10_client_share": round(float(by_client[:10].sum() / max(by_client.sum(), 1e-300)), 4),
        "gaps": _gaps(fits),
        "input": _lengths(fits, INPUT),
        "output": _lengths(fits, OUTPUT),
    }


def hour_of_day(fits: Fits) -> list[float]:
    """Mean rate in each of the 24 hours over the days (0 for an hour that no day reaches)."""
    hour = np.arange(fits.windows) // _HOUR % 24
    # Exactly rounded sums, so that a mean that lies between two printed digits prints as one.
    return [
        math.fsum(fits.rate[:, hour == h].ravel()) / max(int((hour == h).sum()), 1)
        for h in range(24)
    ]


def _gaps(fits: Fits) -> dict[str, float | None]:
    """Burstiness inside clients, weighted by requests: how the gaps are fitted."""
    weight = fits.rate.sum()
    if weight == 0:
        return {"gamma": None, "weibull": None, "cv_p50": None, "cv_p90": None}
    order = np.argsort(fits.cv.ravel())
    reached = np.cumsum(fits.rate.ravel()[order]) / weight
    cv = fits.cv.ravel()[order]
    shares = (float(fits.rate[fits.law == law].sum() / weight) for law in (GAMMA, WEIBULL))
    middle, high = (float(cv[np.searchsorted(reached, share)]) for share in (0.5, 0.9))
    values = dict(zip(("gamma", "weibull"), shares, strict=True))
    return {
        name: round(value, 4)
        for name, value in (values | {"cv_p50": middle, "cv_p90": high}).items()
    }


def _lengths(fits: Fits, field: str) -> dict[str, float]:
    """Lengths over the clients whose histograms are published, weighted by requests."""
    values, weights, known = _mixed(fits, field)
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order]) / weights.sum()
    quantiles = {f"p{q}": float(values[order][np.searchsorted(reached, q / 100)]) for q in _PERCENT}
    mean = float((values * weights).sum() / weights.sum())
    return {"mean": round(mean, 1), **quantiles, "known_share": round(known, 4)}


def _mixed(fits: Fits, field: str) -> tuple[Ints, Floats, float]:
    """All lengths with their weights, and the share of requests that have published lengths."""
    values, weights, known = [], [], 0.0
    row_of = {int(client): row for row, client in enumerate(fits.clients)}
    step = LENGTH_WINDOW_S // WINDOW_S
    for (client, window, what), histogram in fits.lengths.items():
        if what == field:
            rate = float(fits.rate[row_of[client], window * step : (window + 1) * step].sum())
            known += rate
            values.append(histogram.values)
            weights.append(np.diff(histogram.cumulative, prepend=0.0) * rate)
    weight = np.concatenate(weights)
    share = known / max(float(fits.rate.sum()), 1e-300)
    return np.concatenate(values), weight if weight.any() else weight + 1.0, share
