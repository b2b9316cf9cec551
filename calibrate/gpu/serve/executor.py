"""Runs the serving engine's steps on a model: plans become steps with page tables."""

import sys
from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from calibrate.engine.engine import Sizes
from calibrate.engine.executor import ChunkRows, DecodeRow, Draw, StepPlan
from calibrate.engine.memory.free import Copy, Pool
from calibrate.engine.memory.host_tier import NO_HOST, Host
from calibrate.engine.memory.rings import reserve_pages
from calibrate.gpu.serve.host_memory import HostMemory
from calibrate.gpu.serve.host_pool import STAGING_PAGES, numbers
from kaiju_sim.engine.limits import Limits
from kernels.common.layout import PAGE
from kernels.model.config import ModelConfig
from kernels.model.steps.cache import CachePlan, KVCache, window_pages
from kernels.model.steps.runner import MOST_CHUNKS, Runner
from kernels.model.steps.step import Chunk, DecodeRows, Draws, Step, table_entries


class ModelExecutor:
    """A model with its cache. Page p of the engine's mirror is page p of each layer's pool.

    A step with more chunks than a graph has room for is run as several; their results do not
    differ, since sequences are independent.
    """

    def __init__(self, runner: Runner, host: HostMemory | None = None) -> None:
        """`host`: where there is a host-memory tier."""
        self.runner, self.config, self.host = runner, runner.model.config, host

    def copy(self, copies: Sequence[Copy]) -> None:
        """Inside HBM in the order of the steps; to and from host memory beside them."""
        if self.host is None:
            copy_pages(self.runner.cache, copies)
            return
        for batch in batches(copies, STAGING_PAGES):
            within = [copy for copy in batch if copy.to == Pool.LOCAL == copy.of]
            self.host.copy(batch, partial(copy_pages, self.runner.cache, within))
        self.host.tell()

    def run(self, plan: StepPlan) -> list[int]:
        """Copies, then the step; waits for its tokens."""
        self.copy(plan.copies)
        if self.host is not None:
            self._await_loads(self.host, plan)
        decoded: list[int] = []
        prompted: list[int] = []
        decodes = plan.decodes
        for chunks in pieces(plan.chunks):
            rows = [*(row.draw for row in decodes), *(c.draw for c in chunks if c.draw is not None)]
            step = Step(self._decode_rows(plan, decodes), [self._chunk(plan, c) for c in chunks])
            tokens = self.runner.run(step, draws_of(rows)).tokens.tolist()
            decoded += tokens[: len(decodes)]
            prompted += tokens[len(decodes) :]
            decodes = ()
        return decoded + prompted

    def _await_loads(self, host: HostMemory, plan: StepPlan) -> None:
        """Pages that the step reads or writes are there. Policy has waited as long as it takes by
        its reckoning, so most of the time nothing is left to wait for."""
        if not host.is_loading:
            return
        spans = [Span(row.slot, row.keys - 1, row.keys) for row in plan.decodes]
        spans += [Span(c.slot, c.start, c.start + len(c.tokens)) for c in plan.chunks]
        host.settle(Pool.GLOBAL, seen_pages(plan.global_tables, spans, None))
        host.settle(Pool.LOCAL, seen_pages(plan.local_tables, spans, self.config.window))

    def _decode_rows(self, plan: StepPlan, rows: Sequence[DecodeRow]) -> DecodeRows:
        slots = [row.slot for row in rows]
        return DecodeRows(
            np.array([row.token for row in rows], np.int32),
            np.array([row.keys for row in rows], np.int32),
            plan.global_tables[slots], plan.local_tables[slots],
        )  # fmt: skip

    def _chunk(self, plan: StepPlan, rows: ChunkRows) -> Chunk:
        tables = plan.global_tables[rows.slot], plan.local_tables[rows.slot]
        return Chunk(rows.tokens, rows.start, *tables, rows.draw is not None)


class Span(NamedTuple):
    """Tokens of a sequence that a step computes."""

    slot: int
    first: int
    end: int


def seen_pages(
    tables: NDArray[np.int32], spans: Sequence[Span], window: int | None
) -> NDArray[np.int32]:
    """Pages that these tokens see, or their own."""
    slots, first, end = np.array(spans, np.int64).reshape(-1, 3).T
    begin = np.zeros_like(first) if window is None else np.maximum(0, first + 1 - window)
    place = np.arange(tables.shape[1])
    seen = (place >= begin[:, None] // PAGE) & (place <= (end[:, None] - 1) // PAGE)
    return tables[slots][seen]


def pieces(chunks: Sequence[ChunkRows]) -> Iterator[Sequence[ChunkRows]]:
    """The chunks, as many at a time as a step may have; at least one piece."""
    yield chunks[:MOST_CHUNKS]
    for at in range(MOST_CHUNKS, len(chunks), MOST_CHUNKS):
        yield chunks[at : at + MOST_CHUNKS]


def draws_of(rows: Sequence[Draw]) -> Draws:
    """How the tokens of a step are drawn."""
    return Draws(
        np.array([draw.temperature for draw in rows], np.float32),
        np.array([draw.seed for draw in rows], np.int64),
        np.array([draw.made for draw in rows], np.int32),
    )


def batches(copies: Sequence[Copy], most: int = sys.maxsize) -> Iterator[list[Copy]]:
    """The copies in order, cut before each that reads or writes what an earlier one of its batch
    writes, and so that at most so many of a batch go to host memory. A batch is read as a whole
    before it is written."""
    batch: list[Copy] = []
    written: set[tuple[Pool, int]] = set()
    stores = 0
    for copy in copies:
        target, is_store = (copy.to, copy.target), copy.to >= Pool.HOST
        if (copy.of, copy.source) in written or target in written or stores + is_store > most:
            yield batch
            batch, written, stores = [], set(), 0
        batch.append(copy)
        written.add(target)
        stores += is_store
    if batch:
        yield batch


@torch.no_grad()
def copy_pages(cache: KVCache, copies: Sequence[Copy]) -> None:
    """Copy pages inside the local pool in all its layers, in the order of the stream."""
    owners = cache.config.owners(is_global=False)
    if not copies or not owners:
        return
    device = cache.of(owners[0]).k.device
    for batch in batches(copies):
        source = numbers([copy.source for copy in batch], device)
        target = numbers([copy.target for copy in batch], device)
        for layer in owners:
            for part in cache.of(layer):
                part[target] = part[source]


def sizes_of(
    config: ModelConfig, plan: CachePlan, limits: Limits, inside: int, host: Host = NO_HOST
) -> Sizes:
    """What the pools of a cache hold, for an engine with these limits, so many requests inside and
    so much host memory.

    ValueError where the limits' blocks and windows are not the cache's.
    """
    if 1 << limits.shift != PAGE:
        raise ValueError(f"block_tokens: is {1 << limits.shift}, must be {PAGE}, a page's")
    if limits.windows == 0 and 0 < plan.local_pages < plan.global_pages:
        raise ValueError("windows: without them the local pool must be as large as the global one")
    if limits.window != (config.window or 0):
        raise ValueError(f"window: is {limits.window}, the model's is {config.window}")
    reserve = max(0, plan.local_pages - limits.windows * window_pages(config))
    wanted = reserve_pages(limits, host=any(host))
    if limits.windows and reserve < wanted:
        raise ValueError(
            f"windows: beside {limits.windows} the cache has {reserve} pages for chunks, must have"
            f" {wanted}"
        )
    return Sizes(plan.global_pages, reserve, table_entries(config) * PAGE, inside, host)
