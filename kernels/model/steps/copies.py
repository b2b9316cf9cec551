"""Copies of KV pages inside a pool, in all of its layers at once.

A sequence that goes on from a retained window gets a copy of its last page. Layer by layer that is
two launches for K and two for V, 1.3 ms of the host for a model of 40 parts; here it is one launch
that finds the layers' pages by a table of their addresses.
"""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl

BLOCK = 1024
"""Words of four bytes that a program moves."""


@triton.jit
def _copy_pages(parts_ptr, pairs_ptr, words, BLOCK: tl.constexpr):
    """Program (block, pair, part) moves a block of the pair's page. `parts`: addresses, int64;
    `pairs`: int64 `[n, 2]`, source and target."""
    part = tl.load(parts_ptr + tl.program_id(2)).to(tl.pointer_type(tl.int32))
    pair = pairs_ptr + tl.program_id(1) * 2
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    content = tl.load(part + tl.load(pair) * words + at, mask=at < words)
    tl.store(part + tl.load(pair + 1) * words + at, content, mask=at < words)


class PageCopies:
    """The pages of some layers, K and V, that are copied together."""

    def __init__(self, parts: Sequence[torch.Tensor]) -> None:
        """`parts`: `[pages, ..]` each, contiguous, of the same bytes a page, on one device."""
        self.parts = list(parts)
        self._words = parts[0][0].nbytes // 4
        assert all(part.is_contiguous() and part[0].nbytes == 4 * self._words for part in parts)
        addresses = [part.data_ptr() for part in parts]
        self._addresses = torch.tensor(addresses, device=parts[0].device)

    def run(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Copy page `source` to page `target` for each pair, in the order of the stream. None of
        them may write what another one reads or writes."""
        device = self._addresses.device
        if device.type == "cuda":
            self.launch(torch.tensor(pairs).pin_memory().to(device, non_blocking=True))
        else:
            self.reference(pairs)

    def reference(self, pairs: Sequence[tuple[int, int]]) -> None:
        """The same in PyTorch, part by part."""
        source, target = torch.tensor(pairs, device=self._addresses.device).unbind(1)
        for part in self.parts:
            part[target] = part[source]

    def launch(self, pairs: torch.Tensor) -> None:
        """By one launch. `pairs`: int64 `[n, 2]`, on the device."""
        grid = (triton.cdiv(self._words, BLOCK), len(pairs), len(self.parts))
        _copy_pages[grid](self._addresses, pairs, self._words, BLOCK=BLOCK)
