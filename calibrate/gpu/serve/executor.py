"""Runs the serving engine's steps on a model: plans become steps with page tables."""

import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from calibrate.engine.engine import Sizes
from calibrate.engine.executor import ChunkRows, Decodes, StepPlan, no_decodes
from calibrate.engine.memory.free import Copy, Pool
from calibrate.engine.memory.host_tier import NO_HOST, Host
from calibrate.engine.memory.rings import reserve_pages
from calibrate.gpu.serve.host_memory import HostMemory
from calibrate.gpu.serve.host_pool import STAGING_PAGES
from kaiju_sim.engine.limits import Limits
from kernels.common.layout import PAGE
from kernels.model.config import ModelConfig
from kernels.model.steps.cache import CachePlan, KVCache, window_pages
from kernels.model.steps.runner import MOST_CHUNKS, Runner
from kernels.model.steps.step import Chunk, DecodeRows, Draws, Step, padded_rows, table_entries

DRAW = np.dtype([("temperature", "f8"), ("seed", "i8"), ("made", "i8")])
"""A `Draw`. A seed has 63 bits, which no float holds."""


class ModelExecutor:
    """A model with its cache. Page p of the engine's mirror is page p of each layer's pool.

    A step with more chunks than a graph has room for is run as several; their results do not
    differ, since sequences are independent.
    """

    def __init__(self, runner: Runner, host: HostMemory | None = None) -> None:
        """`host`: where there is a host-memory tier."""
        self.runner, self.config, self.host = runner, runner.model.config, host
        self.device_ns = 0
        """Of the last step, from launch to tokens: what the calibration job measures of one."""
        self.metrics: NDArray[np.float32] | None = None
        """Of each token of the step that ran last, as the classifier saw the row that it was drawn
        from; None where the head has none."""

    def copy(self, copies: Sequence[Copy]) -> None:
        """Inside HBM in the order of the steps; to and from host memory beside them."""
        self._copy(copies, one_pool=False)

    def _copy(self, copies: Sequence[Copy], *, one_pool: bool) -> None:
        if self.host is None:
            if copies:
                copy_pages(self.runner.cache, copies, one_pool=one_pool)
            return
        for batch in batches(copies, STAGING_PAGES):
            within = [copy for copy in batch if copy.to < Pool.HOST and copy.of < Pool.HOST]
            do = partial(copy_pages, self.runner.cache, within, one_pool=one_pool)
            self.host.copy(batch, do)
        self.host.tell()

    def run(self, plan: StepPlan) -> NDArray[np.int32]:
        """Copies, then the step; waits for its tokens."""
        self.device_ns = 0
        self.metrics = None
        self._copy(plan.copies, one_pool=plan.local_tables is plan.global_tables)
        if self.host is not None:
            self._await_loads(self.host, plan)
        decodes, parts = plan.decodes, list(pieces(plan.chunks, len(plan.decodes)))
        first = self._run(plan, decodes, parts[0])
        if len(parts) == 1:
            return first
        return np.concatenate([first, *(self._run(plan, no_decodes(), p) for p in parts[1:])])

    def _await_loads(self, host: HostMemory, plan: StepPlan) -> None:
        """Pages that the step reads or writes are there. Policy has waited as long as it takes by
        its reckoning, so most of the time nothing is left to wait for."""
        if not host.is_loading:
            return
        slots, keys = plan.decodes.slots, plan.decodes.keys
        chunks = [(c.slot, c.start, c.start + len(c.tokens)) for c in plan.chunks]
        rows = np.array(chunks, np.int64).reshape(-1, 3)
        spans = np.concatenate([np.stack([slots, keys - 1, keys], 1), rows])
        host.settle(Pool.GLOBAL, seen_pages(plan.global_tables, spans, None))
        host.settle(Pool.LOCAL, seen_pages(plan.local_tables, spans, self.config.window))

    def _run(
        self, plan: StepPlan, decodes: Decodes, chunks: Sequence[ChunkRows]
    ) -> NDArray[np.int32]:
        tokens, keys = decodes.tokens.astype(np.int32), decodes.keys.astype(np.int32)
        tables = plan.global_tables, plan.local_tables
        rows = DecodeRows(tokens, keys, *tables, decodes.slots)
        step = Step(rows, [self._chunk(plan, c) for c in chunks])
        staged = self.runner.stage(step, draws_of(decodes, chunks))
        begin = time.perf_counter_ns()
        self.runner.launch(staged)
        result = self.runner.finish(staged)
        self.device_ns += time.perf_counter_ns() - begin
        self._note(result.metrics)
        return result.tokens

    def _note(self, metrics: NDArray[np.float32] | None) -> None:
        if metrics is not None:
            before = [] if self.metrics is None else [self.metrics]
            self.metrics = np.concatenate([*before, metrics])

    def _chunk(self, plan: StepPlan, rows: ChunkRows) -> Chunk:
        tables = plan.global_tables[rows.slot], plan.local_tables[rows.slot]
        return Chunk(rows.tokens, rows.start, *tables, len(rows.draws))


