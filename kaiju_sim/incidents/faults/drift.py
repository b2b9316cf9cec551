"""The int8 scales of one shard's KV drift away from its values."""

import math

from kaiju_sim.fleet.elastic.shards import OFF, SERVING
from kaiju_sim.fleet.elastic.story import Story
from kaiju_sim.fleet.setup.build import ns
from kaiju_sim.incidents.drift import output_error
from kaiju_sim.incidents.faults.fault import Fault
from kaiju_sim.scenario.parts.faults import ScaleDrift

STEP_S = 10.0
"""The factor is brought up to date this often."""


class Drift(Fault[ScaleDrift]):
    """The values grow beside scales that stay; above the tolerance, answers are wrong."""

    done = 0
    """Answers of the shard when they began to be wrong."""

    def strike(self) -> Story:
        """The factor grows until the shard is drained."""
        self.tell(f"int8 scales of shard {self.part.shard} begin to drift")
        start = int(self.env.now)
        while not self.over:
            minutes = (int(self.env.now) - start) / 60e9
            factor = math.exp(self.part.per_minute * minutes)
            self.control.scale_factors[self.part.shard] = factor
            if self.wrong.start_ns is None and output_error(factor) > self.part.tolerance:
                self._begin(factor)
            self._count()
            yield self.env.timeout(ns(STEP_S))

    def remedy(self) -> str:
        """The shard is drained, its cache forgotten, its scales calibrated anew."""
        shards = self.control.shards
        shards.remove([self.part.shard])
        self.env.process(self._reload())
        return f"shard {self.part.shard} is drained, to be calibrated anew"

    def _begin(self, factor: float) -> None:
        """From now on answers of the shard are wrong."""
        self.done = self._answers()
        self.wrong.first = self.part.shard * self.control.shards.size
        self.wrong.last = self.wrong.first + self.control.shards.size
        self.wrong.start_ns = int(self.env.now)
        error = output_error(factor)
        self.tell(f"attention is wrong by {error:.2g} of its size at a scale error of {factor:.2f}")

    def _reload(self) -> Story:
        """When the shard is empty, another one is ordered in its place."""
        shards, shard = self.control.shards, self.part.shard
        epoch = shards.epoch_ns
        while shards.states[shard] not in (OFF, SERVING):
            yield self.env.timeout(epoch - int(self.env.now) % epoch)
        if shards.states[shard] == OFF:  # else it was the last one, and serves on
            self._end()
            shards.add(1, self.part.warm)

    def _end(self) -> None:
        """Nobody is answered by it any more."""
        self.over = True
        self.control.scale_factors.pop(self.part.shard, None)
        self._count()
        self.wrong.stop_ns = int(self.env.now)

    def _count(self) -> None:
        if self.wrong.start_ns is not None:
            self.wrong.answers = self._answers() - self.done

    def _answers(self) -> int:
        """Messages that the shard has ever answered."""
        done = self.control.cell.world.engine.replicas["done"]
        size = self.control.shards.size
        return int(done[self.part.shard * size : (self.part.shard + 1) * size].sum())
