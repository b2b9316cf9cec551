"""Queues of messages that wait: in which order they are admitted, and who is turned away.

A place where messages wait (a replica, or the cell's central queue) has two lines, linked through
`next`: `wait`, and `low` for the free tier where tiers have priorities. Within a line it is first
come, first served; a preempted message goes back to the head. With one time-to-first-token
objective per tier a line is also in order of deadlines, so that the earliest deadline of all is at
one of the two heads.
"""

from kaiju_sim.engine.layout import Arr, Engine, Rec


def deadline_of(e: Engine, q: int) -> int:
    """When message q's first token is due (ns): its arrival plus its tier's objective."""
    v = e.requests[q]
    return int(v.arrival) + (e.limits.ttft_ns if v.tier else e.limits.paid_ttft_ns)


def in_low_line(e: Engine, q: int) -> bool:
    """Whether message q waits in the free tier's own line."""
    return e.limits.priority != 0 and e.requests[q].tier != 0


def stand_last(requests: Arr, place: Rec, q: int, low: bool) -> None:
    """Message q joins the end of a line."""
    requests[q].next = -1
    if low:
        if place.low >= 0:
            requests[place.low_tail].next = q
        else:
            place.low = q
        place.low_tail = q
        return
    if place.wait >= 0:
        requests[place.wait_tail].next = q
    else:
        place.wait = q
    place.wait_tail = q


def stand_first(requests: Arr, place: Rec, q: int, low: bool) -> None:
    """Message q goes to the head of a line."""
    if low:
        requests[q].next = place.low
        if place.low < 0:
            place.low_tail = q
        place.low = q
        return
    requests[q].next = place.wait
    if place.wait < 0:
        place.wait_tail = q
    place.wait = q


def somebody_waits(place: Rec) -> bool:
    """Whether either line of a place has a message."""
    return bool(place.wait >= 0 or place.low >= 0)


def next_waiting(e: Engine, r: Rec) -> int:
    """The message to admit next, or -1: of each line the replica's own before the central one.

    `paid_first`: the paid line first. `deadline`: the head that is due first, paid in a tie. A
    replica that is being drained takes no more from the central queue.
    """
    own = r.active <= 0
    q = int(r.wait) if r.wait >= 0 or own else int(e.hub[0].wait)
    if e.limits.priority == 0:
        return q
    low = int(r.low) if r.low >= 0 or own else int(e.hub[0].low)
    if q < 0 or low < 0:
        return max(q, low)
    if e.limits.priority == 2 and deadline_of(e, low) < deadline_of(e, q):
        return low
    return q


def step_up(e: Engine, place: Rec, q: int) -> bool:
    """Take q out of a place if it is at the head of one of its lines."""
    if place.wait == q:
        place.wait = e.requests[q].next
        return True
    if place.low == q:
        place.low = e.requests[q].next
        return True
    return False


def count_load(record: Rec, load: int, t: int) -> None:
    """Integrate the number of messages in a place up to time t, before it changes."""
    record.area += load * (t - int(record.area_at))
    record.area_at = t


def pop_waiting(e: Engine, k: int, q: int, t: int) -> None:
    """Take the head q out of the line that it stands in, at time t."""
    r = e.replicas[k]
    if step_up(e, r, q):
        return
    hub = e.hub[0]
    step_up(e, hub, q)
    count_load(hub, int(hub.length), t)
    count_load(r, int(r.load), t)
    hub.length -= 1
    r.load += 1
    r.arrived += 1
    e.requests[q].replica = k


def shed_waiting(e: Engine, k: int, q: int, t: int) -> None:
    """Turn the head q away at time t: the loop finds it in the replica's list of those."""
    r = e.replicas[k]
    pop_waiting(e, k, q, t)
    count_load(r, int(r.load), t)
    r.load -= 1
    r.turned += 1 if e.requests[q].session >= 0 else 0
    e.requests[q].next = r.shed
    r.shed = q


def full(e: Engine, waiting: int) -> bool:
    """Whether no more than these messages may wait at one place."""
    return waiting >= e.limits.queue_limit


def who_goes(e: Engine, place: Rec, q: int) -> int:
    """Who is turned away when q finds a full queue: the last of the free tier for a paid one.

    Else q itself; a preempted message has begun to answer and stays.
    """
    if place.low < 0 or in_low_line(e, q):
        return q
    last = int(place.low_tail)
    return q if e.requests[last].preempted > 0 else last


def drop_last(requests: Arr, place: Rec) -> None:
    """Take the last message out of the free tier's line."""
    q = int(place.low)
    if q == place.low_tail:
        place.low = -1
        return
    while requests[q].next != place.low_tail:
        q = int(requests[q].next)
    requests[q].next = -1
    place.low_tail = q


def holds_up(e: Engine, r: Rec, q: int) -> int:
    """1 if nobody can be admitted before memory is freed, since q, which does not fit, is next.

    Not so where somebody else may come to be next meanwhile: another replica may take q from the
    central queue, and there a message that goes before may arrive.
    """
    own = r.wait == q or r.low == q
    return 1 if own and (e.limits.priority == 0 or e.hub[0].central == 0) else 0
