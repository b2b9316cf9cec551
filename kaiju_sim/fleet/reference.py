"""The reference data plane: the same epochs as `cell.run_until`, replicas run by the slow loop.

Record arrays are viewed row by row (`fleet.rows`), so that the very functions that are compiled
elsewhere run as plain Python.
"""

from typing import Any

import numpy as np

from kaiju_sim.engine.intake import enqueue, enqueue_centrally, routed_at
from kaiju_sim.engine.layout import World
from kaiju_sim.engine.policy.kv.warmth import forget_released
from kaiju_sim.engine.reference import ReferenceLoop
from kaiju_sim.fleet.cell import end_warming, prepare, reports, route
from kaiju_sim.fleet.messages.outcomes import answered, give_up
from kaiju_sim.fleet.records import Cell
from kaiju_sim.fleet.rows import Rows
from kaiju_sim.fleet.safety_gate import pass_gate


def viewed(value: Any, before: Any = None) -> Any:
    """A tree of NamedTuples with its structured arrays viewed as rows.

    `before`: an earlier view of the same tree, whose rows serve again where arrays are the same.
    """
    if isinstance(value, np.ndarray) and value.dtype.names:
        return before if before is not None and before.array is value else Rows(value)
    if isinstance(value, tuple):
        old = before or [None] * len(value)
        return type(value)(*(viewed(x, y) for x, y in zip(value, old, strict=True)))
    return value


class ReferencePlane:
    """A drop-in for the compiled `run_until`: call it with the cell and the time to reach."""

    def __init__(self) -> None:
        self._loop: ReferenceLoop | None = None
        self._seen: Cell | None = None

    def __call__(self, cell: Cell, until: int) -> int:
        """Epochs up to `until`: what `cell.run_until` returns."""
        seen: Cell = viewed(cell, self._seen)
        loop = self._loop or self.new_loop(seen.world)
        loop.world = seen.world
        self._loop, self._seen = loop, seen
        return run_until(seen, loop, until)

    def new_loop(self, world: World) -> ReferenceLoop:
        """The loop that runs the replicas."""
        return ReferenceLoop(world)


def run_until(cell: Cell, loop: ReferenceLoop, until: int) -> int:
    """Epochs up to `until` (ns), the last one cut there: 0, or what has to grow first."""
    clock = cell.users.clock[0]
    forget_released(cell.world.engine)
    while clock.now < until:
        now = int(clock.now)
        stop = min((now // cell.users.epoch_ns + 1) * cell.users.epoch_ns, until)
        short = prepare(cell, now, stop)
        if short != 0:
            return short
        if not clock.warming:
            if cell.desk[0].crashes != 0:
                lose_crashed(cell, loop, now)
            give_up(cell, now)
            reports(cell, now)
        if cell.world.engine.limits.gated and not clock.warming:
            pass_gate(cell, stop)
        route(cell)
        if clock.warming:
            end_warming(cell)
            continue
        run_units(cell.world, loop, stop)
        answered(cell)
        clock.live_area += clock.live * (stop - now)
        clock.due = -1
        clock.now = stop
    return 0


def lose_crashed(cell: Cell, loop: ReferenceLoop, now: int) -> None:
    """Replicas that die now: what was under way on them is lost."""
    for k in range(cell.world.engine.limits.replicas):
        if cell.world.engine.replicas[k].crashed != 0:
            cell.world.engine.replicas[k].crashed = 0
            loop.crash(k, now)
    cell.desk[0].crashes = 0
    answered(cell)


def run_units(w: World, loop: ReferenceLoop, until: int) -> None:
    """Deliver each unit's inbox and run it to `until`."""
    e = w.engine
    central = bool(e.hub[0].central)
    size = e.limits.replicas if central else e.limits.link_replicas
    for first in range(0, e.limits.replicas, size):
        last = first + size
        q = int(e.replicas[first].inbox)
        e.replicas[first].inbox = -1
        while q >= 0:
            following = int(e.requests[q].next)
            loop.advance_unit(first, last, routed_at(w, q))
            if central:
                enqueue_centrally(w, q)
            else:
                enqueue(w, int(e.requests[q].replica), q)
            q = following
        loop.advance_unit(first, last, until)
