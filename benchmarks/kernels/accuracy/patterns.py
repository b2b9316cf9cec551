"""Queries, keys and values of the kinds that are hard on int8.

Logits (scores after the softmax scale) are N(0, 1) but for the pattern, values N(0.5, 1): with a
mean of zero, the output of a long context would be nothing but noise. All real-valued, float64.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch

from benchmarks.kernels.cases import HEAD_DIM

COMMON = 4.0
"""Length of what the queries of all heads have in common, by which a sink attracts them."""
VALUE_MEAN = 0.5
OUTLIER, OUTLIER_CHANNELS = 16.0, (5, 77)


class Real(NamedTuple):
    """q `[queries, heads, 128]`, k and v `[context, 128]` of the only KV head."""

    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor


def normal(context: int, queries: int, heads: int, device: str, spread: float = 1.0) -> Real:
    """Logits N(0, spread)."""
    generator = torch.Generator(device).manual_seed(7)

    def draw(*size: int) -> torch.Tensor:
        return torch.randn(size, generator=generator, dtype=torch.float64, device=device)

    q = spread * draw(queries, heads, HEAD_DIM)
    return Real(q, draw(context, HEAD_DIM), VALUE_MEAN + draw(context, HEAD_DIM))


def sink(context: int, queries: int, heads: int, device: str, nats: float) -> Real:
    """The first token's logit is about `nats` higher than the others', for all heads."""
    real = normal(context, queries, heads, device)
    toward = torch.ones(HEAD_DIM, dtype=torch.float64, device=device) / math.sqrt(HEAD_DIM)
    toward[::2] *= -1
    across = real.q - (real.q @ toward)[..., None] * toward
    real.k[0] = nats * math.sqrt(HEAD_DIM) / COMMON * toward
    return real._replace(q=across + COMMON * toward)


def outliers(context: int, queries: int, heads: int, device: str, *, of_keys: bool) -> Real:
    """Two channels of K or V are 16 times as large; in K, q is smaller there by half of that."""
    real = normal(context, queries, heads, device)
    channels = list(OUTLIER_CHANNELS)
    (real.k if of_keys else real.v)[:, channels] *= OUTLIER
    if of_keys:
        real.q[..., channels] /= OUTLIER / 2
    return real


PATTERNS: dict[str, Callable[[int, int, int, str], Real]] = {
    "logits N(0, 1)": normal,
    "logits N(0, 2)": partial(normal, spread=2.0),
    "sink +6": partial(sink, nats=6.0),
    "sink +8": partial(sink, nats=8.0),
    "sink +10": partial(sink, nats=10.0),
    "outlier channels in K": partial(outliers, of_keys=True),
    "outlier channels in V": partial(outliers, of_keys=False),
}
