"""The cells of a run added up."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kaiju_sim.engine.layout import Arr

Summary = dict[str, Any]


class Pool:
    """The cells of a run added up: what happened in the measured window and to the cohort."""

    def __init__(self, cells: Sequence[Any]) -> None:
        self.cells = cells
        self.window_ns = cells[0].stop.time_ns - cells[0].start.time_ns
        self.window_s = self.window_ns * 1e-9
        self.exact = all(c.logged_all for c in cells)
        self.log = np.concatenate([c.log for c in cells])

    def during(self, name: str) -> int:
        """A running total of the replicas, over the window."""
        return sum(c.stop.sums[name] - c.start.sums[name] for c in self.cells)

    def moved(self, name: str) -> int:
        """Blocks or windows that changed their tier of memory, over the window."""
        return sum(c.stop.moved[name] - c.start.moved[name] for c in self.cells)

    def change(self, name: str) -> Any:
        """A running total of the cells, over the window."""
        return sum(getattr(c.stop, name) - getattr(c.start, name) for c in self.cells)

    def tally(self, name: str) -> int:
        """A count of the cohort."""
        return sum(c.tally[name] for c in self.cells)

    def sketch(self, row: int) -> Arr:
        """A sketch of the cohort."""
        return np.asarray(sum(c.sketch[row] for c in self.cells))

    def desk(self, name: str) -> int:
        """A count of the router's desk."""
        return sum(c.desk[name] for c in self.cells)

    def ticks(self, name: str) -> Arr:
        """Values of a column of the time series at ticks inside the window."""
        low, high = self.cells[0].start.time_ns * 1e-9, self.cells[0].stop.time_ns * 1e-9
        parts = [t[name] for c in self.cells for t in c.ticks if low < t["time_s"][0] <= high]
        return np.concatenate(parts) if parts else np.zeros(0)


def ratio(part: float, whole: float) -> float | None:
    """part / whole, None of nothing."""
    return float(part) / float(whole) if whole else None
