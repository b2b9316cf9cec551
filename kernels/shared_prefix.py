"""Decode attention of users who share the beginning of their context (one character definition).

Where the pages of a prefix are the same for several sequences, their keys need not come from
device memory once for each. Two ways to use that, both here, both measured (docs/kernels-log.md):

- **order** (`group_by_prefix`): put the users of one prefix next to each other in the batch.
  `decode_attention`'s workers then read the same pages at about the same time, and all but the
  first find them in the L2 cache. Nothing else changes.
- **cascade** (`shared_prefix_attention`): the prefix is attended to by pairs of users, the heads of
  both as the rows of one product, so that a tile is read once for two; then each user's own keys;
  then the two results are merged by their masses. Three launches instead of one.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl

from kernels.common import checks
from kernels.common.device import Backend
from kernels.common.layout import HEAD_DIM, PAGE, KVPages
from kernels.common.schedule import DecodePlan
from kernels.decode_attention import SOFTMAX_SCALE, decode_attention, make_plan, reference

ROWS_A_PROGRAM = 16


class PrefixPlans(NamedTuple):
    """What a step's layers share: visibility and plans of the prefix (of pairs) and of the rest."""

    zero: torch.Tensor
    prefix: torch.Tensor
    prefix_plan: DecodePlan | None
    own_plan: DecodePlan | None


def group_by_prefix(pages: torch.Tensor, prefix_tokens: torch.Tensor) -> torch.Tensor:
    """An order of the batch in which sequences with the same prefix pages are neighbours.

    `pages` int32 `[batch, entries]`, `prefix_tokens` int32 `[batch]`. Returns int64 `[batch]`, a
    permutation, on the device: sequences with the same first page and prefix length are together,
    in their old order; longer prefixes first.
    """
    checks.tensor("pages", pages, (None, None), torch.int32, rows_only=True)
    checks.tensor("prefix_tokens", prefix_tokens, (pages.shape[0],), torch.int32, pages.device)
    key = prefix_tokens.long() * (1 << 32) + pages[:, 0].long()
    return torch.argsort(key, stable=True, descending=True)


@triton.jit
def _merge_kernel(
    a_ptr, a_mass_ptr, b_ptr, b_mass_ptr, out_ptr, rows, ROWS: tl.constexpr
):  # fmt: skip
    """The mean of two outputs, weighted by their masses."""
    r = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    d = tl.arange(0, 128)
    live = r < rows
    a_mass = tl.load(a_mass_ptr + r, mask=live, other=0.0)
    b_mass = tl.load(b_mass_ptr + r, mask=live, other=0.0)
    top = tl.maximum(tl.maximum(a_mass, b_mass), -1e30)
    a_weight = tl.exp2(a_mass - top)
    b_weight = tl.exp2(b_mass - top)
    total = tl.maximum(a_weight + b_weight, 1e-30)
    at = r[:, None] * 128 + d[None, :]
    a = tl.load(a_ptr + at, mask=live[:, None], other=0.0).to(tl.float32)
    b = tl.load(b_ptr + at, mask=live[:, None], other=0.0).to(tl.float32)
    out = (a * a_weight[:, None] + b * b_weight[:, None]) / total[:, None]
    tl.store(out_ptr + at, out.to(out_ptr.dtype.element_ty), mask=live[:, None])


def plan_prefix(
    prefix_tokens: torch.Tensor, limit: torch.Tensor, *, heads: int, planned: bool
) -> PrefixPlans:
    """Plans for `shared_prefix_attention`, for all layers of a step.

    `prefix_tokens` int32 `[batch]`, alike for the two of a pair, multiples of 128; `planned`: make
    plans (on Hopper) or not.
    """
    prefix = prefix_tokens[::2].contiguous()
    zero = torch.zeros_like(prefix)
    if not planned:
        return PrefixPlans(zero, prefix, None, None)
    return PrefixPlans(
        zero,
        prefix,
        make_plan(zero, prefix, heads=2 * heads),
        make_plan(prefix_tokens, limit, heads=heads),
    )


def shared_prefix_attention(
    q: torch.Tensor,
    q_scale: torch.Tensor,
    kv: KVPages,
    v_scale: torch.Tensor,
    pages: torch.Tensor,
    prefix_tokens: torch.Tensor,
    limit: torch.Tensor,
    *,
    plans: PrefixPlans | None = None,
    softmax_scale: float = SOFTMAX_SCALE,
    backend: Backend = "auto",
) -> torch.Tensor:
    """Cascade: `decode_attention` over `[0, limit)` where rows 2i and 2i + 1 share their first
    `prefix_tokens` keys (the same pages; a multiple of 128 tokens, 0 for none).

    The batch must be even, with one KV head and at most 64 query heads, int8. Other arguments as
    in `decode_attention`. Returns bfloat16 `[batch, heads, 128]`.
    """
    checks.tensor("q", q, (None, None, HEAD_DIM), torch.int8)
    batch, heads, _ = q.shape
    if batch % 2 or heads > 64:
        raise ValueError(f"q: {batch} rows of {heads} heads, must be an even number of at most 64")
    checks.tensor("prefix_tokens", prefix_tokens, (batch,), torch.int32, q.device)
    checks.tensor("q_scale", q_scale, (batch, heads), torch.float32, q.device)
    checks.tensor("pages", pages, (batch, None), torch.int32, q.device, rows_only=True)
    shared = plans or plan_prefix(prefix_tokens, limit, heads=heads, planned=False)
    common = {"softmax_scale": softmax_scale, "backend": backend}
    mass = torch.empty((2, batch, heads), dtype=torch.float32, device=q.device)
    pairs = (batch // 2, 2 * heads)
    of_prefix = decode_attention(
        q.view(*pairs, HEAD_DIM), q_scale.view(pairs), kv, v_scale, pages[::2], shared.zero,
        shared.prefix, plan=shared.prefix_plan, mass_out=mass[0].view(pairs), **common,
    )  # fmt: skip
    own = decode_attention(
        q, q_scale, kv, v_scale, pages, prefix_tokens, limit,
        plan=shared.own_plan, mass_out=mass[1], **common,
    )  # fmt: skip
    out = torch.empty_like(own)
    rows = batch * heads
    _merge_kernel[(triton.cdiv(rows, ROWS_A_PROGRAM),)](
        of_prefix, mass[0], own, mass[1], out, rows, ROWS=ROWS_A_PROGRAM
    )
    return out


__all__ = [
    "PAGE",
    "PrefixPlans",
    "group_by_prefix",
    "plan_prefix",
    "reference",
    "shared_prefix_attention",
]
