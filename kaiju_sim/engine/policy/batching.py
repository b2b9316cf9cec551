"""Continuous batching with chunked prefill: which messages are in the next engine step.

`form_batch` is called at the start of each step: prefills under way go on, then the head of the
queue (`queues`) is admitted while the token budget, the batch and KV memory have room. Preemption
(the latest admitted goes back to the head of its line) is decided when a running sequence needs a
block and none is free or idle.
"""

from kaiju_sim.engine.layout import NEVER, Engine, Rec
from kaiju_sim.engine.policy.kv import host
from kaiju_sim.engine.policy.kv.memory import admit
from kaiju_sim.engine.policy.pacing import (
    Batch,
    and_chunk,
    longest_step,
    most_tokens,
    no_work,
    predicted_ns,
    too_late,
)
from kaiju_sim.engine.policy.queues import (
    deadline_of,
    holds_up,
    in_low_line,
    next_waiting,
    pop_waiting,
    shed_waiting,
    stand_first,
)


def prefill_room(policy: int, token_budget: int, decodes: int) -> int:
    """Tokens of a step that prefill may use: all (prefill first) or what decodes leave."""
    return token_budget if policy == 1 else token_budget - decodes


def chunk(room: int, todo: int) -> int:
    """Prompt tokens to compute in this step."""
    return min(room, todo)


def wants_more(room: int, running: int, filling: int, max_seqs: int) -> bool:
    """Whether another message may join the batch."""
    return room > 0 and running + filling < max_seqs


def decodes_with(policy: int, rows: int) -> bool:
    """Whether running sequences decode in a step that has this many prefill tokens."""
    return policy != 1 or rows == 0


def victim_before(number: int, other: int) -> bool:
    """Whether the running sequence admitted as `number` is preempted before `other`."""
    return number > other


def may_admit(e: Engine, r: Rec, room: int) -> bool:
    """Whether form_batch would try to admit a message."""
    return (
        r.blocked == 0
        and wants_more(room, int(r.running), int(r.filling), e.limits.max_seqs)
        and next_waiting(e, r) >= 0
    )


def start_prefill(e: Engine, k: int, q: int, before: int) -> None:
    """Enter an admitted message into the prefills under way, behind `before` (-1: as the first)."""
    r = e.replicas[k]
    v = e.requests[q]
    if before >= 0:
        v.next = e.requests[before].next
        e.requests[before].next = q
    else:
        v.next = r.pre
        r.pre = q
    if v.next < 0:
        r.pre_tail = q
    r.filling += 1
    r.admitted += 1
    r.todo += v.todo
    v.number = r.admitted


def add_chunk(e: Engine, r: Rec, q: int, room: int, batch: Batch) -> Batch:
    """The batch of replica r with a prefill chunk of message q added."""
    v = e.requests[q]
    n = chunk(room, int(v.todo))
    v.chunk = n
    return and_chunk(e, r, batch, int(v.prompt) - int(v.todo), n)


def wake_time(e: Engine, k: int) -> int:
    """When the first of replica k's prefills, all of which wait for a load, can go on; -1: none."""
    q = int(e.replicas[k].pre)
    at = -1
    while q >= 0:
        ready = int(e.requests[q].ready)
        if at < 0 or ready < at:
            at = ready
        q = int(e.requests[q].next)
    return at


def computed(e: Engine, k: int, q: int, previous: int) -> bool:
    """The chunk of prefill q, after `previous` in the list (-1: the first), has been computed.

    Whether that was its last one; it is taken out of the list then.
    """
    r = e.replicas[k]
    v = e.requests[q]
    v.todo -= v.chunk
    if v.chunk == 0 or v.todo > 0:
        v.chunk = 0
        return False
    v.chunk = 0
    if previous < 0:
        r.pre = v.next
    else:
        e.requests[previous].next = v.next
    if v.next < 0:
        r.pre_tail = previous
    r.filling -= 1
    return True


def form_batch(e: Engine, k: int, t: int) -> Batch:
    """Decide the next step of replica k at time t (ns); sets `chunk` of each prefill in it.

    A prefill whose memory is not ready is passed over.
    """
    r = e.replicas[k]
    host.flush(e, k, t)
    rows = int(r.running) * e.limits.candidates
    room = prefill_room(e.limits.policy, e.limits.token_budget, rows)
    batch = no_work()
    if e.limits.policy == 2:
        if r.pre >= 0 or may_admit(e, r, room):
            batch = by_deadline(e, k, t, room, longest_step(e, r, t, room))
    else:
        batch = in_turn(e, k, t, room)
    decodes = rows if decodes_with(e.limits.policy, batch.rows) else 0
    return Batch(batch.rows, batch.pairs, batch.near, batch.peak, batch.near_peak, decodes)


