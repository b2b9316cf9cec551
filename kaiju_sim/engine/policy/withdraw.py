"""A message whose user has given it up is taken off the engine before its first token.

Wherever it stands (central queue, a replica's queue, prefills under way), it is gone at once, and
so is its memory. A step in flight that computes a chunk of it goes on to its end; nobody reads the
chunk's result. What of the prompt has been computed is lost: it had no names yet.
"""

from kaiju_sim.engine.layout import Arr, Engine, Rec
from kaiju_sim.engine.policy.kv import prefix, windows
from kaiju_sim.engine.policy.queues import count_load, in_low_line


def without(requests: Arr, head: int, tail: int, q: int) -> tuple[int, int]:
    """Head and tail of a line, linked through `next`, after q has left it (oldest found first)."""
    following = int(requests[q].next)
    if head == q:
        return following, tail
    at = head
    while requests[at].next != q:
        at = int(requests[at].next)
    requests[at].next = following
    return head, (at if tail == q else tail)


def leave_line(e: Engine, place: Rec, q: int) -> None:
    """Message q leaves the line of a place in which it waits."""
    if in_low_line(e, q):
        place.low, place.low_tail = without(e.requests, int(place.low), int(place.low_tail), q)
    else:
        place.wait, place.wait_tail = without(e.requests, int(place.wait), int(place.wait_tail), q)


def withdraw(e: Engine, q: int, t: int) -> None:
    """Take message q off the engine at time t; its first token is not out."""
    v = e.requests[q]
    k = int(v.replica)
    if k < 0:
        hub = e.hub[0]
        count_load(hub, int(hub.length), t)
        hub.length -= 1
        leave_line(e, hub, q)
        return
    r = e.replicas[k]
    count_load(r, int(r.load), t)
    r.load -= 1
    r.blocked = 0
    if v.admit < 0:
        leave_line(e, r, q)
        return
    r.pre, r.pre_tail = without(e.requests, int(r.pre), int(r.pre_tail), q)
    r.filling -= 1
    drop_prefill(e, k, q)


def drop_prefill(e: Engine, k: int, q: int) -> None:
    """Message q gives up the KV memory of a prompt that is not computed to its end.

    Blocks that it had found become idle again, the rest free; its window is no point of any
    stream, so it is freed (if it was handed over by its dialogue, that point is gone).
    """
    v = e.requests[q]
    c = e.caches[k]
    windows.give_up_window(e, c, 0, 0)
    c.free += v.blocks - v.named
    if e.limits.prefix_cache == 0:
        return
    lo = q * e.limits.stride
    hi = lo + e.limits.stride
    left = int(v.named)
    for s in range(lo, hi):
        n = min(left, int(e.segments[s].n))
        e.segments[s].n = n
        left -= n
    prefix.release(c, e.nodes, e.node_index, e.node_pool[0], k, e.segments, lo, hi)
