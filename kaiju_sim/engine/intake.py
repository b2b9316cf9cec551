"""Messages arrive: at a replica's queue or at the central one, within the bound on who may wait."""

from kaiju_sim.engine.layout import NEVER, Rec, World
from kaiju_sim.engine.policy.queues import (
    count_load,
    drop_last,
    full,
    in_low_line,
    stand_last,
    who_goes,
)
from kaiju_sim.engine.record import (
    hand_over,
)


def routed_at(w: World, q: int) -> int:
    """When message q reaches the router: at its arrival, or when it has passed the safety gate."""
    return int(w.passes[q].entered if w.engine.limits.gated else w.engine.requests[q].arrival)


def enqueue(w: World, k: int, q: int) -> None:
    """Message q arrives at replica k (when it is routed, to which k has been advanced)."""
    e = w.engine
    r = e.replicas[k]
    v = e.requests[q]
    t = routed_at(w, q)
    v.replica = k
    r.arrived += 1 if v.session >= 0 else 0
    if full(e, int(r.load) - int(r.running) - int(r.filling)):
        gone = who_goes(e, r, q)
        r.turned += 1 if e.requests[gone].session >= 0 else 0
        hand_over(w, gone, t, 1)
        if gone == q:
            return
        drop_last(e.requests, r)
        count_load(r, int(r.load), t)
        r.load -= 1
    stand_last(e.requests, r, q, in_low_line(e, q))
    if e.limits.priority:
        r.blocked = 0
    count_load(r, int(r.load), t)
    r.load += 1
    if asleep(r, t):
        r.pending = t


def asleep(r: Rec, t: int) -> bool:
    """Whether the replica is idle at time t (and wakes later, if it waits for a load). It is not
    while its engine is busy with what follows a step."""
    if r.end != NEVER or r.ended + r.rest > t:
        return False
    return bool(r.pending < 0 or r.pending > t)


def enqueue_centrally(w: World, q: int) -> None:
    """Message q arrives at the central queue; the first idle replica, if any, will pull it.

    If there is none, one that is idle until a load is done tries.
    """
    e = w.engine
    hub = e.hub[0]
    t = routed_at(w, q)
    if full(e, int(hub.length)):
        gone = who_goes(e, hub, q)
        hand_over(w, gone, t, 1)
        if gone == q:
            return
        drop_last(e.requests, hub)
        count_load(hub, int(hub.length), t)
        hub.length -= 1
    e.requests[q].replica = -1
    stand_last(e.requests, hub, q, in_low_line(e, q))
    count_load(hub, int(hub.length), t)
    hub.length += 1
    asks = -1
    for k in range(e.limits.replicas):
        r = e.replicas[k]
        if r.active > 0 and asleep(r, t) and (asks < 0 or r.pending < 0):
            asks = k
            if r.pending < 0:
                break
    if asks >= 0:
        e.replicas[asks].pending = t
