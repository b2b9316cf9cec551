"""Random inputs for each case: so many sets of them that together they exceed the L2 cache.

An H100 has 50 MB of L2; what rotates is more than 200 MB, counted in bytes that a call reads.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch

from benchmarks.kernels.cases import HEAD_DIM, PAGE, Case, spans
from kernels.common.example import (
    DecodeInputs,
    NormInputs,
    PrefillInputs,
    RotaryInputs,
    decode_inputs,
    prefill_inputs,
    random_like,
)
from kernels.common.layout import empty_pages

ROTATED_BYTES = 200e6
DTYPES = {"int8": torch.int8, "float16": torch.float16}


class Sets(NamedTuple):
    """Sets of inputs of a case, and how many bytes they are (of what a call reads)."""

    sets: list[Any]
    bytes: int


def sets_of(make: Callable[[int], Any], bytes_of_one: float, rotated: float) -> Sets:
    """As many as exceed `rotated` bytes. `make` takes a seed."""
    count = 1 + math.floor(rotated / bytes_of_one)
    return Sets([make(seed) for seed in range(count)], int(count * bytes_of_one))


class SharedInputs(NamedTuple):
    """Sequences of which groups share their first pages, in no order, and tables that share none.

    `prefix_tokens` int32 [batch]: how many tokens of each are shared.
    """

    shared: DecodeInputs
    own_pages: torch.Tensor
    prefix_tokens: torch.Tensor


class MatmulInputs(NamedTuple):
    """x int8 [M, K], w int8 [N, K], their scales, and what is added to the product."""

    x: torch.Tensor
    w: torch.Tensor
    row_scale: torch.Tensor
    col_scale: torch.Tensor
    residual: torch.Tensor | None
    residual_scale: torch.Tensor | None


def _generator(device: str, seed: int) -> torch.Generator:
    return torch.Generator(device).manual_seed(seed)


def _ints(values: Any, device: str) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.int32, device=device)


def decode(case: Case, device: str, seed: int) -> DecodeInputs:
    """Shuffled pages; logits about N(0, 2)."""
    shape = case.shape
    seen = spans(shape)
    return decode_inputs(
        [limit for _, limit in seen],
        starts=[start for start, _ in seen],
        heads=shape["heads"],
        kv_heads=shape["kv_heads"],
        dtype=DTYPES[shape["kv"]],
        device=device,
        seed=seed,
    )


def decode_plan(case: Case, device: str, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Start and limit of each sequence."""
    del seed
    start, limit = zip(*spans(case.shape), strict=True)
    return _ints(start, device), _ints(limit, device)


def shared_prefix(case: Case, device: str, seed: int) -> SharedInputs:
    """The tables of a group begin with the same pages; its sequences are scattered."""
    shape = case.shape
    inputs = decode_inputs(
        [shape["prefix"] + shape["own"]] * shape["batch"],
        heads=shape["heads"],
        device=device,
        seed=seed,
    )
    batch, groups = shape["batch"], shape["batch"] // shape["group"]
    entries = shape["prefix"] // PAGE
    leader = torch.randperm(batch, generator=_generator(device, seed), device=device) % groups
    pages = inputs.pages.clone()
    pages[:, :entries] = inputs.pages[leader, :entries]
    prefix = torch.full((batch,), shape["prefix"], dtype=torch.int32, device=device)
    return SharedInputs(inputs._replace(pages=pages), inputs.pages, prefix)


def prefill(case: Case, device: str, seed: int) -> PrefillInputs:
    """A chunk behind a cached prefix; logits about N(0, 2)."""
    shape = case.shape
    return prefill_inputs(
        [shape["chunk"]],
        [shape["cached"]],
        window=shape["window"] or None,
        heads=shape["heads"],
        kv_heads=shape["kv_heads"],
        dtype=DTYPES[shape["kv"]],
        device=device,
        seed=seed,
    )


def matmul(case: Case, device: str, seed: int) -> MatmulInputs:
    """Uniform int8: the hardest on the card's power."""
    m, n, k = (case.shape[name] for name in "mnk")
    generator = _generator(device, seed)

    def int8(*size: int) -> torch.Tensor:
        return random_like(torch.empty(size, dtype=torch.int8, device=device), generator)

    def scales(size: int) -> torch.Tensor:
        return (torch.rand(size, generator=generator, device=device) + 0.5) / (73.3 * k**0.25)

    residual = None
    if case.shape["epilogue"] == "residual":
        residual = torch.randn((m, n), generator=generator, device=device).bfloat16()
    ones = None if residual is None else torch.full((n,), 0.5, device=device)
    return MatmulInputs(int8(m, k), int8(n, k), scales(m), scales(n), residual, ones)


