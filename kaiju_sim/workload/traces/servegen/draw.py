"""Requests drawn from ServeGen fits: each client a renewal process, lengths from its histograms.

In a window of ten minutes a client's gaps have the fitted shape and a mean of one over its rate.
The process is drawn as one under way: the first request comes after a part, uniform, of a gap met
at random (drawn by its length), so that the expected number of requests is rate x time exactly; a
process that starts afresh in each window would add (cv^2 - 1)/2 requests to it (W. L. Smith,
"Renewal theory and its ramifications", 1958). Input and output lengths are independent draws, as
published.

Draws are counter-based (Philox), keyed by seed, client and window: a window's requests are the
same whatever else is drawn.
"""

import math

import numpy as np

from kaiju_sim.errors import UserError
from kaiju_sim.workload.traces.model import Ints, Limits, Stretch, Trace
from kaiju_sim.workload.traces.servegen.fits import (
    GAMMA,
    INPUT,
    LENGTH_WINDOW_S,
    OUTPUT,
    SILENT,
    WINDOW_S,
    Fits,
    Floats,
)

_SPREAD = 6


def draw_trace(fits: Fits, draw: Stretch, limits: Limits | None = None) -> Trace:
    """The requests of a stretch of time, in order of arrival."""
    _check(fits, draw, limits or Limits())
    first = int(draw.start_s // WINDOW_S)
    last = min(math.ceil(_end_s(fits, draw) / WINDOW_S), fits.windows)
    donors = fits.donors()
    parts = [
        _client_window(fits, draw, int(row), window, donors[row])
        for window in range(first, last)
        for row in np.flatnonzero(fits.law[:, window] != SILENT)
    ]
    parts = [part for part in parts if len(part[0])]
    if not parts:
        raise UserError(f"{fits.name}: no request was drawn in this stretch; make it longer")
    at, into, out = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = np.argsort(at, kind="stable")
    return Trace(
        name=fits.name,
        format="servegen",
        sha256=fits.sha256,
        first_ns=int(at[order[0]]),
        arrival_ns=at[order] - at[order[0]],
        prompt_tokens=into[order],
        output_tokens=out[order],
        session=None,
        character=None,
        block_ids=None,
        block_offsets=None,
        block_tokens=1,
    )


def _end_s(fits: Fits, draw: Stretch) -> float:
    length = fits.windows * WINDOW_S if draw.duration_s is None else draw.duration_s
    return min(draw.start_s + length, float(fits.windows * WINDOW_S))


def expected_requests(fits: Fits, draw: Stretch) -> float:
    """Mean number of requests in the stretch."""
    edge = np.arange(fits.windows + 1) * float(WINDOW_S)
    inside = np.clip(edge, draw.start_s, _end_s(fits, draw))
    return float((fits.rate.sum(axis=0) * np.diff(inside)).sum() * draw.scale)


def _check(fits: Fits, draw: Stretch, limits: Limits) -> None:
    end_s = fits.windows * WINDOW_S
    if not (0 <= draw.start_s < end_s and draw.scale > 0) or (
        draw.duration_s is not None and draw.duration_s <= 0
    ):
        raise UserError(
            f"{fits.name} covers {end_s:,} s: start within it, with a duration and scale above 0"
        )
    if expected_requests(fits, draw) > limits.rows:
        raise UserError(
            f"{fits.name}: about {expected_requests(fits, draw):,.0f} requests would be drawn, at"
            f" most {limits.rows:,} can; shorten the duration or scale the clients down"
        )


def _client_window(
    fits: Fits, draw: Stretch, row: int, window: int, donor: int
) -> tuple[Ints, Ints, Ints]:
    """Arrivals (ns) and lengths of one client in one window, cut to the stretch."""
    client = int(fits.clients[row])
    key = np.array([draw.seed, (client << 32) | window], dtype=np.uint64)
    random = np.random.Generator(np.random.Philox(key=key))
    offset_s = arrivals(
        random,
        int(fits.law[row, window]),
        float(fits.shape[row, window]),
        float(fits.rate[row, window]) * draw.scale,
    )
    uniform = random.random((2, len(offset_s)))
    at_ns = window * WINDOW_S * 10**9 + (offset_s * 1e9).astype(np.int64)
    kept = (at_ns >= round(draw.start_s * 1e9)) & (at_ns < round(_end_s(fits, draw) * 1e9))
    when = window * WINDOW_S // LENGTH_WINDOW_S
    into, out = (
        _drawn(fits, donor, when, field, u[kept])
        for field, u in zip((INPUT, OUTPUT), uniform, strict=True)
    )
    return at_ns[kept], into, out


def _drawn(fits: Fits, client: int, window: int, field: str, u: Floats) -> Ints:
    histogram = fits.lengths.nearest(client, window, field)
    place = np.searchsorted(histogram.cumulative, u, side="right")
    return np.asarray(histogram.values[np.minimum(place, len(histogram.values) - 1)])


def arrivals(random: np.random.Generator, law: int, shape: float, rate: float) -> Floats:
    """Seconds of a stationary renewal process with this law and rate in [0, `WINDOW_S`)."""
    mean = WINDOW_S * rate
    batch = int(mean + _SPREAD * math.sqrt(mean)) + 16
    at = np.array([random.random() * _gap_met_at_random(random, law, shape)]) / rate
    while at[-1] < WINDOW_S:
        more = np.cumsum(_gaps(random, law, shape, batch)) / rate
        at = np.concatenate([at, at[-1] + more])
    return np.asarray(at[at < WINDOW_S])


def _gaps(random: np.random.Generator, law: int, shape: float, count: int) -> Floats:
    """Gaps of mean 1."""
    if law == GAMMA:
        return random.gamma(shape, 1 / shape, count)
    return random.weibull(shape, count) / math.gamma(1 + 1 / shape)


def _gap_met_at_random(random: np.random.Generator, law: int, shape: float) -> float:
    """A gap of mean 1 drawn by its length: Gamma(k + 1), and for Weibull a power of a Gamma."""
    if law == GAMMA:
        return float(random.gamma(shape + 1, 1 / shape))
    return float(random.gamma(1 + 1 / shape) ** (1 / shape) / math.gamma(1 + 1 / shape))
