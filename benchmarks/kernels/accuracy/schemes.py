"""Attention of real values: exact, by our operators, and by two schemes to compare them with."""

from typing import NamedTuple

import torch

from benchmarks.kernels.accuracy.patterns import Real
from benchmarks.kernels.cases import HEAD_DIM, PAGE
from benchmarks.kernels.store import OURS
from kernels.common.layout import (
    SOFTMAX_SCALE,
    KVPages,
    empty_pages,
    quantise_rows,
    scatter_context,
)


class Stored(NamedTuple):
    """Real values as int8: q with K's channel scales folded in, per row; K and V per channel."""

    q: torch.Tensor
    q_scale: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    v_scale: torch.Tensor


def quantised(real: Real) -> Stored:
    """As the model stores them; channel scales are those that just hold every token."""
    k_scale, v_scale = (x.abs().amax(0) / 127 for x in (real.k, real.v))
    q, q_scale = quantise_rows(real.q * k_scale)
    k, v = (
        (x / scale).round().to(torch.int8) for x, scale in ((real.k, k_scale), (real.v, v_scale))
    )
    return Stored(q, q_scale, k, v, v_scale.float())


def limits_of(operator: str, context: int, queries: int, device: str) -> torch.Tensor:
    """How many keys each query sees: all, or in prefill those up to its own."""
    last = torch.arange(context - queries + 1, context + 1, dtype=torch.int32, device=device)
    return last if operator == "prefill_attention" else torch.full_like(last, context)


def scores(q: torch.Tensor, k: torch.Tensor, limits: torch.Tensor) -> torch.Tensor:
    """Logits `[queries, heads, context]` in float64, minus infinity where a key is not seen."""
    found = torch.einsum("qhd,kd->qhk", q.double(), k.double()) * SOFTMAX_SCALE
    hidden = torch.arange(len(k), device=k.device) >= limits[:, None]
    return found.masked_fill(hidden[:, None], -float("inf"))


def exact(real: Real, limits: torch.Tensor) -> torch.Tensor:
    """float64 attention of the real values."""
    return torch.softmax(scores(real.q, real.k, limits), -1) @ real.v


def int8_values(stored: Stored, limits: torch.Tensor) -> torch.Tensor:
    """q, K and V in int8, probabilities exact: what no scheme for P can improve on."""
    logits = scores(stored.q * stored.q_scale[..., None], stored.k, limits)
    return torch.softmax(logits, -1) @ (stored.v * stored.v_scale).double()


def naive(stored: Stored, limits: torch.Tensor) -> torch.Tensor:
    """P in int8 against the largest logit so far, tile by tile."""
    logits = scores(stored.q * stored.q_scale[..., None], stored.k, limits)
    top = torch.full_like(logits[..., 0], -float("inf"))
    mass = torch.zeros_like(top)
    out = torch.zeros((*top.shape, HEAD_DIM), dtype=torch.float64, device=top.device)
    values = stored.v.double()
    for at in range(0, logits.shape[-1], PAGE):
        tile = logits[..., at : at + PAGE]
        new_top = torch.maximum(top, tile.amax(-1))
        shrink = torch.exp(top - new_top)
        p = (127 * torch.exp(tile - new_top[..., None])).round()
        out = out * shrink[..., None] + p @ values[at : at + PAGE]
        mass = mass * shrink + p.sum(-1)
        top = new_top
    return out / mass[..., None] * stored.v_scale


def paged(stored: Stored) -> tuple[KVPages, torch.Tensor]:
    """Pages and their table."""
    padding = -len(stored.k) % PAGE
    k, v = (torch.nn.functional.pad(x, (0, 0, 0, padding))[None] for x in (stored.k, stored.v))
    pages = k.shape[1] // PAGE
    kv = empty_pages(pages, 1, torch.int8, str(k.device))
    table = torch.arange(pages, dtype=torch.int32, device=k.device)
    scatter_context(kv, table, k, v)
    return kv, table


def ours(operator: str, stored: Stored, limits: torch.Tensor) -> torch.Tensor:
    """Our operator: each query a sequence, or all of them one chunk."""
    kv, table = paged(stored)
    queries = (stored.q, stored.q_scale, kv, stored.v_scale[None])
    start = torch.zeros_like(limits)
    if operator == "decode_attention":
        from kernels.decode_attention import decode_attention

        tables = table[None].expand(len(limits), -1).contiguous()
        return decode_attention(*queries, tables, start, limits)
    from kernels.prefill_attention import prefill_attention

    bounds = torch.tensor([0, len(limits)], dtype=torch.int32, device=limits.device)
    return prefill_attention(*queries, table[None], bounds, start, limits)


def error_of(out: torch.Tensor, want: torch.Tensor) -> tuple[float, float]:
    """Relative error of all rows together, and of the worst one."""
    wrong = (out.double() - want).norm(dim=-1)
    whole = wrong.norm() / want.norm()
    return float(whole), float((wrong / want.norm(dim=-1)).max())


def errors(operator: str, real: Real, limits: torch.Tensor) -> dict[str, tuple[float, float]]:
    """The errors of each scheme."""
    want, stored = exact(real, limits), quantised(real)
    found = {
        OURS: ours(operator, stored, limits),
        "int8 values": int8_values(stored, limits),
        "naive": naive(stored, limits),
    }
    return {name: error_of(out, want) for name, out in found.items()}
