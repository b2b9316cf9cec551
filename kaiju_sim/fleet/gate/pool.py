"""Several servers with one queue, first come first served: G/G/c, exactly.

Messages come in order of time and the work of each is known when it comes, so its whole stay is:
it is served by the server that is free first. Nobody overtakes, so times at which messages leave
the line do not decrease, and the line is full if the one `queue_limit` places earlier is still in
it. A message that leaves without a verdict (time-out) while it waits takes no server.
"""

from numpy import int64
from numpy.typing import NDArray

from kaiju_sim.engine.layout import NEVER
from kaiju_sim.fleet.gate.records import Gate


def occupy(free: NDArray[int64], until: int) -> None:
    """The server that is free first works until then (the heap's root is replaced)."""
    n = free.size
    i = 0
    while True:
        child = 2 * i + 1
        if child >= n:
            break
        if child + 1 < n and free[child + 1] < free[child]:
            child += 1
        if free[child] >= until:
            break
        free[i] = free[child]
        i = child
    free[i] = until


def line_full(g: Gate, now: int) -> bool:
    """Whether as many messages wait as may."""
    lined = int(g.state[0].lined)
    if g.queue_limit == NEVER or lined < g.queue_limit:
        return False
    return bool(g.line[lined % g.queue_limit] > now)


def serve(g: Gate, now: int, work_ns: int) -> tuple[int, int, bool]:
    """A message of so much work comes at `now`: its wait, when it leaves, and if with a verdict."""
    state = g.state[0]
    start = max(now, int(g.free[0]))
    patience = now + g.timeout_ns
    if g.queue_limit < NEVER:
        g.line[int(state.lined) % g.queue_limit] = min(start, patience)
    state.lined += 1
    if start >= patience:
        return g.timeout_ns, patience, False
    occupy(g.free, start + work_ns)
    state.busy += work_ns
    return start - now, min(start + work_ns, patience), start + work_ns <= patience
