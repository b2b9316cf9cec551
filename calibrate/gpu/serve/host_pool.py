"""Pages of one kind in host memory, and how they get there and back.

In HBM a page is a row of many tensors, K and V of each layer. In host memory it is one contiguous
piece. So pages are gathered on the device into a staging buffer, row by row as they will lie on the
host, and go over the link in as few copies as their places allow; and back the same way.
"""

from collections.abc import Iterator, Sequence

import torch

from calibrate.engine.memory.free import Copy

STAGING_PAGES = 32
"""Pages that are gathered at once: three buffers of so many pages of each kind lie in HBM."""
COPY_BYTES = 1 << 21
"""One copy over the link is no longer, unless a page is: the integers of a step and its tokens come
the same way, and wait for the copy that is under way."""
PIECE_BYTES = 1 << 28
"""Pinned memory is taken in pieces of this size: what is taken at once is rounded up to a power of
two."""


def words_of(part: torch.Tensor) -> torch.Tensor:
    """Pages of one tensor as rows of int64, `[pages, words]`, in place."""
    return part.view(part.shape[0], -1).view(torch.int64)


def numbers(values: Sequence[int], device: torch.device) -> torch.Tensor:
    """Numbers on the device; the host does not wait for it."""
    tensor = torch.tensor(values)
    return tensor if device.type != "cuda" else tensor.pin_memory().to(device, non_blocking=True)


def pinned_bytes(page_bytes: int, pages: int) -> int:
    """Host memory that a pool of so many pages takes, rounded up as it is taken."""
    per_piece = max(1, PIECE_BYTES // page_bytes)
    whole, rest = divmod(pages, per_piece)
    return whole * _rounded(per_piece * page_bytes) + _rounded(rest * page_bytes)


def _rounded(size: int) -> int:
    return 1 << (size - 1).bit_length() if size else 0


class HostPool:
    """Host memory for pages of some layers."""

    def __init__(self, parts: Sequence[torch.Tensor], pages: int) -> None:
        """`parts`: K and V of the layers, `[device pages, ...]` each, on one device."""
        self._parts = [words_of(part) for part in parts]
        self.width = sum(part.shape[1] for part in self._parts)
        self.device, self.device_pages, self.pages = parts[0].device, parts[0].shape[0], pages
        self._per_piece = max(1, PIECE_BYTES // (8 * self.width))
        self._per_copy = max(1, COPY_BYTES // (8 * self.width))
        pinned = self.device.type == "cuda"
        self._pieces = [
            torch.empty(
                (min(self._per_piece, pages - at), self.width), dtype=torch.int64, pin_memory=pinned
            )
            for at in range(0, pages, self._per_piece)
        ]
        self._outgoing = [self._staging(), self._staging()]
        self._incoming = self._staging()

    def gather(self, turn: int, copies: Sequence[Copy]) -> None:
        """Bring the sources of these copies to host memory into one of the two staging buffers; no
        more than `STAGING_PAGES`."""
        sources = numbers([copy.source for copy in _by_target(copies)], self.device)
        for columns, part in self._columns():
            self._outgoing[turn][: len(copies), columns] = part.index_select(0, sources)

    def send(self, turn: int, copies: Sequence[Copy]) -> None:
        """From there to their places in host memory."""
        targets = [copy.target for copy in _by_target(copies)]
        for rows, place in self._runs(targets):
            place.copy_(self._outgoing[turn][rows], non_blocking=True)

    def load(self, copies: Sequence[Copy]) -> None:
        """Bring pages of host memory into HBM. What is wanted twice comes once."""
        ordered = sorted(copies)
        for at in range(0, len(ordered), STAGING_PAGES):
            self._load(ordered[at : at + STAGING_PAGES])

    def _load(self, copies: Sequence[Copy]) -> None:
        """Of copies in the order of their sources."""
        places = {page: row for row, page in enumerate(dict.fromkeys(c.source for c in copies))}
        for rows, place in self._runs(list(places)):
            self._incoming[rows].copy_(place, non_blocking=True)
        targets = numbers([copy.target for copy in copies], self.device)
        wanted = numbers([places[copy.source] for copy in copies], self.device)
        for columns, part in self._columns():
            part.index_copy_(0, targets, self._incoming[:, columns].index_select(0, wanted))

    def _runs(self, pages: Sequence[int]) -> Iterator[tuple[slice, torch.Tensor]]:
        """Pages in ascending order, as pieces of host memory that lie together: which of them, and
        where."""
        at = 0
        while at < len(pages):
            piece, row = divmod(pages[at], self._per_piece)
            most = min(self._per_copy, self._per_piece - row, len(pages) - at)
            count = next((i for i in range(1, most) if pages[at + i] != pages[at] + i), most)
            yield slice(at, at + count), self._pieces[piece][row : row + count]
            at += count

    def _columns(self) -> Iterator[tuple[slice, torch.Tensor]]:
        """Where each part lies in a row."""
        at = 0
        for part in self._parts:
            yield slice(at, at + part.shape[1]), part
            at += part.shape[1]

    def _staging(self) -> torch.Tensor:
        return torch.empty((STAGING_PAGES, self.width), dtype=torch.int64, device=self.device)


def _by_target(copies: Sequence[Copy]) -> list[Copy]:
    return sorted(copies, key=lambda copy: copy.target)
