"""Continuous batching with chunked prefill: which messages are in the next engine step.

`form_batch` is called at the start of each step: prefills under way go on, then the head of the
queue is admitted while the token budget, the batch and KV memory have room, first come first
served. Preemption (the latest admitted goes back to the head of the queue) is decided when a
running sequence needs a block and none is free or idle.
"""

from typing import NamedTuple

from kaiju_sim.engine.layout import Arr, Engine, Rec
from kaiju_sim.engine.policy import host, prefix, windows


class Batch(NamedTuple):
    """The prefill work of a step and whether running sequences decode in it."""

    rows: int
    pairs: int
    near: int
    decodes: int


def prefill_room(policy: int, token_budget: int, running: int) -> int:
    """Tokens of a step that prefill may use: all (prefill first) or what decodes leave."""
    return token_budget if policy == 1 else token_budget - running


def chunk(room: int, todo: int) -> int:
    """Prompt tokens to compute in this step."""
    return min(room, todo)


def wants_more(room: int, running: int, filling: int, max_seqs: int) -> bool:
    """Whether another message may join the batch."""
    return room > 0 and running + filling < max_seqs


def decodes_with(policy: int, rows: int) -> bool:
    """Whether running sequences decode in a step that has this many prefill tokens."""
    return policy == 0 or rows == 0


def victim_before(number: int, other: int) -> bool:
    """Whether the running sequence admitted as `number` is preempted before `other`."""
    return number > other


def blocks_of(tokens: int, shift: int) -> int:
    """Blocks that hold this many tokens (at least one token)."""
    return ((tokens - 1) >> shift) + 1


def pairs_of(start: int, n: int) -> int:
    """Query-key pairs of n tokens after `start` ones: each sees all before it and itself."""
    return n * start + n * (n + 1) // 2


def near_pairs_of(start: int, n: int, window: int) -> int:
    """The same within an attention window (which counts the token itself)."""
    rising = min(n, max(0, window - start))
    return pairs_of(start, rising) + (n - rising) * window


def usable_hit(blocks: int, shift: int, prompt: int) -> int:
    """Prompt tokens that need not be computed: at least one is, to have something to sample."""
    return min(blocks << shift, prompt - 1)


def next_waiting(e: Engine, r: Rec) -> int:
    """The message to admit next: the replica's own queue first, then the central one."""
    return int(r.wait) if r.wait >= 0 else int(e.hub[0].wait)


def may_admit(e: Engine, r: Rec, room: int) -> bool:
    """Whether form_batch would try to admit a message."""
    return (
        r.blocked == 0
        and wants_more(room, int(r.running), int(r.filling), e.limits.max_seqs)
        and next_waiting(e, r) >= 0
    )


def count_load(record: Rec, load: int, t: int) -> None:
    """Integrate the number of messages in a place up to time t, before it changes."""
    record.area += load * (t - int(record.area_at))
    record.area_at = t


def pop_waiting(e: Engine, k: int, q: int, t: int) -> None:
    """Take the head q out of the queue that it stands in, at time t."""
    r = e.replicas[k]
    following = e.requests[q].next
    if r.wait == q:
        r.wait = following
        return
    hub = e.hub[0]
    count_load(hub, int(hub.length), t)
    count_load(r, int(r.load), t)
    hub.wait = following
    hub.length -= 1
    r.load += 1
    r.arrived += 1
    e.requests[q].replica = k


def admit(e: Engine, k: int, q: int, t: int) -> bool:
    """Give message q its KV memory on replica k, reusing what is cached; False if it must wait."""
    v = e.requests[q]
    c = e.caches[k]
    lo = q * e.limits.stride
    hi = lo + e.limits.stride
    got, hbm, idle = prefix.match(e.nodes, e.node_index, k, e.segments, lo, hi)
    blocks = blocks_of(int(v.prompt) + 1, e.limits.shift)
    if blocks - hbm > c.free + c.idle - idle:
        return False
    if e.limits.windows > 0 and c.windows_free + c.windows_kept == 0:
        return False
    usable, window = windows.resume_point(e, k, lo, hi, got)
    pool = e.node_pool[0]
    prefix.hold(c, e.nodes, e.node_index, pool, k, e.segments, lo, hi, hbm)
    prefix.take(c, e.nodes, e.node_index, pool, blocks - hbm)
    loads = windows.own_window(e, c, window)
    v.ready = host.fetch(e, k, t, max(0, usable - hbm), loads)
    v.named = hbm
    v.blocks = blocks
    v.hit = usable_hit(usable, e.limits.shift, int(v.prompt))
    v.todo = v.prompt - v.hit
    v.chunk = 0
    if v.admit < 0:
        v.admit = t
        v.cached = v.hit
        v.cached_host = max(0, int(v.hit) - (hbm << e.limits.shift))
    return True


