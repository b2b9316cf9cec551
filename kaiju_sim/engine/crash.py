"""A replica that dies: what is under way on it is lost, with its cache, at once.

Its messages end as failed, in one order for both loops: those that decode by their admission, then
the prefills, then who waits. A dead replica takes messages as long as the router sends any (they
stand in its queue), and computes nothing until it is started again, with an empty cache.
"""

from kaiju_sim.engine.layout import DEAD, NEVER, World
from kaiju_sim.engine.policy.kv.memory import blocks_of
from kaiju_sim.engine.policy.kv.warmth import forget
from kaiju_sim.engine.policy.queues import count_load
from kaiju_sim.engine.policy.withdraw import drop_prefill
from kaiju_sim.engine.record import LOST, hand_over
from kaiju_sim.engine.sequences import part, unchain


def lose(w: World, k: int, q: int, t: int) -> None:
    """Message q, off replica k's lists already, ends as lost at time t."""
    r = w.engine.replicas[k]
    count_load(r, int(r.load), t)
    r.load -= 1
    r.lost += 1 if w.engine.requests[q].session >= 0 else 0
    hand_over(w, q, t, LOST)


def bucket_of_first(w: World, k: int) -> int:
    """The bucket of the ring with the running sequence that was admitted first, at its head or not.

    Scans the ring: a replica dies rarely.
    """
    requests = w.engine.requests
    size = w.engine.limits.ring
    best = -1
    number = NEVER
    for j in range(k * size, (k + 1) * size):
        q = int(w.ring[j])
        while q >= 0:
            if requests[q].number < number:
                number = int(requests[q].number)
                best = j
            q = int(requests[q].next)
    return best


def lose_running(w: World, k: int, t: int) -> None:
    """The sequences that decode on replica k are lost (fast loop: they hang in its ring).

    A bucket is sorted by admission, so the first of all is at the head of its bucket. Between two
    steps a sequence has the block for its next token already, of which `part` knows nothing.
    """
    shift = w.engine.limits.shift
    while w.engine.replicas[k].running > 0:
        j = bucket_of_first(w, k)
        q = int(w.ring[j])
        unchain(w, j, q)
        context = part(w, k, q)
        w.engine.caches[k].free += blocks_of(context, shift) - blocks_of(context - 1, shift)
        lose(w, k, q, t)


def lose_line(w: World, k: int, q: int, t: int) -> None:
    """Message q and all behind it in a line of replica k are lost."""
    while q >= 0:
        following = int(w.engine.requests[q].next)
        lose(w, k, q, t)
        q = following


def lose_rest(w: World, k: int, t: int) -> None:
    """Prefills and waiting messages of replica k are lost."""
    e = w.engine
    r = e.replicas[k]
    q = int(r.pre)
    r.pre = -1
    while q >= 0:
        following = int(e.requests[q].next)
        drop_prefill(e, k, q)
        r.filling -= 1
        lose(w, k, q, t)
        q = following
    waiting, low = int(r.wait), int(r.low)
    r.wait = -1
    r.low = -1
    lose_line(w, k, waiting, t)
    lose_line(w, k, low, t)


def stop(w: World, k: int, t: int) -> None:
    """Replica k computes nothing from now on: its step is broken off, its cache is gone."""
    r = w.engine.replicas[k]
    if r.end < NEVER:
        r.busy -= r.end + r.rest - t
    elif r.end == NEVER and r.ended + r.rest > t:  # busy with what follows a step
        r.busy -= r.ended + r.rest - t
    r.rest = 0
    r.end = DEAD
    r.pending = -1
    r.decoding = 0
    r.blocked = 0
    r.fresh = -1
    forget(w.engine, k)


def crash(w: World, k: int, t: int) -> None:
    """Replica k dies at time t, to which it has been advanced (again, if it is dead: its queue)."""
    lose_running(w, k, t)
    lose_rest(w, k, t)
    stop(w, k, t)
