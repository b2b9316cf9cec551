"""Running sequences of the fast loop: when each ends, and what leaves with it.

A sequence waits in a ring of buckets by decode step for its next event: its last token, or the step
at which its context fills the local window. Blocks are counted by the residue of the step at which
a sequence crosses into a new one, so growth costs the same for any block size.
"""

from kaiju_sim.engine.layout import World
from kaiju_sim.engine.policy.batching import requeue, victim_before
from kaiju_sim.engine.policy.kv.memory import blocks_of, leave


def window_full_at(w: World, q: int) -> int:
    """The decode step after which sequence q's context fills the local window."""
    fate = w.fates[q]
    return int(fate.born) + w.engine.limits.window - int(w.engine.requests[q].prompt) - 1


def made_of(w: World, k: int, q: int) -> int:
    """Tokens of running message q's answer so far, those of the chunk in hand included."""
    fate = w.fates[q]
    return int(fate.out) - int(fate.due) + int(w.engine.replicas[k].step)


def chunk_ends_at(w: World, k: int, q: int) -> int:
    """The decode step after which the chunk in hand is complete."""
    chunk = w.engine.limits.chunk
    made = made_of(w, k, q)
    return int(w.engine.replicas[k].step) + chunk - made % chunk


def schedule(w: World, k: int, q: int) -> None:
    """Put q into the bucket of its next event, sorted by admission number."""
    p = w.engine.limits
    requests = w.engine.requests
    fate = w.fates[q]
    event = int(fate.due)
    if fate.grows:
        event = min(event, window_full_at(w, q))
    if p.candidates > 1:
        event = min(event, chunk_ends_at(w, k, q))
    latest = int(w.engine.replicas[k].step) + p.ring - 1
    j = k * p.ring + (min(event, latest) & (p.ring - 1))
    at = int(w.ring[j])
    previous = -1
    while at >= 0 and requests[at].number < requests[q].number:
        previous = at
        at = int(requests[at].next)
    requests[q].next = at
    if previous >= 0:
        requests[previous].next = q
    else:
        w.ring[j] = q


def join(w: World, k: int, q: int, t: int) -> None:
    """A sequence whose first token is out starts to decode."""
    p = w.engine.limits
    r = w.engine.replicas[k]
    fate = w.fates[q]
    prompt = int(w.engine.requests[q].prompt)
    context = prompt + 1
    fate.due = r.step + fate.left
    fate.born = r.step
    if p.candidates == 1:
        fate.joined = t
    fate.grows = 1 if context < p.window else 0
    r.running += 1
    r.context += p.candidates * context
    r.window += p.candidates * min(context, p.window)
    r.growing += fate.grows
    if p.policy == 1 and p.candidates == 1:
        fate.fresh = r.fresh
        r.fresh = q
    w.cross[(k << p.shift) + ((int(r.step) - prompt) & ((1 << p.shift) - 1))] += 1
    schedule(w, k, q)


def part(w: World, k: int, q: int) -> int:
    """A running sequence leaves the batch and gives up its KV: returns its context."""
    p = w.engine.limits
    r = w.engine.replicas[k]
    fate = w.fates[q]
    prompt = int(w.engine.requests[q].prompt)
    context = prompt + 1 + int(r.step) - int(fate.born)
    r.running -= 1
    r.context -= p.candidates * context
    r.window -= p.candidates * min(context, p.window)
    r.growing -= fate.grows
    fate.grows = 0
    w.cross[(k << p.shift) + ((int(fate.born) - prompt) & ((1 << p.shift) - 1))] -= 1
    leave(w.engine, k, q, context, blocks_of(context - 1, p.shift) + p.extra)
    return context


def preempt(w: World, k: int, t: int) -> None:
    """The running sequence that policy names goes back to the queue (rare: scans the ring)."""
    p = w.engine.limits
    requests = w.engine.requests
    where = k * p.ring
    victim = int(w.ring[where])
    for j in range(k * p.ring, (k + 1) * p.ring):
        q = int(w.ring[j])
        while q >= 0:
            if victim < 0 or victim_before(int(requests[q].number), int(requests[victim].number)):
                victim = q
                where = j
            q = int(requests[q].next)
    unchain(w, where, victim)
    context = part(w, k, victim)
    made = context - int(requests[victim].prompt)
    w.fates[victim].left -= made - 1
    if p.candidates == 1:
        w.fates[victim].joined = t
    requeue(w.engine, k, victim, made)


def unchain(w: World, j: int, q: int) -> None:
    """Take q out of bucket j of the ring."""
    requests = w.engine.requests
    following = requests[q].next
    if w.ring[j] == q:
        w.ring[j] = following
        return
    at = int(w.ring[j])
    while requests[at].next != q:
        at = int(requests[at].next)
    requests[at].next = following