def start_prefill(e: Engine, k: int, q: int) -> None:
    """Append an admitted message to the prefills under way."""
    r = e.replicas[k]
    v = e.requests[q]
    v.next = -1
    if r.pre >= 0:
        e.requests[r.pre_tail].next = q
    else:
        r.pre = q
    r.pre_tail = q
    r.filling += 1
    r.admitted += 1
    v.number = r.admitted


def add_chunk(e: Engine, q: int, room: int, batch: Batch) -> Batch:
    """The batch with a prefill chunk of message q added."""
    v = e.requests[q]
    n = chunk(room, int(v.todo))
    start = int(v.prompt) - int(v.todo)
    v.chunk = n
    near = near_pairs_of(start, n, e.limits.window)
    return Batch(batch.rows + n, batch.pairs + pairs_of(start, n), batch.near + near, 0)


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
    room = prefill_room(e.limits.policy, e.limits.token_budget, int(r.running))
    batch = Batch(0, 0, 0, 0)
    q = int(r.pre)
    while q >= 0 and batch.rows < room:
        if e.requests[q].ready <= t:
            batch = add_chunk(e, q, room - batch.rows, batch)
        q = int(e.requests[q].next)
    while may_admit(e, r, room - batch.rows):
        q = next_waiting(e, r)
        if not admit(e, k, q, t):
            r.blocked = 1 if r.wait >= 0 else 0
            break
        pop_waiting(e, k, q, t)
        start_prefill(e, k, q)
        if e.requests[q].ready <= t:
            batch = add_chunk(e, q, room - batch.rows, batch)
    decodes = int(r.running) if decodes_with(e.limits.policy, batch.rows) else 0
    return Batch(batch.rows, batch.pairs, batch.near, decodes)


def end_prefill(e: Engine, k: int, q: int) -> None:
    """Message q's prompt is computed: its blocks can be hit now, its windows are retained.

    Blocks that were found twice are free again, so the head of the queue may try once more.
    """
    p = e.limits
    if p.prefix_cache == 0:
        return
    v = e.requests[q]
    c = e.caches[k]
    lo = q * p.stride
    hi = lo + p.stride
    pool = e.node_pool[0]
    named = prefix.commit(c, e.nodes, e.node_index, pool, k, e.segments, lo, hi, int(v.named))
    v.named = named
    e.replicas[k].blocked = 0
    if p.windows == 0 or p.retain == 0:
        return
    head = int(e.segments[lo].n)
    stream = prefix.local_stream(e.segments[lo].stream, k)
    if head > 0 and v.hit < head << p.shift:
        windows.retain_copy(e, c, stream, head, 1)
    if p.retain == 3 or (p.cache_generated == 0 and p.retain == 2):
        s = path_end(e.segments, lo, hi)
        if s > lo:
            end = int(e.segments[s].n)
            windows.retain_copy(e, c, prefix.local_stream(e.segments[s].stream, k), end, 0)


def path_end(segments: Arr, lo: int, hi: int) -> int:
    """The last segment of a path that has blocks (`lo` if none has)."""
    s = hi - 1
    while s > lo and segments[s].n == 0:
        s -= 1
    return s


def leave(e: Engine, k: int, q: int, context: int, held: int) -> None:
    """Message q gives up its KV: `context` tokens so far, `held` blocks.

    Its named blocks become idle, the rest free. With `cache_generated` the blocks that its answer
    has filled are named first (the last token's KV was never computed).
    """
    p = e.limits
    c = e.caches[k]
    if p.prefix_cache == 0:
        c.free += held
        windows.give_up_window(e, c, 0, 0)
        return
    v = e.requests[q]
    lo = q * p.stride
    hi = lo + p.stride
    pool = e.node_pool[0]
    if p.cache_generated:
        e.segments[hi - 1].n += ((context - 1) >> p.shift) - v.named
        v.named = prefix.commit(c, e.nodes, e.node_index, pool, k, e.segments, lo, hi, int(v.named))
    c.free += held - v.named
    s = path_end(e.segments, lo, hi)
    end = int(e.segments[s].n) if p.cache_generated and s > lo else 0
    windows.give_up_window(e, c, prefix.local_stream(e.segments[s].stream, k), end)
    prefix.release(c, e.nodes, e.node_index, pool, k, e.segments, lo, hi)


def requeue(e: Engine, k: int, q: int, made: int) -> None:
    """A preempted message goes back to the head of its replica's queue: what it said is prompt.

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
    v.next = r.wait
    r.wait = q
    if v.next < 0:
        r.wait_tail = q
    r.blocked = 0
    r.preempted += 1
