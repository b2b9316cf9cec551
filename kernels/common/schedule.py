"""Who works on what in decode attention: sequences of any length, over a fixed number of workers.

A decode step has sequences from 1 to 32K tokens, and a grid whose size must not depend on them (a
captured CUDA graph keeps it). So a plan is made on the device, once a step, and every layer with
the same visibility uses it. Work is counted in tiles of one page (128 tokens). All tiles of all
sequences in order, `total` of them, are numbered; `edges[b]` is the number of sequence b's first
tile. Worker w takes tiles `first` to `last` of its record. There are two ways to cut:

- **units**: each active sequence is cut into `pieces` equal pieces, one for each worker; or, with
  more sequences than workers, a worker takes several whole ones.
- **even**: each worker takes as many tiles, whatever the sequences; but each sequence counts for
  `START_TILES` more, before its first: to begin and to end one takes about as long.

Even is the best balance, but a sequence that is cut needs its parts merged, which costs about as
much as `MERGE_TILES` tiles. So units is used where its longest worker is no slower than that.

`owners[b]` are a sequence's first worker and how many it has, all in a row.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl

from kernels.common.layout import HEAD_DIM, PAGE

MERGE_TILES = 2
START_TILES = 3
LEAST_TILES = 2
WORKERS_A_PROGRAM = 8
RECORD = 16
ROW_BLOCK = 64


class DecodePlan(NamedTuple):
    """A plan for sequences that see keys `start` to `limit`, and the room to carry it out in.

    All integers are int32 and lie in one `buffer`, one after the other:

    - `records` `[workers, 16]`: first tile, last tile (exclusive), and of the first tile's
      sequence: its number, first edge, last edge, start, limit, first worker, number of workers;
      then whether the cut is by units; six are unused;
    - `edges` `[batch + 1]`, `owners` `[batch, 2]`;
    - `visible` `[2, batch]`: start and limit as they were when the plan was made;
    - `counters` `[2, kv_heads, rows / 64, batch]`: how many parts of a cut sequence have been
      written since then, and whose rows have been given up (a bit each).

    `partial` float16 `[kv_heads, 2 * workers, rows, 128]` and `mass` float32
    `[kv_heads, 2 * workers, rows]` are what those parts came to.
    """

    start: torch.Tensor
    limit: torch.Tensor
    buffer: torch.Tensor
    partial: torch.Tensor
    mass: torch.Tensor

    @property
    def workers(self) -> int:
        """How many workers each KV head has."""
        return self.partial.shape[1] // 2

    @property
    def batch(self) -> int:
        """How many sequences."""
        return self.start.shape[0]

    @property
    def records(self) -> torch.Tensor:
        """What each worker does."""
        return self.buffer[: self.workers * RECORD].view(-1, RECORD)

    @property
    def edges(self) -> torch.Tensor:
        """Each sequence's first tile, and the number of tiles."""
        first = self.workers * RECORD
        return self.buffer[first : first + self.batch + 1]

    @property
    def owners(self) -> torch.Tensor:
        """Each sequence's first worker and number of workers."""
        first = self.workers * RECORD + self.batch + 1
        return self.buffer[first : first + 2 * self.batch].view(-1, 2)

    @property
    def counters(self) -> torch.Tensor:
        """Parts written, and rows given up; made zero with the plan."""
        return self.buffer[self.workers * RECORD + 5 * self.batch + 1 :]


