"""Copies between host and GPU, and sums between GPUs."""

from collections.abc import Callable

import torch

from calibrate.gpu.stopwatch import Stopwatch

REPEATS = 3
"""Copies of one sample; their median is taken, as a neighbour on the bus hits single ones."""
DIRECTIONS = ("to_device", "to_host")


class TorchLinks:
    """The seam's `LinkBench`.

    `all_reduce(rows)` says how long one sum of `[rows, hidden]` activations takes, in seconds; it
    is the caller's, who knows the other ranks. None on a single GPU.
    """

    def __init__(
        self, device: torch.device, all_reduce: Callable[[int], float] | None = None
    ) -> None:
        self.device, self._reduce = device, all_reduce
        self._size = 0
        self._host = self._there = torch.empty(0, dtype=torch.uint8)

    def copy(self, direction: str, size: int) -> float:
        """Seconds of one copy of `size` bytes, the median of three. Pinned memory of the size is
        kept until another size is asked for: to pin it takes longer than to copy it."""
        if direction not in DIRECTIONS:
            raise ValueError(f"direction: is {direction!r}, must be one of {', '.join(DIRECTIONS)}")
        if size != self._size:
            self.close()
            self._host = torch.empty(size, dtype=torch.uint8, pin_memory=True)
            self._there = torch.empty(size, dtype=torch.uint8, device=self.device)
            self._size = size
        to_device = direction == "to_device"
        target, source = (self._there, self._host) if to_device else (self._host, self._there)
        return sorted(_copy_s(target, source, self.device) for _ in range(REPEATS))[REPEATS // 2]

    def all_reduce(self, rows: int) -> float:
        """As the caller measures it."""
        if self._reduce is None:
            raise ValueError("all_reduce: there is a single GPU")
        return self._reduce(rows)

    def close(self) -> None:
        """Give the device's memory back."""
        self._size = 0
        self._host = self._there = torch.empty(0, dtype=torch.uint8)
        torch.cuda.empty_cache()


def _copy_s(target: torch.Tensor, source: torch.Tensor, device: torch.device) -> float:
    with torch.cuda.device(device):
        watch = Stopwatch()
        watch.start()
        target.copy_(source, non_blocking=True)
        watch.stop()
        return watch.seconds()
