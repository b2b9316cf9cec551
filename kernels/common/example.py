"""Random inputs of the attention operators, for tests, sanitizer runs and measurements."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from kernels.common import visibility
from kernels.common.layout import HEAD_DIM, PAGE, KVPages, empty_pages, quantise_rows


class DecodeInputs(NamedTuple):
    """The positional arguments of `decode_attention`."""

    q: torch.Tensor
    q_scale: torch.Tensor | None
    kv: KVPages
    v_scale: torch.Tensor
    pages: torch.Tensor
    start: torch.Tensor
    limit: torch.Tensor


class PrefillInputs(NamedTuple):
    """The positional arguments of `prefill_attention`."""

    q: torch.Tensor
    q_scale: torch.Tensor | None
    kv: KVPages
    v_scale: torch.Tensor
    pages: torch.Tensor
    cu_q: torch.Tensor
    start: torch.Tensor
    limit: torch.Tensor


def random_like(out: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
    """Fill a tensor in place, piecewise: int8 uniformly from -127 to 127, floats with N(0, 1)."""
    flat = out.view(-1)
    for piece in flat.split(1 << 27):
        if out.dtype == torch.int8:
            piece.random_(-127, 128, generator=generator)
        else:
            piece.normal_(generator=generator)
    return out


def decode_inputs(
    limits: Sequence[int],
    *,
    starts: Sequence[int] | None = None,
    heads: int = 64,
    kv_heads: int = 1,
    dtype: torch.dtype = torch.int8,
    device: str = "cpu",
    seed: int = 0,
    spread: float = 2.0,
) -> DecodeInputs:
    """Sequences of these lengths on shuffled pages; logits are about N(0, spread).

    K's integers are uniform, so their root mean square is 73: q is scaled to give the spread.
    """
    generator = torch.Generator(device).manual_seed(seed)
    batch, entries = len(limits), max(1, -(-max(limits) // PAGE))
    count = batch * entries + 3
    order = torch.randperm(count, generator=generator, device=device)[: batch * entries]
    kv = KVPages(*(random_like(t, generator) for t in empty_pages(count, kv_heads, dtype, device)))
    q = torch.randn((batch, heads, HEAD_DIM), generator=generator, device=device) * spread
    is_int8 = dtype == torch.int8
    q, q_scale = quantise_rows(q / 73.3) if is_int8 else (q.half(), None)
    v_scale = torch.rand((kv_heads, HEAD_DIM), generator=generator, device=device) / 100 + 0.001

    def ints(values: Sequence[int]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.int32, device=device)

    table = order.to(torch.int32).view(batch, entries)
    return DecodeInputs(q, q_scale, kv, v_scale, table, ints(starts or [0] * batch), ints(limits))


def prefill_inputs(
    lengths: Sequence[int],
    cached: Sequence[int],
    *,
    window: int | None = None,
    heads: int = 64,
    kv_heads: int = 1,
    dtype: torch.dtype = torch.int8,
    device: str = "cpu",
    seed: int = 0,
    spread: float = 2.0,
) -> PrefillInputs:
    """Chunks of these lengths after cached prefixes of these, causal, on shuffled pages."""
    ends = [0]
    for length in lengths:
        ends.append(ends[-1] + length)
    cu_q = torch.tensor(ends, dtype=torch.int32, device=device)
    before = torch.tensor(list(cached), dtype=torch.int32, device=device)
    seen = visibility.causal(cu_q, before, ends[-1], window)
    contexts = [new + old for new, old in zip(lengths, cached, strict=True)]
    kept = decode_inputs(contexts, kv_heads=kv_heads, dtype=dtype, device=device, seed=seed)
    generator = torch.Generator(device).manual_seed(seed + 1)
    q = torch.randn((ends[-1], heads, HEAD_DIM), generator=generator, device=device) * spread
    q, q_scale = quantise_rows(q / 73.3) if dtype == torch.int8 else (q.half(), None)
    rest = (kept.kv, kept.v_scale, kept.pages)
    return PrefillInputs(q, q_scale, *rest, cu_q, seen.start, seen.limit)


def relative_error(out: torch.Tensor, want: torch.Tensor) -> float:
    """The size of the difference over the size of what is wanted (Frobenius norms, float64)."""
    return float((out.double() - want.double()).norm() / want.double().norm().clamp(min=1e-300))
