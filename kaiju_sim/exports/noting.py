"""The reference loop, with a word about every step that it starts: slow, and cuts no epoch."""

from collections.abc import Callable

from kaiju_sim.engine.layout import World
from kaiju_sim.engine.reference import ReferenceLoop
from kaiju_sim.fleet.reference import ReferencePlane

Note = Callable[[int, int], None]
"""Is told the replica and the time (ns) when a step has started."""


class NotingLoop(ReferenceLoop):
    """Tells of each step."""

    note: Note

    def _start(self, k: int, t: int) -> None:
        before = int(self.world.engine.replicas[k].steps)
        super()._start(k, t)
        if int(self.world.engine.replicas[k].steps) > before:
            self.note(k, t)


class NotingPlane(ReferencePlane):
    """The reference data plane; `note` is set before the first epoch."""

    note: Note

    def new_loop(self, world: World) -> ReferenceLoop:
        """A loop that tells."""
        loop = NotingLoop(world)
        loop.note = self.note
        return loop
