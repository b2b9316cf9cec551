"""A requantised checkpoint goes live, and characters slip."""

import numpy as np

from kaiju_sim.engine.layout import Arr
from kaiju_sim.fleet.elastic.story import Story
from kaiju_sim.incidents.faults.fault import Fault
from kaiju_sim.incidents.persona import EXACT, slips
from kaiju_sim.scenario.parts.faults import PersonaDrift


class Requantised(Fault[PersonaDrift]):
    """Replicas behind a flag answer with a worse checkpoint until the flag is flipped back."""

    def strike(self) -> Story:
        """The flag is on."""
        s, drop = self.control.plant.scenario, self.part.drop.value
        replicas = self._flagged()
        self.wrong.last = replicas.size
        self.wrong.start_ns = int(self.env.now)
        self.wrong.slips = slips(s.evals.persona, drop, self.part.poor, s.seed)
        self._switch(replicas, drop)
        self.tell(f"{replicas.size} replicas answer with the requantised checkpoint")
        yield self.env.timeout(0)

    def remedy(self) -> str:
        """The flag is off."""
        self.over = True
        replicas = self._flagged()
        self.wrong.stop_ns = int(self.env.now)
        self._switch(replicas, -self.part.drop.value)
        return f"flag flipped back on {replicas.size} replicas"

    def _flagged(self) -> Arr:
        count = self.control.cell.world.engine.replicas.size
        return np.arange(max(1, round(count * self.part.share)))

    def _switch(self, replicas: Arr, drop: float) -> None:
        """Another checkpoint on these: KV of the one before that no message holds is forgotten."""
        drops = self.control.persona_drops
        for replica in replicas.tolist():
            drops[replica] = drops.get(replica, 0.0) + drop
            if drops[replica] < EXACT:
                del drops[replica]
        self.control.cell.world.engine.replicas["wipe"][replicas] = 1