def norm_quantise(case: Case, device: str, seed: int) -> NormInputs:
    """A stream that stays bounded however often the same delta is added."""
    size = (case.shape["tokens"], case.shape["hidden"])
    generator = _generator(device, seed)
    x, delta = (torch.randn(size, generator=generator, device=device).bfloat16() for _ in range(2))
    return NormInputs(x, delta, torch.full(size[1:], 0.5, device=device))


def rotary_write(case: Case, device: str, seed: int) -> RotaryInputs:
    """Tokens of many sequences, each to a slot of its own, none next to another (decode)."""
    tokens, heads = case.shape["tokens"], case.shape["heads"]
    generator = _generator(device, seed)
    width = (heads + 2) * HEAD_DIM
    qkv = torch.randn((tokens, width), generator=generator, device=device).bfloat16()
    positions = torch.randint(0, 8192, (tokens,), generator=generator, device=device)
    slots = torch.randperm(tokens, generator=generator, device=device) * PAGE
    scale = torch.full((1, HEAD_DIM), 4 / 127, device=device)
    pages = empty_pages(tokens, 1, torch.int8, device)
    slots = (slots + positions % PAGE).to(torch.int32)
    return RotaryInputs(qkv, positions.to(torch.int32), scale, scale.clone(), pages, slots)


def embedding(case: Case, device: str, seed: int) -> tuple[torch.Tensor, ...]:
    """Ids, table, row scales."""
    hidden, vocab = case.shape["hidden"], case.shape["vocab"]
    generator = _generator(device, seed)
    table = random_like(torch.empty((vocab, hidden), dtype=torch.int8, device=device), generator)
    scale = torch.rand(vocab, generator=generator, device=device)
    return _ids(case, device, seed), table, scale


def _ids(case: Case, device: str, seed: int) -> torch.Tensor:
    generator = _generator(device, seed)
    size = (case.shape["tokens"],)
    ids = torch.randint(0, case.shape["vocab"], size, generator=generator, device=device)
    return ids.to(torch.int32)


def sampling(case: Case, device: str, seed: int) -> tuple[torch.Tensor, ...]:
    """Logits, bf16."""
    size = (case.shape["batch"], case.shape["vocab"])
    logits = 3 * torch.randn(size, generator=_generator(device, seed), device=device)
    return (logits.bfloat16(),)


def ceiling(case: Case, device: str, seed: int) -> torch.Tensor:
    """Bytes to copy or read: `copy` moves each twice."""
    moved = int(case.bytes) // (2 if case.operator == "copy" else 1)
    return random_like(
        torch.empty(moved, dtype=torch.int8, device=device), _generator(device, seed)
    )


MAKERS: dict[str, Callable[[Case, str, int], Any]] = {
    "copy": ceiling,
    "decode_attention": decode,
    "decode_plan": decode_plan,
    "embedding": embedding,
    "matmul": matmul,
    "norm_quantise": norm_quantise,
    "prefill_attention": prefill,
    "prefill_plan": prefill,
    "read": ceiling,
    "rotary_write": rotary_write,
    "sampling": sampling,
    "shared_prefix": shared_prefix,
}


def read_bytes(case: Case) -> float:
    """Bytes that a call reads: what must be rotated, outputs left out."""
    shape = case.shape
    match case.operator:
        case "matmul":
            return float(shape["n"] * shape["k"] + shape["m"] * shape["k"])
        case "norm_quantise":
            return 4.0 * shape["tokens"] * shape["hidden"]
        case "rotary_write":
            return 2.0 * shape["tokens"] * (shape["heads"] + 2) * HEAD_DIM
        case "copy":
            return case.bytes / 2
        case "prefill_attention":
            return float(shape["chunk"] * shape["heads"] * HEAD_DIM)
        case "shared_prefix" | "embedding":
            return case.least_bytes
    return case.bytes


def build(case: Case, device: str, rotated: float = ROTATED_BYTES) -> Sets:
    """The sets of a case. A plan reads next to nothing: its inputs are in the cache in use, too."""
    if case.operator.endswith("_plan"):
        rotated = 0.0
    maker = MAKERS[case.operator]
    make = partial(maker, case, device)
    if case.operator == "embedding":
        _, *table = maker(case, device, 0)  # the rows that a call reads differ, the table does not
        make = lambda seed: (_ids(case, device, seed), *table)  # noqa: E731
    return sets_of(make, read_bytes(case), rotated)
