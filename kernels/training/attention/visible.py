"""Attention for training, differentiable: any visibility, shared KV heads, Z-Reg, int8 forward.

In int8 the forward pass computes what serving does: keys and values with the static scale
limit / 127, queries with a scale for each row, probabilities in int8, page by page. Gradients pass
straight through all rounding; they are those of the rounded q, k and v, and of P before it is
rounded.
"""

import math
from typing import Any, NamedTuple

import torch
import triton

from kernels.common import checks
from kernels.common.device import Work, is_interpreted, multiprocessors, use_hopper
from kernels.common.layout import PAGE
from kernels.training.attention.backward import delta_kernel, keys_kernel, queries_kernel
from kernels.training.attention.blocks import Blocks, Seen
from kernels.training.attention.forward import forward_kernel
from kernels.training.qat.quantise import quantise_rows, quantise_static, real
from kernels.training.zreg import z_reg

LOG2E = 1.4426950408889634
LOG2_127 = math.log2(127)
UNSEEN = -3e7
"""Below every int8 score."""
DIMS = (16, 32, 64, 128)


class Options(NamedTuple):
    """How attention is computed."""

    z_weight: float = 0.0
    """Of Z-Reg's virtual loss, z_weight / 2 * lse^2 of each query and head; not scaled with the
    loss: pass the weight over the number of tokens where that is a mean."""
    int8: bool = False
    """Scores from int8 queries and keys, int8 values, int8 probabilities."""
    limit: float = 4.0
    """What k and v are clamped to; their int8 scale is limit / 127."""
    by_torch: bool | None = None
    """By the dense specification, in float32; None: on a CPU."""
    served: bool = False
    """In int8: q comes multiplied by limit / 127, the scale of k, as serving has it; and the
    result, too, is rounded to int8 as serving rounds it: float32 multiples of limit / 127.
    (Quotients of whole numbers often lie midway between two: whoever rounds them in another way
    gets others.)"""


OPTIONS = Options()


class Quantised(NamedTuple):
    """int8 operands; real: q * q_scale, k and v * (limit / 127)."""

    q: torch.Tensor
    q_scale: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    unit: float


def quantised(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, limit: float) -> Quantised:
    """Operands as serving has them: `reference_quantised` is the specification."""
    rows = quantise_rows(q.reshape(-1, q.shape[-1]))
    known = torch.full((1,), limit, device=k.device)
    k8, v8 = (quantise_static(x, known) for x in (k, v))
    return Quantised(rows.values.view(q.shape), rows.scale.view(q.shape[:-1]), k8, v8, limit / 127)


def reference_quantised(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, limit: float
) -> Quantised:
    """The same by torch, of any float."""
    unit = limit / 127
    largest = q.abs().amax(-1)
    q_scale = torch.where(largest > 0, largest / 127, torch.ones_like(largest))
    q8 = (q / q_scale[..., None]).round().clamp(-127, 127).char()
    k8, v8 = ((x / unit).round().clamp(-127, 127).char() for x in (k, v))
    return Quantised(q8, q_scale, k8, v8, unit)


def reference(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, seen: Seen, options: Options = OPTIONS
) -> torch.Tensor:
    """The specification, dense and differentiable by itself, in the operands' own precision:
    `[batch, tokens, heads, dim]`. A query that sees nothing gives zeros."""
    if options.int8:
        parts = reference_quantised(q.detach(), k.detach(), v.detach(), options.limit)
        q = _passed(q, parts.q * parts.q_scale[..., None])
        q = q / parts.unit if options.served else q
        k, v = _passed(k, parts.k * parts.unit), _passed(v, parts.v * parts.unit)
    share = q.shape[2] // k.shape[2]
    k, v = (x.repeat_interleave(share, 2) for x in (k, v))
    scores = torch.einsum("bqhd,bkhd->bhqk", q, k) * q.shape[-1] ** -0.5
    mask = seen.dense()[:, None]
    scores = scores.masked_fill(~mask, float("-inf"))
    if options.z_weight:
        scores = z_reg(scores, options.z_weight, by_torch=True)
    p = torch.where(mask.any(-1, keepdim=True), scores, 0.0).softmax(-1)
    p = torch.where(mask, p, 0.0)
    out = torch.einsum("bhqk,bkhd->bqhd", p, v)
    if not options.int8:
        return out
    return _passed(out, by_pages(parts, mask, options.served))


