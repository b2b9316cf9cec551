"""The device's own clock: the time between two CUDA events."""

from typing import Any

import torch

CUDA: Any = torch.cuda
"""torch does not say the types of its events and streams."""


class Stopwatch:
    """Times what is queued on the current stream between `start` and `stop`."""

    def __init__(self) -> None:
        self._begin, self._end = (CUDA.Event(enable_timing=True) for _ in range(2))

    def start(self) -> None:
        """Queue the first event."""
        self._begin.record()

    def stop(self) -> None:
        """Queue the second one."""
        self._end.record()

    def seconds(self) -> float:
        """Wait until the second has passed; the time between them."""
        self._end.synchronize()
        return 1e-3 * float(self._begin.elapsed_time(self._end))
