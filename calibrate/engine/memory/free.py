"""Pages that are free, and copies between pages: what the pools have in common."""

from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import NamedTuple


class NoPagesError(RuntimeError):
    """A pool has no page left: policy and mirror disagree, or a reserve is too small."""


class Pool(IntEnum):
    """Where a page lies."""

    GLOBAL = 0
    """In HBM: all layers' KV where there are no windows, else the global layers'."""
    LOCAL = 1
    """In HBM: the local layers'."""
    HOST = 2
    """In host memory: what was in a global page."""
    HOST_LOCAL = 3
    """In host memory: what was in a local page."""


class Copy(NamedTuple):
    """A page whose content is to be copied before the next step runs."""

    source: int
    target: int
    of: Pool = Pool.LOCAL
    """The source's pool."""
    to: Pool = Pool.LOCAL
    """The target's."""


class FreePages:
    """Pages of a pool that nobody has."""

    def __init__(self, count: int) -> None:
        self.total = count
        self._pages = list(range(count - 1, -1, -1))

    def __len__(self) -> int:
        return len(self._pages)

    def __iter__(self) -> Iterator[int]:
        return iter(self._pages)

    def take(self) -> int:
        """One of them."""
        if not self._pages:
            raise NoPagesError(f"all {self.total} pages are in use")
        return self._pages.pop()

    def give_back(self, pages: Iterable[int]) -> None:
        """Nobody has these any more."""
        self._pages.extend(pages)