@torch.no_grad()
def by_pages(parts: Quantised, mask: torch.Tensor, served: bool = False) -> torch.Tensor:
    """The values of int8 attention as serving rounds them, `[batch, tokens, heads, dim]`: P in
    units of 1 / 127 of each page's largest, over the sum of the rounded P. `mask` `[batch, 1,
    queries, keys]`. All products are of whole numbers, and exact."""
    share = parts.q.shape[2] // parts.k.shape[2]
    k, v = (x.repeat_interleave(share, 2).to(parts.q_scale) for x in (parts.k, parts.v))
    q_scale = parts.q_scale if served else parts.q_scale * parts.unit
    units = q_scale.transpose(1, 2)[..., None] * (k.shape[-1] ** -0.5 * LOG2E)
    raw = torch.einsum("bqhd,bkhd->bhqk", parts.q.to(k), k).masked_fill(~mask, float("-inf"))
    top = torch.full_like(raw[..., :1], -1e30)
    total, acc = torch.zeros_like(top), torch.zeros_like(parts.q, dtype=k.dtype).transpose(1, 2)
    for scores, values in zip(raw.split(PAGE, -1), v.transpose(1, 2).split(PAGE, 2), strict=True):
        page_top = scores.amax(-1, keepdim=True).clamp(min=UNSEEN) * units
        p = torch.exp2(scores * units + (LOG2_127 - page_top)).round()
        above = torch.maximum(top, page_top)
        rest, new = (top - above).exp2(), (page_top - above).exp2()
        total = total * rest + p.sum(-1, keepdim=True) * new
        acc, top = acc * rest + p @ values * new, above
    out = acc * torch.where(total > 0, 1 / total.clamp(min=1e-30), 0.0) * parts.unit
    if served:
        out = (out / parts.unit).round().clamp(-127, 127) * parts.unit
    return out.transpose(1, 2)


def _passed(x: torch.Tensor, rounded: torch.Tensor) -> torch.Tensor:
    """The rounded value, with the gradient of `x`."""
    return x + (rounded.to(x.dtype) - x).detach()


class _Visible(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, blocks: Blocks,
        options: Options,
    ) -> torch.Tensor:  # fmt: skip
        kind = torch.float32 if options.served else torch.bfloat16
        out = torch.empty(q.shape, dtype=kind, device=q.device)
        lse = torch.empty(
            (q.shape[0], q.shape[2], q.shape[1]), dtype=torch.float32, device=q.device
        )
        operands: tuple[torch.Tensor, ...] = (q, k, v)
        if options.int8:
            parts = quantised(q, k, v, options.limit)
            _forward(parts.q, parts.k, parts.v, parts, out, lse, blocks)
            ctx.unit = parts.unit
            operands = (parts.q, parts.k, parts.v, parts.q_scale)
        else:
            _forward(q, k, v, None, out, lse, blocks)
        ctx.save_for_backward(out, lse, *operands)
        ctx.blocks, ctx.options, ctx.kind = blocks, options, q.dtype
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        out, lse, q, k, v, *scale = ctx.saved_tensors
        if ctx.options.int8:
            q = real(q.flatten(0, -2), scale[0].flatten()).view(q.shape)
            unit = torch.full((1,), ctx.unit, device=q.device)
            k, v = (real(x.flatten(0, -2), unit).view(x.shape) for x in (k, v))
        g = gradients[0].bfloat16().contiguous()
        found = _backward(q, k, v, out, g, lse, ctx.blocks, ctx.options.z_weight)
        return *(x.to(ctx.kind) for x in found), None, None


def _constants(blocks: Blocks, dim: int) -> dict[str, Any]:
    return {
        "KEYS": blocks.seen.key_limit is not None, "UPCAST": is_interpreted(),
        "QUERY_TILE": blocks.query_tile, "KEY_TILE": blocks.key_tile, "DIM": dim,
        "num_warps": 8 if blocks.query_tile >= 128 else 4,
    }  # fmt: skip


def _visibility(seen: Seen) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return seen.start, seen.limit, seen.start if seen.key_limit is None else seen.key_limit


def _forward(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, parts: Quantised | None,
    out: torch.Tensor, lse: torch.Tensor, blocks: Blocks,
) -> None:  # fmt: skip
    batch, tokens, heads, dim = q.shape
    served = out.dtype == torch.float32
    is_hopper = q.is_cuda and use_hopper(q.device, "auto", served=parts is not None)
    lists, constants = blocks.of_queries, _constants(blocks, dim)
    unit, v_scale = dim**-0.5 * LOG2E, 1.0
    if parts is not None:
        lists, constants["KEY_TILE"] = blocks.of_pages, PAGE
        v_scale = parts.unit
    forward_kernel[(lists.whole_count.shape[1], batch, heads)](
        q, k, v, lse if parts is None else parts.q_scale, out, lse, *_visibility(blocks.seen),
        *_in_order(lists), tokens, heads, k.shape[2], lists.whole.shape[-1], unit, v_scale,
        INT8=parts is not None, HALVES=is_hopper, PAIRS=is_hopper and served, SERVED=served,
        **constants,
    )  # fmt: skip


