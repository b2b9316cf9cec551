"""Replicas die, or the whole fleet restarts."""

from kaiju_sim.fleet.elastic.shards import DRAINING, SERVING, WARMING
from kaiju_sim.fleet.elastic.story import Story
from kaiju_sim.fleet.setup.build import ns
from kaiju_sim.incidents.faults.fault import Fault
from kaiju_sim.scenario.parts.faults import ColdRestart, ReplicaLoss


class LostReplicas(Fault[ReplicaLoss]):
    """Whole shards die; at least one other goes on."""

    lost: tuple[int, ...] = ()

    def strike(self) -> Story:
        """They die now; a little later the router knows."""
        shards = self.control.shards
        alive = shards.lasting()
        self.lost = tuple(alive[: max(0, min(self._count(), len(alive) - 1))])
        shards.crash(list(self.lost), for_good=True)
        replicas = len(self.lost) * shards.size
        self.tell(f"{replicas} of {len(alive) * shards.size} replicas die")
        yield self.env.timeout(ns(self.part.fence))
        if set(self.lost) & shards.condemned:  # else replaced already
            shards.fence(list(self.lost))

    def remedy(self) -> str:
        """Replacements are ordered; they come when the fleet's delays have passed."""
        shards = self.control.shards
        self.over = True  # the alarm's signal says when they are there
        shards.fence([shard for shard in self.lost if shard in shards.of(SERVING)])
        shards.replace(list(self.lost))
        return f"{len(self.lost) * shards.size} replicas ordered in their place"

    def _count(self) -> int:
        """Shards that die."""
        fleet = self.control.shards.fleet
        cell = fleet.replicas // fleet.cells
        replicas = self.part.replicas or cell * (self.part.share or 0.0)
        return max(1, round(replicas / fleet.shard_replicas))


class Restart(Fault[ColdRestart]):
    """All replicas stop, and start again with empty caches."""

    def strike(self) -> Story:
        """Down, and up again by itself."""
        shards = self.control.shards
        up = shards.of(SERVING, WARMING, DRAINING)
        shards.crash(up, for_good=False)
        self.tell(f"{len(up) * shards.size} replicas restart")
        yield self.env.timeout(ns(self.part.down))
        shards.revive(up)
        self.over = True
        self.tell("they compute again, with empty caches")

    def remedy(self) -> str:
        """Nothing but time fills caches."""
        return "nothing to do: caches fill as dialogues speak"
