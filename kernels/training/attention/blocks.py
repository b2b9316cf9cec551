"""Who sees whom, and which tiles of the score matrix that touches.

Two rules, each a few integers a token (`kernels.common.visibility` has makers of both):

- query-centric: query i sees keys start[i] <= j < limit[i]: packed documents, windows, prefixes
  that see themselves both ways, empty slots;
- key-centric, in addition: j <= i < key_limit[j], for trees in depth-first order, where a node must
  not see its siblings.

A tile of scores is left out where nobody sees anything, computed without a mask where everybody
sees everything, and with one in between. The lists of both, for each tile of queries (forward and
their gradient) and for each tile of keys (their gradient), are made on the device, without waiting.
"""

from typing import NamedTuple

import torch

from kernels.common import checks
from kernels.common.layout import PAGE
from kernels.common.visibility import Visibility

FAR = 1 << 30


class Seen(NamedTuple):
    """int32 `[batch, tokens]` each; `key_limit` None where start and limit say it all."""

    start: torch.Tensor
    limit: torch.Tensor
    key_limit: torch.Tensor | None = None

    @classmethod
    def of(cls, seen: Visibility, batch: int, tokens: int) -> "Seen":
        """Of `batch` sequences of `tokens` each, nothing cached. Raises ValueError otherwise."""
        if len(seen.start) != batch * tokens:
            raise ValueError(
                f"seen: is of {len(seen.start)} tokens, must be of {batch} times {tokens}"
            )
        start, limit = (part.view(batch, tokens) for part in (seen.start, seen.limit))
        return cls(start, limit, seen.key_limit)

    def dense(self) -> torch.Tensor:
        """As a mask, bool `[batch, queries, keys]`: for the specification only."""
        at = torch.arange(self.start.shape[1], device=self.start.device)
        mask = (at >= self.start[..., None]) & (at < self.limit[..., None])
        if self.key_limit is None:
            return mask
        query = at[:, None]
        return mask & (at <= query) & (query < self.key_limit[:, None, :])


class Lists(NamedTuple):
    """Of each tile on one side, the tiles on the other: int32 `[batch, tiles, most]` in order, and
    how many of them count, `[batch, tiles]`."""

    whole: torch.Tensor
    whole_count: torch.Tensor
    part: torch.Tensor
    part_count: torch.Tensor


class Blocks(NamedTuple):
    """What the kernels need of a visibility. Every layer with the same one can use it."""

    seen: Seen
    query_tile: int
    key_tile: int
    of_queries: Lists
    of_keys: Lists
    of_pages: Lists
    """Of each tile of queries, pages of 128 keys: what the int8 forward pass goes through."""

    @property
    def share(self) -> torch.Tensor:
        """How much of the score matrix is computed, float32, on the device."""
        lists = self.of_queries
        computed = (lists.whole_count + lists.part_count).sum()
        return computed / (lists.whole_count.numel() * lists.whole.shape[-1])


def make_blocks(seen: Seen, query_tile: int = 128, key_tile: int = 64) -> Blocks:
    """The lists, for tiles of so many queries and keys. Raises ValueError for a bad visibility
    (shapes and types; limits must not exceed the tokens, which is not checked, as it would wait
    for the device), and for key tiles that do not fill a page."""
    if key_tile < 1 or PAGE % key_tile:
        raise ValueError(f"key_tile: is {key_tile}, must divide {PAGE}")
    checks.tensor("start", seen.start, (None, None), torch.int32)
    checks.tensor("limit", seen.limit, seen.start.shape, torch.int32, seen.start.device)
    if seen.key_limit is not None:
        shape = seen.start.shape
        checks.tensor("key_limit", seen.key_limit, shape, torch.int32, seen.start.device)
    some, every = _touched(seen, query_tile, key_tile)
    of_queries = _lists(some, every)
    of_keys = _lists(some.transpose(1, 2), every.transpose(1, 2))
    tiles = PAGE // key_tile
    of_pages = _lists(_paged(some, tiles).any(3), _paged(every, tiles).all(3))
    return Blocks(seen, query_tile, key_tile, of_queries, of_keys, of_pages)


def _paged(touched: torch.Tensor, tiles: int) -> torch.Tensor:
    """`[batch, query tiles, pages, tiles of a page]`; where there is no tile, nothing is seen."""
    room = -touched.shape[2] % tiles
    return torch.nn.functional.pad(touched, (0, room)).unflatten(2, (-1, tiles))


def _tiled(values: torch.Tensor, tile: int, fill: int) -> torch.Tensor:
    """`[batch, tiles, tile]`, the last one filled up."""
    room = -values.shape[1] % tile
    return torch.nn.functional.pad(values, (0, room), value=fill).unflatten(1, (-1, tile))


def _touched(seen: Seen, query_tile: int, key_tile: int) -> tuple[torch.Tensor, torch.Tensor]:
    """bool `[batch, query tiles, key tiles]`: does any query of the tile see some key of the other,
    and does every one see them all? The first may err towards yes."""
    live = seen.start < seen.limit
    low = _tiled(torch.where(live, seen.start, FAR), query_tile, FAR)
    high = _tiled(torch.where(live, seen.limit, 0), query_tile, 0)
    keys = seen.start.shape[1]
    first = torch.arange(0, keys, key_tile, device=low.device)
    last = first + key_tile
    some = (low.amin(2)[..., None] < last) & (high.amax(2)[..., None] > first)
    every = (low.amax(2)[..., None] <= first) & (high.amin(2)[..., None] >= last)
    if seen.key_limit is None:
        return some, every
    query = torch.arange(0, keys, query_tile, device=low.device)[:, None]
    ends = _tiled(seen.key_limit, key_tile, 0)
    some &= (first <= query + query_tile - 1) & (ends.amax(2)[:, None] > query)
    every &= (last - 1 <= query) & (ends.amin(2)[:, None] > query + query_tile - 1)
    return some, every


def _lists(some: torch.Tensor, every: torch.Tensor) -> Lists:
    """Both kinds at once: the steps of a small model are bounded by their launches."""
    chosen = torch.stack((every & some, some & ~every))
    order = (~chosen).to(torch.uint8).argsort(dim=3, stable=True).int().contiguous()
    count = chosen.sum(3, dtype=torch.int32)
    return Lists(order[0], count[0], order[1], count[1])
