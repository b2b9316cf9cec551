"""Random inputs of the small operators, for tests, sanitizer runs and measurements."""

from typing import Literal, NamedTuple

import torch

from kernels.common.layout import HEAD_DIM, PAGE, KVPages, empty_pages

Order = Literal["decode", "prefill", "ragged"]
POISON = 77


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
