"""Who works on what in prefill attention: tiles of query rows, each with its range of pages.

A query token has `heads // kv_heads` query heads for each KV head; the rows of a tile are (token,
head) pairs of one sequence in order, `rows` of them, so that keys are read once for all. How many
tiles a sequence has depends on its length, which only the device knows; the grid does not: it is
the most that so many tokens can need. A record that has no work says so. A plan is made on the
device in one launch, and every layer with the same visibility uses it.

The pages of a tile are lo to hi. All queries of the tile see all keys of full_lo to full_hi, which
then need no mask: almost all pages of a long context.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl

from kernels.common.layout import PAGE

RECORD = 8


class PrefillPlan(NamedTuple):
    """Tiles for queries that see `start` to `limit` (and `key_limit` at `positions`).

    `records` int32 `[tiles + 1, 8]`: sequence, its first token, the tile's first row and the
    sequence's number of rows (row = token * share + head, from the sequence's first), then pages
    lo, full_lo, full_hi, hi. Records without work are zero, and the last one always is. Within a
    sequence the last tile comes first: under a causal mask it sees most. `rows`: of a tile.
    """

    cu_q: torch.Tensor
    start: torch.Tensor
    limit: torch.Tensor
    positions: torch.Tensor | None
    key_limit: torch.Tensor | None
    records: torch.Tensor
    rows: int
    share: int

    @property
    def tiles(self) -> int:
        """How many records may have work."""
        return self.records.shape[0] - 1


def allocate(
    cu_q: torch.Tensor, start: torch.Tensor, limit: torch.Tensor,
    positions: torch.Tensor | None, key_limit: torch.Tensor | None, *, rows: int, share: int,
) -> PrefillPlan:  # fmt: skip
    """An empty plan. `rows`: of a tile; `share`: query heads per KV head."""
    tiles = triton.cdiv(start.shape[0] * share, rows) + cu_q.shape[0] - 1
    records = torch.zeros((tiles + 1, RECORD), dtype=torch.int32, device=start.device)
    return PrefillPlan(cu_q, start, limit, positions, key_limit, records, rows, share)


@triton.jit
def _tile_of(cu_q, batch, tile, ROWS: tl.constexpr, SHARE: tl.constexpr, BATCH: tl.constexpr):
    """Of the tiles of all sequences in order, one: (sequence, first token, first row, rows)."""
    index = tl.arange(0, BATCH)
    low = tl.load(cu_q + index, mask=index < batch, other=0)
    high = tl.load(cu_q + index + 1, mask=index < batch, other=0)
    rows = (high - low) * SHARE
    count = (rows + ROWS - 1) // ROWS
    ends = tl.cumsum(count, 0)
    total = tl.sum(count, 0)
    tile = total - 1 - tile
    b = tl.sum((ends <= tile).to(tl.int32), 0)
    mine = index == b
    first_token = tl.sum(tl.where(mine, low, 0), 0)
    row = (tile - tl.sum(tl.where(mine, ends - count, 0), 0)) * ROWS
    return b, first_token, row, tl.sum(tl.where(mine, rows, 0), 0), tile >= 0


@triton.jit
def _open_pages(key_row, keys, first, last, newest, PAGE: tl.constexpr):
    """The page after the leading ones of first to last whose keys are all seen at `newest`."""
    key = tl.arange(0, PAGE)
    page = first
    is_open = 1
    while (page < last) & (is_open == 1):
        at = page * PAGE + key
        seen = tl.load(key_row + at, mask=at < keys, other=0)
        if tl.min(seen, 0) > newest:
            page += 1
        else:
            is_open = 0
    return page


@triton.jit
def _plan_kernel(
    cu_q, start, limit, positions, key_limit, records, batch, keys, key_stride,
    ROWS: tl.constexpr, SHARE: tl.constexpr, TOKENS: tl.constexpr, BATCH: tl.constexpr,
    KEYS: tl.constexpr, PAGE: tl.constexpr,
):  # fmt: skip
    """One program, one record."""
    slot = tl.program_id(0)
    b, first_token, row, rows, is_tile = _tile_of(cu_q, batch, slot, ROWS, SHARE, BATCH)
    token = row // SHARE + tl.arange(0, TOKENS)
    last = (tl.minimum(row + ROWS, rows) - 1) // SHARE
    live = (token <= last) & is_tile
    low = tl.load(start + first_token + token, mask=live, other=0)
    high = tl.load(limit + first_token + token, mask=live, other=0)
    position = high - 1
    if KEYS:
        position = tl.load(positions + first_token + token, mask=live, other=0)
        high = tl.minimum(high, position + 1)
    live = live & (low < high)
    beyond = 1 << 30
    hi = (tl.max(tl.where(live, high, 0), 0) + PAGE - 1) // PAGE
    lo = tl.minimum(tl.min(tl.where(live, low, beyond), 0) // PAGE, hi)
    full_lo = (tl.max(tl.where(live, low, 0), 0) + PAGE - 1) // PAGE
    full_lo = tl.minimum(tl.maximum(full_lo, lo), hi)
    full_hi = tl.min(tl.where(live, high, beyond), 0) // PAGE
    full_hi = tl.maximum(tl.minimum(full_hi, hi), full_lo)
    if KEYS:
        newest = tl.max(tl.where(live, position, 0), 0)
        row_keys = key_limit + b.to(tl.int64) * key_stride
        full_hi = _open_pages(row_keys, keys, full_lo, full_hi, newest, PAGE)
    field = tl.arange(0, 8)
    value = tl.where(field == 0, b, tl.where(field == 1, first_token, row))
    value = tl.where(field == 3, rows, value)
    value = tl.where(field == 4, lo, value)
    value = tl.where(field == 5, full_lo, value)
    value = tl.where(field == 6, full_hi, value)
    value = tl.where(field == 7, hi, value)
    tl.store(records + slot * 8 + field, tl.where(is_tile, value, 0))


def fill(plan: PrefillPlan) -> PrefillPlan:
    """Make the plan for what its tensors now say, in one launch."""
    batch, is_keyed = plan.cu_q.shape[0] - 1, plan.key_limit is not None
    key_limit = plan.start if plan.key_limit is None else plan.key_limit
    _plan_kernel[(plan.records.shape[0],)](
        plan.cu_q, plan.start, plan.limit, plan.positions if is_keyed else plan.start,
        key_limit, plan.records, batch, key_limit.shape[-1], key_limit.stride(0),
        ROWS=plan.rows, SHARE=plan.share,
        TOKENS=triton.next_power_of_2(plan.rows // plan.share + 2),
        BATCH=triton.next_power_of_2(max(batch, 2)), KEYS=is_keyed, PAGE=PAGE, num_warps=1,
    )  # fmt: skip
    return plan