def seen_pages(
    tables: NDArray[np.int32], spans: NDArray[np.int64], window: int | None
) -> NDArray[np.int32]:
    """Pages that some tokens see, or their own. `spans`: `[n, 3]`, slot, first token, end."""
    slots, first, end = spans.T
    begin = np.zeros_like(first) if window is None else np.maximum(0, first + 1 - window)
    place = np.arange(tables.shape[1])
    seen = (place >= begin[:, None] // PAGE) & (place <= (end[:, None] - 1) // PAGE)
    pages: NDArray[np.int32] = tables[slots][seen]
    return pages


def pieces(chunks: Sequence[ChunkRows], decodes: int = 0) -> Iterator[Sequence[ChunkRows]]:
    """The chunks, as many at a time as a step may have, of which the first has so many decodes, and
    gives tokens for; at least one piece."""
    piece: list[ChunkRows] = []
    given = decodes
    for chunk in chunks:
        given += len(chunk.draws)
        if len(piece) == MOST_CHUNKS or given > padded_rows(decodes + MOST_CHUNKS):
            yield piece
            piece, decodes, given = [], 0, len(chunk.draws)
        piece.append(chunk)
    yield piece


def draws_of(decodes: Decodes, chunks: Sequence[ChunkRows]) -> Draws:
    """How the tokens of a step are drawn."""
    heat, seeds, made = decodes.temperatures, decodes.seeds, decodes.made
    drawn = [draw for chunk in chunks for draw in chunk.draws]
    if drawn:
        ends = np.array(drawn, DRAW)
        heat = np.append(heat, ends["temperature"])
        seeds, made = np.append(seeds, ends["seed"]), np.append(made, ends["made"])
    return Draws(heat.astype(np.float32), seeds, made.astype(np.int32))


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
def copy_pages(cache: KVCache, copies: Sequence[Copy], *, one_pool: bool = False) -> None:
    """Copy pages inside each pool of HBM in all its layers, in the order of the stream. `one_pool`:
    a global page has all layers' KV."""
    for pool, kinds in {Pool.LOCAL: [False], Pool.GLOBAL: [True, False][: 1 + one_pool]}.items():
        for pairs in apart([(copy.source, copy.target) for copy in copies if copy.of == pool]):
            for is_global in kinds:
                cache.copy_pages(pairs, is_global=is_global)


def apart(pairs: Sequence[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    """Sources and targets in order, cut so that within a piece the order does not matter."""
    piece: list[tuple[int, int]] = []
    read: set[int] = set()
    written: set[int] = set()
    for source, target in pairs:
        if source in written or target in written or target in read:
            yield piece
            piece, read, written = [], set(), set()
        piece.append((source, target))
        read.add(source)
        written.add(target)
    if piece:
        yield piece


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
