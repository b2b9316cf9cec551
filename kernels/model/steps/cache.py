"""The paged KV cache of a model: two pools of pages, for global layers and for local ones.

A page holds 128 tokens. Page p of a pool is page p of every layer that owns KV of that kind, so one
table per sequence and pool serves all layers. Global pages live as long as the context. Local pages
live while the window sees them: a sequence holds a ring of `window_pages`, one more than the
window, so that one can fill while the oldest is still seen. A prefill chunk also holds the pages of
its own tokens until it is through: the plan keeps `transient_pages` for that.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from kernels.common.layout import PAGE, KVPages, empty_pages
from kernels.model.config import HEAD_DIM, ModelConfig
from kernels.model.steps.copies import PageCopies


def kv_dtype(config: ModelConfig) -> torch.dtype:
    """Of the pages."""
    return torch.int8 if config.kv == "int8" else torch.float16


def page_bytes(config: ModelConfig, *, is_global: bool) -> int:
    """Of one page of a pool, all owners of that kind together."""
    element = 1 if config.kv == "int8" else 2
    owners = len(config.owners(is_global=is_global))
    return owners * 2 * config.kv_heads * HEAD_DIM * PAGE * element


def window_pages(config: ModelConfig) -> int:
    """Pages of a sequence's ring in the local pool; 0 where there are no local layers."""
    return 0 if config.window is None else -(-config.window // PAGE) + 1


@dataclass(frozen=True)
class CachePlan:
    """How many pages each pool has."""

    global_pages: int
    """Of the global pool."""
    windows: int
    """Rings of the local pool."""
    window_pages: int
    """Pages of a ring."""
    transient_pages: int
    """Pages of the local pool for chunks that are being prefilled."""

    @property
    def local_pages(self) -> int:
        """Of the local pool."""
        return self.windows * self.window_pages + self.transient_pages


def transient_pages(config: ModelConfig, rows: int, chunks: int) -> int:
    """Local pages that the chunks of one step may hold beside their rings: those of `rows` tokens
    in at most `chunks` pieces, none of them aligned."""
    return 0 if config.window is None else -(-rows // PAGE) + 2 * chunks


def plan_cache(
    config: ModelConfig, free_bytes: int, *, context: int, rows: int, chunks: int
) -> CachePlan:
    """Divides memory between the pools so that both are full with sequences of `context` tokens.

    `rows`, `chunks`: of the largest prefill step. Raises ValueError if not one sequence fits.
    """
    ring, spare = window_pages(config), transient_pages(config, rows, chunks)
    local, whole = page_bytes(config, is_global=False), page_bytes(config, is_global=True)
    left = free_bytes - spare * local
    own = -(-context // PAGE)
    windows = int(left // (ring * local + own * whole)) if ring else 0
    pages = (left - windows * ring * local) // whole if whole else 0
    if left <= 0 or pages < own or (ring and windows < 1):
        raise ValueError(
            f"{config.name}: {free_bytes / 1e9:.1f} GB hold no sequence of {context} tokens"
        )
    return CachePlan(int(pages), windows, ring, spare)


class KVCache:
    """The pools of one model on one device. Page content is undefined at first, but finite."""

    def __init__(
        self, config: ModelConfig, plan: CachePlan, device: torch.device | str = "cpu"
    ) -> None:
        self.config, self.plan = config, plan
        self._pages: dict[int, KVPages] = {}
        self._copies: dict[bool, PageCopies | None] = {}
        for is_global, count in ((True, plan.global_pages), (False, plan.local_pages)):
            for layer in config.owners(is_global=is_global):
                kv = empty_pages(count, config.kv_heads, kv_dtype(config), str(device))
                kv.k.zero_()
                kv.v.zero_()
                self._pages[layer] = kv

    def of(self, layer: int) -> KVPages:
        """The pages that a layer reads (those of its owner)."""
        return self._pages[self.config.kv_owner[layer]]

    def copy_pages(self, pairs: Sequence[tuple[int, int]], *, is_global: bool) -> None:
        """Copy pages, source to target, in all layers of a pool, in the order of the stream; none
        of them writes what another one reads or writes."""
        if is_global not in self._copies:
            layers = self.config.owners(is_global=is_global)
            parts = [part for layer in layers for part in self._pages[layer]]
            self._copies[is_global] = PageCopies(parts) if parts else None
        copies = self._copies[is_global]
        if copies is not None:
            copies.run(pairs)

    def fill_random(self, seed: int = 0) -> None:
        """Random content, for measurements: zeros would be faster than real data."""
        for layer, kv in self._pages.items():
            for part, tensor in enumerate(kv):
                _randomise(tensor, seed + 2 * layer + part)


def _randomise(tensor: torch.Tensor, seed: int) -> None:
    generator = torch.Generator(tensor.device).manual_seed(seed)
    if tensor.dtype == torch.int8:
        tensor.random_(-96, 97, generator=generator)
    else:
        tensor.normal_(0, 1, generator=generator)
