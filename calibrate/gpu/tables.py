"""Steps of a wanted shape: page tables and tokens, for measurements.

What is in the pages does not matter to the time, so sequences are made up for each step: pages
drawn at random from the pools, as they would be after hours of serving, and none twice.
"""

import numpy as np

from calibrate import shapes
from calibrate.shapes import StepShape
from kernels.common.layout import PAGE
from kernels.model.config import ModelConfig
from kernels.model.steps.cache import CachePlan
from kernels.model.steps.step import Chunk, DecodeRows, Ints, Step, table_entries


class _Pages:
    """Pages of a pool in random order, each given once."""

    def __init__(self, count: int, rng: np.random.Generator) -> None:
        self._order = rng.permutation(count).astype(np.int32)
        self._next = 0

    def take(self, count: int) -> Ints:
        if self._next + count > len(self._order):
            raise ValueError(f"the step needs more than the pool's {len(self._order)} pages")
        self._next += count
        return self._order[self._next - count : self._next]


class TableMaker:
    """Makes steps for one model and cache; the same shape and seed give the same step."""

    def __init__(self, config: ModelConfig, plan: CachePlan) -> None:
        self.config, self.plan = config, plan
        self.entries = table_entries(config)

    def step(self, shape: StepShape, seed: int) -> Step:
        """A step of that shape. ValueError where the pools are too small for it."""
        rng = np.random.default_rng(seed)
        pools = _Pages(self.plan.global_pages, rng), _Pages(self.plan.local_pages, rng)
        limits = np.asarray(shape.decodes, np.int32)
        rows = DecodeRows(
            rng.integers(0, self.config.vocab, len(limits)).astype(np.int32), limits,
            self._global_tables(limits, shape, pools[0]), self._local_tables(limits, pools[1]),
        )  # fmt: skip
        return Step(rows, [self._chunk(c, rng, *pools) for c in shape.chunks])

    def _global_tables(self, limits: Ints, shape: StepShape, pool: _Pages) -> Ints:
        tables = np.zeros((len(limits), self.entries), np.int32)
        common = shape.shared_tokens // PAGE if shape.shared_group > 1 else 0
        shared = pool.take(0)
        for i, limit in enumerate(limits):
            if i % max(shape.shared_group, 1) == 0:
                shared = pool.take(common)
            own = -(-int(limit) // PAGE)
            tables[i, : min(common, own)] = shared[:own]
            if own > common:
                tables[i, common:own] = pool.take(own - common)
        return tables

    def _local_tables(self, limits: Ints, pool: _Pages) -> Ints:
        tables = np.zeros((len(limits), self.entries), np.int32)
        for i, limit in enumerate(limits):
            self._window(tables[i], int(limit) - 1, int(limit), pool)
        return tables

    def _window(self, table: Ints, position: int, end: int, pool: _Pages) -> None:
        """Pages for what tokens from `position` on see, up to `end`."""
        if self.config.window is None:
            return
        first = max(0, position + 1 - self.config.window) // PAGE
        last = -(-end // PAGE)
        table[first:last] = pool.take(last - first)

    def _chunk(
        self, c: shapes.Chunk, rng: np.random.Generator, pages: _Pages, local_pages: _Pages
    ) -> Chunk:
        own, local = np.zeros((2, self.entries), np.int32)
        end = c.cached + c.new
        own[: -(-end // PAGE)] = pages.take(-(-end // PAGE))
        self._window(local, c.cached, end, local_pages)
        tokens = rng.integers(0, self.config.vocab, c.new).astype(np.int32)
        return Chunk(tokens, c.cached, own, local, c.last)