def allocate(
    start: torch.Tensor, limit: torch.Tensor, *, workers: int, kv_heads: int, rows: int
) -> DecodePlan:
    """An empty plan for these sequences: `workers` for each KV head. `rows`: query heads per KV
    head, as padded by the kernel."""
    device, batch = start.device, start.shape[0]
    counters = 2 * kv_heads * max(1, rows // ROW_BLOCK) * batch
    size = workers * RECORD + 5 * batch + 1 + counters
    parts = (kv_heads, 2 * workers, rows)
    return DecodePlan(
        start=start,
        limit=limit,
        buffer=torch.zeros(size, dtype=torch.int32, device=device),
        partial=torch.empty((*parts, HEAD_DIM), dtype=torch.float16, device=device),
        mass=torch.empty(parts, dtype=torch.float32, device=device),
    )


@triton.jit
def _cut(
    total, active, longest, workers,
    START: tl.constexpr, MERGE: tl.constexpr, LEAST: tl.constexpr,
):  # fmt: skip
    """How to cut: (units?, pieces of a sequence, workers that work)."""
    pieces = tl.maximum(workers // tl.maximum(active, 1), 1)
    pieces = tl.minimum(pieces, tl.maximum(longest // LEAST, 1))
    units = active * pieces
    even_workers = tl.maximum(tl.minimum(workers, total // LEAST), 1)
    slowest = (tl.cdiv(longest, pieces) + START) * tl.cdiv(units, workers)
    even = tl.cdiv(total + active * START, even_workers)
    by_units = slowest <= even + even // 16 + MERGE
    return by_units, pieces, tl.where(by_units, tl.minimum(units, workers), even_workers)


@triton.jit
def _tile_at(cost, total_cost, total, first_cost, last_cost, first_edge, START: tl.constexpr):
    """The tile at which a worker begins whose work begins at this cost: a sequence's first tile
    if that is in its start."""
    here = (cost[:, None] >= first_cost[None, :]) & (cost[:, None] < last_cost[None, :])
    inner = tl.maximum(cost[:, None] - first_cost[None, :] - START, 0)
    tile = tl.sum(tl.where(here, first_edge[None, :] + inner, 0), 1)
    return tl.where(cost < total_cost, tile, total)


@triton.jit
def _pick(mine, values):
    """Of each worker, the value of the sequence that is its first."""
    return tl.sum(tl.where(mine, values[None, :], 0), 1)


@triton.jit
def _plan_kernel(
    start_ptr, limit_ptr, plan_ptr, batch, workers, counters_a_sequence,
    BATCH: tl.constexpr, WORKERS: tl.constexpr, TILE: tl.constexpr,
    RECORD: tl.constexpr, START: tl.constexpr, MERGE: tl.constexpr, LEAST: tl.constexpr,
):  # fmt: skip
    """One program a few workers; all compute the edges, the first one stores them."""
    b = tl.arange(0, BATCH)
    start = tl.load(start_ptr + b, mask=b < batch, other=0)
    limit = tl.load(limit_ptr + b, mask=b < batch, other=0)
    tiles = tl.where(start < limit, (limit + TILE - 1) // TILE - start // TILE, 0)
    last_edge = tl.cumsum(tiles, 0)
    first_edge = last_edge - tiles
    is_active = (tiles > 0).to(tl.int32)
    rank = tl.cumsum(is_active, 0) - is_active
    total = tl.sum(tiles, 0)
    active = tl.sum(is_active, 0)
    by_units, pieces, working = _cut(total, active, tl.max(tiles, 0), workers, START, MERGE, LEAST)
    grouped = active * pieces > workers
    piece = tl.maximum(tl.cdiv(tiles, pieces), 1)
    # In even cuts, what sequences cost up to each one's end, in tiles.
    last_cost = tl.cumsum(tiles + is_active * START, 0)
    first_cost = last_cost - tiles - is_active * START
    cost = (total + active * START).to(tl.int64)

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
        next_base = tl.sum(tl.where(there, first_edge[None, :], 0), 1)
        next_base = tl.where(after < active, next_base, total)
        last = tl.where(grouped, next_base, last)
    else:
        begin = ((w * cost) // working).to(tl.int32)
        end = (((w + 1) * cost) // working).to(tl.int32)
        first = _tile_at(begin, cost, total, first_cost, last_cost, first_edge, START)
        last = _tile_at(end, cost, total, first_cost, last_cost, first_edge, START)
    idle = w >= working
    first = tl.where(idle, 0, first)
    last = tl.where(idle, 0, last)
    # Each sequence's first worker and how many it has.
    if by_units:
        parts = tl.cdiv(tiles, piece)
        head = tl.where(grouped, ((rank + 1) * workers - 1) // tl.maximum(active, 1), rank * pieces)
        parts = tl.where(grouped, 1, parts)
    else:
        wide = working.to(tl.int64)
        head = (((first_cost + START + 1) * wide - 1) // tl.maximum(cost, 1)).to(tl.int32)
        tail = ((last_cost * wide - 1) // tl.maximum(cost, 1)).to(tl.int32)
        parts = tail - head + 1

    mine = (first[:, None] >= first_edge[None, :]) & (first[:, None] < last_edge[None, :])
    record = plan_ptr + w * RECORD
    live = w < workers
    tl.store(record, first, mask=live)
    tl.store(record + 1, last, mask=live)
    tl.store(record + 2, _pick(mine, b), mask=live)
    tl.store(record + 3, _pick(mine, first_edge), mask=live)
    tl.store(record + 4, _pick(mine, last_edge), mask=live)
    tl.store(record + 5, _pick(mine, start), mask=live)
    tl.store(record + 6, _pick(mine, limit), mask=live)
    tl.store(record + 7, _pick(mine, head), mask=live)
    tl.store(record + 8, _pick(mine, parts), mask=live)
    tl.store(record + 9, tl.where(by_units, first * 0 + 1, 0), mask=live)

    # The sequences' edges, owners and visibility.
    if tl.program_id(0) == 0:
        here = b < batch
        edges = plan_ptr + workers * RECORD
        tl.store(edges + 1 + b, last_edge, mask=here)
        tl.store(edges, 0)
        owners = edges + batch + 1
        tl.store(owners + 2 * b, head, mask=here)
        tl.store(owners + 2 * b + 1, parts, mask=here)
        visible = owners + 2 * batch
        tl.store(visible + b, start, mask=here)
        tl.store(visible + batch + b, limit, mask=here)
        counters = visible + 2 * batch
        for i in range(0, counters_a_sequence):
            tl.store(counters + i * batch + b, 0, mask=here)


def fill(plan: DecodePlan) -> DecodePlan:
    """Make the plan for what `plan.start` and `plan.limit` now say, in one launch."""
    batch = plan.start.shape[0]
    if batch == 0:
        return plan
    _plan_kernel[(triton.cdiv(plan.workers, WORKERS_A_PROGRAM),)](
        plan.start, plan.limit, plan.buffer, batch, plan.workers,
        plan.counters.numel() // batch,
        BATCH=triton.next_power_of_2(batch), WORKERS=WORKERS_A_PROGRAM, TILE=PAGE,
        RECORD=RECORD, START=START_TILES, MERGE=MERGE_TILES, LEAST=LEAST_TILES,
    )  # fmt: skip
    return plan
