"""A message's KV memory from admission to end: what is found, taken, named and given up."""

from kaiju_sim.engine.layout import Arr, Engine
from kaiju_sim.engine.policy.kv import host, prefix, windows


def blocks_of(tokens: int, shift: int) -> int:
    """Blocks that hold this many tokens (at least one token)."""
    return ((tokens - 1) >> shift) + 1


def usable_hit(blocks: int, shift: int, prompt: int) -> int:
    """Prompt tokens that need not be computed: at least one is, to have something to sample."""
    return min(blocks << shift, prompt - 1)


def admit(e: Engine, k: int, q: int, t: int) -> bool:
    """Give message q its KV memory on replica k, reusing what is cached; False if it must wait."""
    v = e.requests[q]
    c = e.caches[k]
    lo = q * e.limits.stride
    hi = lo + e.limits.stride
    got, hbm, idle = prefix.match(e.nodes, e.node_index, k, e.segments, lo, hi)
    blocks = blocks_of(int(v.prompt) + 1, e.limits.shift) + e.limits.extra
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
