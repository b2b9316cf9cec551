"""Who works on what in decode attention: sequences of any length, over a fixed number of workers.

A decode step has sequences from 1 to 32K tokens, and a grid whose size must not depend on them (a
captured CUDA graph keeps it). So a plan is made on the device, once a step, and every layer with
the same visibility uses it. Work is counted in tiles of one page (128 tokens). All tiles of all
sequences in order, `total` of them, are numbered; `edges[b]` is the number of sequence b's first
tile. Worker w takes tiles `first` to `last` of its record. There are two ways to cut:

- **units**: each active sequence is cut into `pieces` equal pieces, one for each worker; or, with
  more sequences than workers, a worker takes several whole ones.
- **even**: each worker takes total / workers tiles, whatever the sequences.

Even is the best balance, but a sequence that is cut needs its parts merged, which costs about as
much as `MERGE_TILES` tiles. So units is used where its longest worker is no slower than that.

`owners[b]` are the first and the last worker of a sequence; the workers between all have a part.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl

from kernels.common.layout import HEAD_DIM, PAGE

MERGE_TILES = 2
LEAST_TILES = 2
WORKERS_A_PROGRAM = 8
RECORD = 8
ROW_BLOCK = 64


class DecodePlan(NamedTuple):
    """A plan for sequences that see keys `start` to `limit`, and the room to carry it out in.

    `records` int32 `[workers, 8]`: first tile, last tile (exclusive), the sequence of the first
    tile, that sequence's first edge, its last edge, the page of its first tile, whether the cut is
    by units, one unused.
    `edges` int32 `[batch + 1]`. `owners` int32 `[batch, 2]`. `counters` int32
    `[2, kv_heads, rows / 64, batch]`, zero between launches. `partial` float16 `[kv_heads, 2 * workers, rows,
    128]` and `mass` float32 `[kv_heads, 2 * workers, rows]`: what a part of a cut sequence came to.
    """

    start: torch.Tensor
    limit: torch.Tensor
    records: torch.Tensor
    edges: torch.Tensor
    owners: torch.Tensor
    counters: torch.Tensor
    partial: torch.Tensor
    mass: torch.Tensor

    @property
    def workers(self) -> int:
        """How many workers each KV head has."""
        return self.records.shape[0]


def allocate(start: torch.Tensor, limit: torch.Tensor, *, workers: int, kv_heads: int, rows: int):
    """An empty plan for these sequences. `rows`: query heads per KV head, as padded by the kernel."""
    device, batch = start.device, start.shape[0]

    def ints(*shape: int) -> torch.Tensor:
        return torch.zeros(shape, dtype=torch.int32, device=device)

    parts = (kv_heads, 2 * workers, rows)
    return DecodePlan(
        start=start,
        limit=limit,
        records=ints(workers, RECORD),
        edges=ints(batch + 1),
        owners=ints(batch, 2),
        counters=ints(2, kv_heads, max(1, rows // ROW_BLOCK), batch),
        partial=torch.empty((*parts, HEAD_DIM), dtype=torch.float16, device=device),
        mass=torch.empty(parts, dtype=torch.float32, device=device),
    )


@triton.jit
def _ceil_div(a, b):
    return (a + b - 1) // b


@triton.jit
def _cut(total, active, longest, workers, MERGE: tl.constexpr, LEAST: tl.constexpr):
    """How to cut: (units?, pieces of a sequence, workers that work)."""
    pieces = tl.maximum(workers // tl.maximum(active, 1), 1)
    pieces = tl.minimum(pieces, tl.maximum(longest // LEAST, 1))
    units = active * pieces
    even_workers = tl.maximum(tl.minimum(workers, total // LEAST), 1)
    slowest = _ceil_div(longest, pieces) * _ceil_div(units, workers)
    even = _ceil_div(total, even_workers)
    by_units = slowest <= even + even // 16 + MERGE
    return by_units, pieces, tl.where(by_units, tl.minimum(units, workers), even_workers)


@triton.jit
def _plan_kernel(
    start_ptr, limit_ptr, records_ptr, edges_ptr, owners_ptr, batch, workers,
    BATCH: tl.constexpr, WORKERS: tl.constexpr, TILE: tl.constexpr,
    MERGE: tl.constexpr, LEAST: tl.constexpr,
):  # fmt: skip
    """One program a few workers; all compute the edges, the first one stores them."""
    b = tl.arange(0, BATCH)
    start = tl.load(start_ptr + b, mask=b < batch, other=0)
    limit = tl.load(limit_ptr + b, mask=b < batch, other=0)
    page = start // TILE
    tiles = tl.where(start < limit, (limit + TILE - 1) // TILE - page, 0)
    last_edge = tl.cumsum(tiles, 0)
    first_edge = last_edge - tiles
    is_active = (tiles > 0).to(tl.int32)
    rank = tl.cumsum(is_active, 0) - is_active
    total = tl.sum(tiles, 0)
    active = tl.sum(is_active, 0)
    by_units, pieces, working = _cut(total, active, tl.max(tiles, 0), workers, MERGE, LEAST)
    grouped = active * pieces > workers
    piece = tl.maximum(_ceil_div(tiles, pieces), 1)

    # The workers' ranges.
    w = tl.program_id(0) * WORKERS + tl.arange(0, WORKERS)
    if by_units:
        # A worker's first unit, and the one after its last; unit = rank * pieces + index.
        unit = tl.where(grouped, (w * active) // workers, w)
        after = tl.where(grouped, ((w + 1) * active) // workers, w)
        here = (rank[None, :] == (unit // pieces)[:, None]) & (tiles > 0)[None, :]
        there = (rank[None, :] == after[:, None]) & (tiles > 0)[None, :]
        base = tl.sum(tl.where(here, first_edge[None, :], 0), 1)
        end = tl.sum(tl.where(here, last_edge[None, :], 0), 1)
        step = tl.sum(tl.where(here, piece[None, :], 0), 1)
        first = tl.minimum(base + (unit % pieces) * step, end)
        last = tl.minimum(first + step, end)
        next_base = tl.where(after < active, tl.sum(tl.where(there, first_edge[None, :], 0), 1), total)
        last = tl.where(grouped, next_base, last)
    else:
        first = ((w * total.to(tl.int64)) // working).to(tl.int32)
        last = (((w + 1) * total.to(tl.int64)) // working).to(tl.int32)
    idle = w >= working
    first = tl.where(idle, 0, first)
    last = tl.where(idle, 0, last)
    mine = (first[:, None] >= first_edge[None, :]) & (first[:, None] < last_edge[None, :])
    record = records_ptr + w * 8
    live = w < workers
    tl.store(record, first, mask=live)
    tl.store(record + 1, last, mask=live)
    tl.store(record + 2, tl.sum(tl.where(mine, b[None, :], 0), 1), mask=live)
    tl.store(record + 3, tl.sum(tl.where(mine, first_edge[None, :], 0), 1), mask=live)
    tl.store(record + 4, tl.sum(tl.where(mine, last_edge[None, :], 0), 1), mask=live)
    tl.store(record + 5, tl.sum(tl.where(mine, page[None, :], 0), 1), mask=live)
    tl.store(record + 6, tl.where(w >= 0, tl.where(by_units, 1, 0), 0), mask=live)

    # The sequences' edges and owners.
    if tl.program_id(0) == 0:
        if by_units:
            parts = _ceil_div(tiles, piece)
            head = tl.where(grouped, ((rank + 1) * workers - 1) // tl.maximum(active, 1), rank * pieces)
            tail = tl.where(grouped, head, head + parts - 1)
        else:
            wide = working.to(tl.int64)
            head = (((first_edge + 1) * wide - 1) // tl.maximum(total, 1)).to(tl.int32)
            tail = ((last_edge * wide - 1) // tl.maximum(total, 1)).to(tl.int32)
        tl.store(edges_ptr + 1 + b, last_edge, mask=b < batch)
        tl.store(edges_ptr, 0)
        tl.store(owners_ptr + 2 * b, head, mask=b < batch)
        tl.store(owners_ptr + 2 * b + 1, tail, mask=b < batch)


def fill(plan: DecodePlan) -> DecodePlan:
    """Make the plan for what `plan.start` and `plan.limit` now say, in one launch."""
    batch = plan.start.shape[0]
    _plan_kernel[(triton.cdiv(plan.workers, WORKERS_A_PROGRAM),)](
        plan.start, plan.limit, plan.records, plan.edges, plan.owners, batch, plan.workers,
        BATCH=triton.next_power_of_2(batch), WORKERS=WORKERS_A_PROGRAM, TILE=PAGE,
        MERGE=MERGE_TILES, LEAST=LEAST_TILES,
    )  # fmt: skip
    return plan