def in_turn(e: Engine, k: int, t: int, room: int) -> Batch:
    """Prefills in the order of their admission, then the queue, up to `room` tokens."""
    r = e.replicas[k]
    batch = no_work()
    q = int(r.pre)
    while q >= 0 and batch.rows < room:
        if e.requests[q].ready <= t:
            batch = add_chunk(e, r, q, room - batch.rows, batch)
        q = int(e.requests[q].next)
    while may_admit(e, r, room - batch.rows):
        q = next_waiting(e, r)
        if sheds(e, r, q, t, batch):
            shed_waiting(e, k, q, t)
            continue
        if not admit(e, k, q, t):
            r.blocked = holds_up(e, r, q)
            break
        pop_waiting(e, k, q, t)
        start_prefill(e, k, q, int(r.pre_tail) if r.pre >= 0 else -1)
        if e.requests[q].ready <= t:
            batch = add_chunk(e, r, q, room - batch.rows, batch)
    return batch


def sheds(e: Engine, r: Rec, q: int, t: int, batch: Batch) -> bool:
    """Whether message q, next to be admitted at t, is turned away since it would be late."""
    return e.limits.shed_late != 0 and too_late(e, r, q, t, batch)


def by_deadline(e: Engine, k: int, t: int, room: int, most_ns: int) -> Batch:
    """Prefills and the queue in order of deadlines, while the step stays within `most_ns`.

    The list of prefills is kept in that order, so that those in the step are its first ones.
    """
    r = e.replicas[k]
    batch = no_work()
    before = -1
    q = int(r.pre)
    closed = False
    while batch.rows < room and one_more(e, r, batch, most_ns):
        if not closed and goes_next(e, r, q, room - batch.rows):
            head = next_waiting(e, r)
            if sheds(e, r, head, t, batch):
                shed_waiting(e, k, head, t)
                continue
            if not admit(e, k, head, t):
                r.blocked = holds_up(e, r, head)
                closed = True
                continue
            pop_waiting(e, k, head, t)
            start_prefill(e, k, head, before)
            q = head
        if q < 0:
            break
        v = e.requests[q]
        if v.ready > t:
            before = q
            q = int(v.next)
            continue
        batch = add_chunk(e, r, q, fitting(e, r, q, room - batch.rows, batch, most_ns), batch)
        if v.chunk < v.todo:
            break
        before = q
        q = int(v.next)
    return batch


def goes_next(e: Engine, r: Rec, q: int, room: int) -> bool:
    """Whether somebody in the queue is due before q, the next prefill under way (-1: none)."""
    if not may_admit(e, r, room):
        return False
    return q < 0 or deadline_of(e, next_waiting(e, r)) < deadline_of(e, q)


def one_more(e: Engine, r: Rec, batch: Batch, most_ns: int) -> bool:
    """Whether one more token of prefill fits a step of `most_ns`."""
    if most_ns == NEVER:
        return True
    return predicted_ns(e, r, and_chunk(e, r, batch, 0, 1)) <= most_ns


def fitting(e: Engine, r: Rec, q: int, room: int, batch: Batch, most_ns: int) -> int:
    """Prompt tokens of message q that a step of `most_ns` has room for."""
    v = e.requests[q]
    n = chunk(room, int(v.todo))
    if most_ns == NEVER:
        return n
    start = int(v.prompt) - int(v.todo)
    return most_tokens(e, r, start, n, batch, most_ns)


def requeue(e: Engine, k: int, q: int, made: int) -> None:
    """A preempted message goes back to the head of its line at the replica: what it said is prompt.

    Its path grows by that only where answers are cached: otherwise the blocks that follow in its
    last stream are not known to be its answer (in a trace they are another row's prompt).
    """
    r = e.replicas[k]
    v = e.requests[q]
    last = (q + 1) * e.limits.stride - 1
    v.prompt += made
    v.preempted += 1
    if e.limits.prefix_cache and e.limits.cache_generated:
        e.segments[last].n += (int(v.prompt) >> e.limits.shift) - v.named
    stand_first(e.requests, r, q, in_low_line(e, q))
    r.blocked = 0
    r.preempted += 1
