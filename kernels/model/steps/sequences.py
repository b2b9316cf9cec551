"""Sequences on the paged cache: which pages each holds, what a step of them looks like.

The bookkeeping for tests, measurements and guided search: pages are taken as tokens need them,
local ones are given back when the window has passed them, and a fork shares all full pages and
copies the last, partial one. No policy: whoever asks for more than there is gets a `NoPages`.
"""

from collections.abc import Sequence

import numpy as np

from kernels.common.layout import PAGE
from kernels.model.config import ModelConfig
from kernels.model.steps.cache import KVCache
from kernels.model.steps.step import Chunk, DecodeRows, Ints, Step, no_decodes, table_entries

KINDS = ("global", "local")


class NoPages(RuntimeError):
    """A pool has no page left."""


class PagePool:
    """Pages of one pool, with how many sequences hold each."""

    def __init__(self, pages: int) -> None:
        self._free = list(range(pages - 1, -1, -1))
        self._holders = np.zeros(pages, np.int32)

    @property
    def free(self) -> int:
        """Pages that nobody holds."""
        return len(self._free)

    def take(self) -> int:
        """A page that nobody holds."""
        if not self._free:
            raise NoPages(f"all {len(self._holders)} pages are held")
        page = self._free.pop()
        self._holders[page] = 1
        return page

    def hold(self, page: int) -> None:
        """One more sequence holds the page."""
        assert self._holders[page] > 0
        self._holders[page] += 1

    def give_back(self, page: int) -> None:
        """One sequence less."""
        self._holders[page] -= 1
        assert self._holders[page] >= 0
        if self._holders[page] == 0:
            self._free.append(page)


class SequenceKV:
    """One sequence: its tokens whose KV is in the cache, and the pages that hold it."""

    def __init__(self, store: "SequenceStore") -> None:
        self.store = store
        self.length = 0
        self.held: dict[str, dict[int, int]] = {kind: {} for kind in store.pools}
        self.tables = {kind: np.zeros(store.entries, np.int32) for kind in KINDS}

    def extend(self, tokens: int) -> None:
        """Pages for so many tokens more. NoPages leaves the sequence as it was."""
        last = -(-(self.length + tokens) // PAGE)
        if last > self.store.entries:
            raise ValueError(f"sequence: {self.length + tokens} tokens exceed the model's context")
        wanted = {
            kind: [i for i in range(self._oldest(kind), last) if i not in held]
            for kind, held in self.held.items()
        }
        for kind, indices in wanted.items():
            if len(indices) > self.store.pools[kind].free:
                raise NoPages(f"the {kind} pool has no {len(indices)} pages")
        for kind, indices in wanted.items():
            for i in indices:
                self._put(kind, i, self.store.pools[kind].take())

    def advance(self, tokens: int) -> None:
        """So many tokens have been computed: pages that no window will see again go back."""
        self.length += tokens
        for kind, held in self.held.items():
            for i in [i for i in held if i < self._oldest(kind)]:
                self.store.pools[kind].give_back(held.pop(i))

    def fork(self) -> "SequenceKV":
        """A sequence with the same context: full pages are shared, the last partial one copied."""
        other = SequenceKV(self.store)
        other.length = self.length
        partial = self.length // PAGE if self.length % PAGE else -1
        if partial >= 0 and any(pool.free < 1 for pool in self.store.pools.values()):
            raise NoPages("no page is left to copy the last one to")
        for kind, held in self.held.items():
            for i, page in held.items():
                if i == partial:
                    copy = self.store.pools[kind].take()
                    self.store.cache.copy_pages([(page, copy)], is_global=kind == "global")
                    other._put(kind, i, copy)
                elif i * PAGE < self.length:
                    self.store.pools[kind].hold(page)
                    other._put(kind, i, page)
        return other

    def free(self) -> None:
        """All pages go back."""
        for kind, held in self.held.items():
            for page in held.values():
                self.store.pools[kind].give_back(page)
            held.clear()
        self.length = 0

    def _oldest(self, kind: str) -> int:
        """The first page that the next token sees."""
        window = self.store.config.window
        if kind == "global" or window is None:
            return 0
        return max(0, self.length + 1 - window) // PAGE

    def _put(self, kind: str, index: int, page: int) -> None:
        self.held[kind][index] = page
        self.tables[kind][index] = page


class SequenceStore:
    """The pools of a cache."""

    def __init__(self, cache: KVCache) -> None:
        self.cache, self.config = cache, cache.config
        self.entries = table_entries(cache.config)
        self.pools = {"global": PagePool(cache.plan.global_pages)}
        if cache.config.window is not None:
            self.pools["local"] = PagePool(cache.plan.local_pages)

    def new(self) -> SequenceKV:
        """An empty sequence."""
        return SequenceKV(self)


def decode_rows(config: ModelConfig, sequences: Sequence[SequenceKV], tokens: Ints) -> DecodeRows:
    """Rows for the next token of each; their pages have been extended."""
    if not sequences:
        return no_decodes(config)
    far, near = (np.stack([s.tables[kind] for s in sequences]) for kind in KINDS)
    limit = np.array([s.length + 1 for s in sequences], np.int32)
    return DecodeRows(np.asarray(tokens, np.int32), limit, far, near)


def chunk(sequence: SequenceKV, tokens: Ints, *, samples: bool = True) -> Chunk:
    """The next tokens of a prompt; the sequence's pages have been extended."""
    return Chunk(
        np.asarray(tokens, np.int32), sequence.length, sequence.tables["global"],
        sequence.tables["local"], samples,
    )  # fmt: skip


def step_of(
    config: ModelConfig,
    decodes: Sequence[tuple[SequenceKV, int]] = (),
    chunks: Sequence[tuple[SequenceKV, Ints, bool]] = (),
) -> Step:
    """A step of sequences with their newest tokens, and of prompt pieces; extends their pages."""
    for sequence, _ in decodes:
        sequence.extend(1)
    for sequence, tokens, _ in chunks:
        sequence.extend(len(tokens))
    rows = decode_rows(config, [s for s, _ in decodes], np.array([t for _, t in decodes], np.int32))
    return Step(rows, [chunk(s, t, samples=last) for s, t, last in chunks])