def _in_order(lists: Any) -> tuple[torch.Tensor, ...]:
    return lists.whole, lists.whole_count, lists.part, lists.part_count


def _groups(tiles: int, kv_heads: int, share: int, device: torch.device) -> int:
    """Into how many groups the heads of a KV head are cut, so that there is work for all SMs."""
    wanted = 2 * multiprocessors(device)
    fits = [n for n in range(1, share + 1) if share % n == 0]
    return next((n for n in fits if n * tiles * kv_heads >= wanted), share)


def _backward(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, out: torch.Tensor, g: torch.Tensor,
    lse: torch.Tensor, blocks: Blocks, z_weight: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
    batch, tokens, heads, dim = q.shape
    kv_heads = k.shape[2]
    constants, scale = _constants(blocks, dim), dim**-0.5
    delta = torch.empty_like(lse)
    delta_kernel[(triton.cdiv(tokens, 64), batch, heads)](
        out, g, lse, delta, tokens, heads, z_weight, ROWS=64, DIM=dim
    )
    seen, to_q = _visibility(blocks.seen), torch.empty_like(q)
    lists = blocks.of_queries
    queries_kernel[(lists.whole_count.shape[1], batch, heads)](
        q, k, v, g, lse, delta, to_q, *seen, *_in_order(lists), tokens, heads, kv_heads,
        lists.whole.shape[-1], scale * LOG2E, scale, **constants,
    )  # fmt: skip
    lists = blocks.of_keys
    tiles = lists.whole_count.shape[1]
    groups = _groups(tiles * batch, kv_heads, heads // kv_heads, q.device)
    to_k, to_v = torch.empty((2, groups, *k.shape), dtype=torch.float32, device=k.device)
    keys_kernel[(tiles, batch, kv_heads * groups)](
        q, k, v, g, lse, delta, to_k, to_v, *seen, *_in_order(lists), tokens, heads, kv_heads,
        groups, lists.whole.shape[-1], scale * LOG2E, scale, **constants,
    )  # fmt: skip
    return to_q, to_k.sum(0).bfloat16(), to_v.sum(0).bfloat16()


def visible_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, blocks: Blocks, options: Options = OPTIONS
) -> torch.Tensor:
    """softmax(q k^T / sqrt(dim)) v over what `blocks` says is seen, bf16 (or as `options` has it),
    differentiable.

    `q` bf16 `[batch, tokens, heads, dim]`, `k` and `v` `[batch, tokens, kv_heads, dim]`, contiguous
    (float32 too in int8, which rounds them once, and where the specification computes); dim 16 (not
    in int8), 32, 64 or 128. Query i of a sequence sees key j of the same one, both counted from 0.
    Raises ValueError that names the argument.
    """
    by_torch = not q.is_cuda if options.by_torch is None else options.by_torch
    rounds = by_torch or options.int8
    kinds = (torch.bfloat16, torch.float32) if rounds else (torch.bfloat16,)
    checks.tensor("q", q, (*blocks.seen.start.shape, None, None), kinds)
    batch, tokens, heads, dim = q.shape
    # int8 matrix instructions contract 32 values at a time.
    checks.one_of("dim", dim, DIMS[1:] if options.int8 else DIMS)
    checks.tensor("k", k, (batch, tokens, None, dim), q.dtype, q.device)
    checks.tensor("v", v, k.shape, q.dtype, q.device)
    checks.heads("q", heads, k.shape[2], heads)
    if by_torch:
        out = reference(q.float(), k.float(), v.float(), blocks.seen, options)
        return out if options.served else out.bfloat16()
    return _Visible.apply(q, k, v, blocks, options)


def flops_and_bytes(
    pairs: float, tokens: int, heads: int, kv_heads: int, dim: int, *, backward: bool = False
) -> Work:
    """`pairs`: (query, key) that see each other, of one head. Forward two products of them each,
    backward five more; every operand read once and every result written once, bf16."""
    products = 7.0 if backward else 2.0
    each = tokens * dim * 2.0
    moved = each * (2 * heads + 2 * kv_heads) * (3 if backward else 1)
    return Work(2 * products * pairs * heads * dim, moved)
