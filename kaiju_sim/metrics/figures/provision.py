"""What is paid for: replicas from their order to their release, over the measured window."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from kaiju_sim.fleet.setup.build import Plant


class Provision:
    """Replica time that was paid for in the window, by group.

    Everything is a whole number of nanoseconds, so a fleet that does not change comes out exactly
    as its number of replicas.
    """

    def __init__(self, plant: "Plant", cells: Sequence[Any]) -> None:
        self.plant = plant
        self.start_ns: int = cells[0].start.time_ns
        self.stop_ns: int = cells[0].stop.time_ns
        self.window_ns: int = self.stop_ns - self.start_ns
        size = plant.scenario.fleet.shard_replicas
        group = plant.group_of()
        self.replica_ns: list[int] = [0] * len(plant.groups)
        self.spans: list[tuple[int, int]] = []
        for cell in cells:
            for row in cell.billed:
                span = self._inside(row.start_ns, row.stop_ns)
                self.spans.append(span)
                self.replica_ns[group[row.shard * size]] += size * (span[1] - span[0])

    def _inside(self, start: int, stop: int) -> tuple[int, int]:
        """The part of [start, stop) in the window; stop is -1 for what was never given back."""
        stop = self.stop_ns if stop < 0 else min(stop, self.stop_ns)
        start = max(start, self.start_ns)
        return start, max(start, stop)

    def mean_replicas(self) -> float:
        """Replicas paid for, mean over the window."""
        return sum(self.replica_ns) / self.window_ns

    def most_replicas(self) -> int:
        """Replicas paid for at once, at most."""
        real = [span for span in self.spans if span[1] > span[0]]
        ends = sorted([(start, 1) for start, _ in real] + [(stop, -1) for _, stop in real])
        shards = np.array([sign for _, sign in ends]).cumsum().max(initial=0)
        return int(shards) * self.plant.scenario.fleet.shard_replicas

    def mean_gpus(self) -> float:
        """GPUs paid for, mean over the window."""
        pairs = zip(self.plant.groups, self.replica_ns, strict=True)
        return sum(ns / self.window_ns * group.tensor_parallel for group, ns in pairs)

    def gpu_hours(self) -> float:
        """GPU hours paid for in the window."""
        return self.mean_gpus() * self.window_ns / 3.6e12

    def usd_per_hour(self) -> float:
        """The bill, mean over the window."""
        return sum(
            group.usd_per_hour * (ns / self.window_ns) * group.tensor_parallel
            for group, ns in zip(self.plant.groups, self.replica_ns, strict=True)
        )
