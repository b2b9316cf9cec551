"""The layout of KV pages, decided once and shared by every operator that reads or writes them.

A page holds 128 tokens of one KV head, head_dim 128. With int8:

- K is `[pages, kv_heads, 128 tokens, 128 dims]`: a token's row is 128 contiguous bytes.
- V is stored transposed, in groups of 16 tokens: `[pages, kv_heads, 8 groups, 128 dims, 16 slots]`.
  The int8 matrix instructions of Hopper take both operands with the contracted dimension
  contiguous, and in P @ V that dimension is the tokens. 16 contiguous bytes are one asynchronous
  copy, and appending one token touches 64 sectors of 32 bytes, not the 128 of `[128, page]`.
- Inside a group the tokens are permuted: slot 4t + 2h + b holds token 8h + 2t + b. That is the
  order in which the accumulator of Q @ K lies in a thread's registers, so P becomes the operand of
  P @ V without a shuffle.

With fp16 (for the question what int8 is worth) K is the same, V `[.., 128 tokens, 128 dims]`.

Scales are per channel and static: real K = k * k_scale, float32 `[kv_heads, 128]`; V likewise.
"""

from typing import NamedTuple

import torch

HEAD_DIM = 128
PAGE = 128
GROUP = 16
GROUPS = PAGE // GROUP

SOFTMAX_SCALE = HEAD_DIM**-0.5
LOG2_E = 1.4426950408889634
"""Attention kernels take powers of two: logits are times this."""


class KVPages(NamedTuple):
    """The pages of one layer (or of layers that share their KV): `k` and `v` as in this module's
    text, both int8 or both float16."""

    k: torch.Tensor
    v: torch.Tensor

    @property
    def kv_heads(self) -> int:
        """Number of KV heads: 1 is multi-query attention."""
        return self.k.shape[1]

    @property
    def is_int8(self) -> bool:
        """Are keys and values int8, with V transposed in groups?"""
        return self.k.dtype == torch.int8


def empty_pages(
    pages: int, kv_heads: int = 1, dtype: torch.dtype = torch.int8, device: str = "cpu"
) -> KVPages:
    """Pages with undefined content."""
    groups = (GROUPS, HEAD_DIM, GROUP) if dtype == torch.int8 else (PAGE, HEAD_DIM)
    k = torch.empty((pages, kv_heads, PAGE, HEAD_DIM), dtype=dtype, device=device)
    return KVPages(k, torch.empty((pages, kv_heads, *groups), dtype=dtype, device=device))


def slot_tokens() -> torch.Tensor:
    """Which token of its group of 16 each slot holds, int64 `[16]`."""
    slot = torch.arange(GROUP)
    return 8 * (slot % 4 // 2) + 2 * (slot // 4) + slot % 2


def pack_values(values: torch.Tensor) -> torch.Tensor:
    """Tokens by dimensions, `[.., 128, 128]`, to a page of V, `[.., 8, 128, 16]`."""
    grouped = values.unflatten(-2, (GROUPS, GROUP))[..., slot_tokens().to(values.device), :]
    return grouped.transpose(-1, -2).contiguous()


def unpack_values(page: torch.Tensor) -> torch.Tensor:
    """The inverse of `pack_values`."""
    token_slots = torch.argsort(slot_tokens()).to(page.device)
    return page.transpose(-1, -2)[..., token_slots, :].flatten(-3, -2).contiguous()


def gather_context(pages: KVPages, table: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """One sequence's keys and values as stored, `[kv_heads, 128 * len(table), 128]` each.

    `table`: int `[entries]`, the sequence's pages in order.
    """
    k, v = pages.k[table.long()], pages.v[table.long()]
    if pages.is_int8:
        v = unpack_values(v)
    return k.transpose(0, 1).flatten(1, 2), v.transpose(0, 1).flatten(1, 2)


def scatter_context(pages: KVPages, table: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> None:
    """The inverse of `gather_context`: writes whole pages of one sequence, in place."""
    index = table.long()
    pages.k[index] = k.unflatten(1, (-1, PAGE)).transpose(0, 1)
    v_pages = v.unflatten(1, (-1, PAGE)).transpose(0, 1)
    pages.v[index] = pack_values(v_pages) if pages.is_int8 else v_pages


def stored(pages: KVPages, slots: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """K and V of these slots (page * 128 + offset) as stored, `[tokens, kv_heads, 128]`: the
    inverse of writing tokens one by one."""
    page, offset = slots.long() // PAGE, slots.long() % PAGE
    k = pages.k[page, :, offset]
    if not pages.is_int8:
        return k, pages.v[page, :, offset]
    slot_of = torch.argsort(slot_tokens()).to(slots.device)
    return k, pages.v[page, :, offset // GROUP, :, slot_of[offset % GROUP]]


def quantise_rows(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Symmetric int8 per row (the last dimension): values, and float32 scales without it.

    A row of zeros gets scale 1.
    """
    largest = x.abs().amax(-1).float()
    scale = torch.where(largest > 0, largest / 127, torch.ones_like(largest))
    return (x / scale[..., None]).round().clamp(-127, 127).to(torch.int8), scale
