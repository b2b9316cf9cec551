"""Random inputs of the operators, for tests, sanitizer runs and measurements."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch

from kernels.common import visibility
from kernels.common.layout import HEAD_DIM, PAGE, KVPages, empty_pages, quantise_rows

Order = Literal["decode", "prefill", "ragged"]
POISON = 77


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


def _queries(
    size: tuple[int, int], dtype: torch.dtype, spread: float, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Queries `[*size, 128]` and their scales, such that logits are about N(0, spread).

    K's integers are uniform, so their root mean square is 73: q is scaled to give the spread.
    """
    q = torch.randn((*size, HEAD_DIM), generator=generator, device=generator.device) * spread
    return quantise_rows(q / 73.3) if dtype == torch.int8 else (q.half(), None)


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
    """Sequences of these lengths on shuffled pages; logits are about N(0, spread)."""
    generator = torch.Generator(device).manual_seed(seed)
    batch, entries = len(limits), max(1, -(-max(limits) // PAGE))
    count = batch * entries + 3
    order = torch.randperm(count, generator=generator, device=device)[: batch * entries]
    kv = KVPages(*(random_like(t, generator) for t in empty_pages(count, kv_heads, dtype, device)))
    q, q_scale = _queries((batch, heads), dtype, spread, generator)
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
    q, q_scale = _queries((ends[-1], heads), dtype, spread, generator)
    rest = (kept.kv, kept.v_scale, kept.pages)
    return PrefillInputs(q, q_scale, *rest, cu_q, seen.start, seen.limit)


class NormInputs(NamedTuple):
    """The tensors of `norm_quantise`."""

    x: torch.Tensor
    delta: torch.Tensor
    residual_scale: torch.Tensor


class RotaryInputs(NamedTuple):
    """The tensors of `rotary_write` but for the table of cosines."""

    qkv: torch.Tensor
    positions: torch.Tensor
    k_scale: torch.Tensor | None
    v_scale: torch.Tensor | None
    pages: KVPages | None
    slots: torch.Tensor | None


class EmbeddingInputs(NamedTuple):
    """The tensors of `embedding`."""

    ids: torch.Tensor
    table: torch.Tensor
    row_scale: torch.Tensor


class SamplingInputs(NamedTuple):
    """The positional arguments of `sampling`."""

    logits: torch.Tensor
    temperature: torch.Tensor
    seed: torch.Tensor
    step: torch.Tensor


def norm_inputs(tokens: int, hidden: int, *, device: str = "cpu", seed: int = 0) -> NormInputs:
    """A residual stream that the clamp at 4 touches, and one row of zeros if there are several."""
    generator = torch.Generator(device).manual_seed(seed)
    x, delta = (torch.randn((tokens, hidden), generator=generator, device=device) for _ in range(2))
    x[tokens // 2] *= float(tokens == 1)
    delta[tokens // 2] *= float(tokens == 1)
    scale = torch.rand(hidden, generator=generator, device=device) + 0.5
    return NormInputs((x * 2).bfloat16(), delta.bfloat16(), scale)


def embedding_inputs(
    tokens: int, vocab: int, hidden: int, *, device: str = "cpu", seed: int = 0
) -> EmbeddingInputs:
    """A table over all of int8, and ids that lie in it."""
    generator = torch.Generator(device).manual_seed(seed)
    ids = torch.randint(0, vocab, (tokens,), generator=generator, device=device)
    table = torch.randint(-127, 128, (vocab, hidden), generator=generator, device=device)
    scale = torch.rand(vocab, generator=generator, device=device) / 100 + 0.001
    return EmbeddingInputs(ids.int(), table.to(torch.int8), scale)


def slots_of(tokens: int, order: Order, pages: int, generator: torch.Generator) -> torch.Tensor:
    """Where tokens go. decode: each anywhere; prefill: one after the other, from slot 133; ragged:
    so too, with a gap, an unwritten token, and, if they are odd in number, backwards."""
    count = torch.arange(tokens, device=generator.device)
    if order == "decode":
        slots = torch.randperm(pages * PAGE, generator=generator, device=generator.device)[:tokens]
    elif order == "prefill":
        slots = count + 133
    else:
        slots = count + 5 + 21 * (count >= tokens // 2)
        slots[tokens // 3] = -1
        slots = slots.flip(0) if tokens % 2 else slots
    return slots.int()


def rotary_inputs(
    tokens: int, heads: int, kv_heads: int = 1, *, is_int8: bool = True,
    order: Order | None = "decode", reach: int = 4096, device: str = "cpu", seed: int = 0,
) -> RotaryInputs:  # fmt: skip
    """A projection that the clamp at 4 touches; pages full of POISON. `order` None: q alone."""
    generator = torch.Generator(device).manual_seed(seed)
    extra = 0 if order is None else 2 * kv_heads
    width = (heads + extra) * HEAD_DIM
    qkv = torch.randn((tokens, width), generator=generator, device=device) * 2
    positions = torch.randint(0, reach, (tokens,), generator=generator, device=device).int()
    scales = torch.rand((2, kv_heads, HEAD_DIM), generator=generator, device=device) / 50 + 0.03
    k_scale, v_scale = (scales[0], scales[1]) if is_int8 else (None, None)
    if order is None:
        return RotaryInputs(qkv.bfloat16(), positions, k_scale, None, None, None)
    count = tokens // 64 + 4
    dtype = torch.int8 if is_int8 else torch.float16
    pages = KVPages(*(t.fill_(POISON) for t in empty_pages(count, kv_heads, dtype, device)))
    slots = slots_of(tokens, order, count, generator)
    return RotaryInputs(qkv.bfloat16(), positions, k_scale, v_scale, pages, slots)


def sampling_inputs(
    batch: int, vocab: int, *, dtype: torch.dtype = torch.float32, spread: float = 2.0,
    temperature: float = 0.8, device: str = "cpu", seed: int = 0,
) -> SamplingInputs:  # fmt: skip
    """Logits that are N(0, spread); seeds over all of int64, the row's number as the step."""
    generator = torch.Generator(device).manual_seed(seed)
    logits = torch.randn((batch, vocab), generator=generator, device=device) * spread
    seeds = torch.randint(-(1 << 62), 1 << 62, (batch,), generator=generator, device=device)
    step = torch.arange(batch, dtype=torch.int32, device=device)
    heat = torch.full((batch,), temperature, device=device)
    return SamplingInputs(logits.to(dtype), heat, seeds, step)


def relative_error(out: torch.Tensor, want: torch.Tensor) -> float:
    """The size of the difference over the size of what is wanted (Frobenius norms, float64)."""
    return float((out.double() - want.double()).norm() / want.double().norm().clamp(min=1e-300))
