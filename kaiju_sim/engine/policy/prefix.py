"""The paged prefix cache of the global KV pool: a path-compressed radix tree, exact at block level.

A *stream* is a chain of blocks with one identity (a character's definition at a version, a
dialogue's history since its last truncation, a branch of a trace). A *path* is a list of
(stream, blocks). A *node* is a run of blocks of one stream that were always touched together,
found by (replica, stream, start) in one open-addressing index; no parent or child pointers. A path
is released with its front newest, so the oldest block in the recency list is always a leaf, and
leaf-first eviction is taking from the tail of the list's head.

Two hints save look-ups: a path's segment remembers its first node (set by `match` and `commit`,
good while the path is held), and a node says whether another one may go on where it ends (`more`).

A block can be hit only once its KV has been computed: requests hold unnamed blocks until their
prefill ends, then `commit` names them. Where another request has named the same blocks meanwhile,
its blocks are adopted and one's own are given back.

The specification is a block-by-block cache (tests/engine/blocks.py); every operation is compared.
"""

from kaiju_sim.engine.layout import Arr, Rec
from kaiju_sim.rng import mix


def local_stream(stream: int, k: int) -> int:
    """The stream's identity in replica k's cache (k < 4096)."""
    return int(stream) * 4096 + k


def home(stream: int, start: int, mask: int) -> int:
    """First slot to look at for (stream, start)."""
    low = stream & 0xFFFFFFFF
    high = (stream >> 32) * 0x2545F491 & 0xFFFFFFFF
    return mix(low ^ high ^ (start * 0x1B873593 & 0xFFFFFFFF)) & mask


def find(nodes: Arr, index: Arr, stream: int, start: int) -> int:
    """The node that starts at block `start` of `stream`, or -1."""
    mask = index.size - 1
    j = home(stream, start, mask)
    while True:
        x = int(index[j])
        if x < 0 or (nodes[x].stream == stream and nodes[x].start == start):
            return x
        j = (j + 1) & mask


def index_add(nodes: Arr, index: Arr, x: int) -> None:
    """Enter node x."""
    mask = index.size - 1
    j = home(int(nodes[x].stream), int(nodes[x].start), mask)
    while index[j] >= 0:
        j = (j + 1) & mask
    index[j] = x


def index_remove(nodes: Arr, index: Arr, x: int) -> None:
    """Remove node x and close the gap, so that no tombstones are needed."""
    mask = index.size - 1
    j = home(int(nodes[x].stream), int(nodes[x].start), mask)
    while index[j] != x:
        j = (j + 1) & mask
    i = j
    while True:
        i = (i + 1) & mask
        y = int(index[i])
        if y < 0:
            break
        wanted = home(int(nodes[y].stream), int(nodes[y].start), mask)
        if ((i - wanted) & mask) >= ((i - j) & mask):
            index[j] = y
            j = i
    index[j] = -1


def pool_take(pool: Rec, records: Arr) -> int:
    """An unused record; past the capacity, record 0 and `overrun` is set (checked outside)."""
    pool.live += 1
    pool.peak = max(pool.peak, pool.live)
    x = int(pool.spare)
    if x >= 0:
        pool.spare = records[x].newer
        return x
    x = int(pool.used)
    if x >= records.size:
        pool.overrun = 1
        return 0
    pool.used += 1
    return x


def pool_give(pool: Rec, records: Arr, x: int) -> None:
    """Return a record."""
    records[x].newer = pool.spare
    pool.spare = x
    pool.live -= 1


def new_node(nodes: Arr, index: Arr, pool: Rec, stream: int, start: int, n: int, ref: int) -> int:
    """A node outside the recency list."""
    x = pool_take(pool, nodes)
    v = nodes[x]
    v.stream = stream
    v.start = start
    v.n = n
    v.ref = ref
    v.older = -1
    v.newer = -1
    v.more = 0
    index_add(nodes, index, x)
    return x


def drop_node(nodes: Arr, index: Arr, pool: Rec, x: int) -> None:
    """Forget a node that is in no list."""
    index_remove(nodes, index, x)
    pool_give(pool, nodes, x)


def unlink(c: Rec, nodes: Arr, x: int) -> None:
    """Take a node out of the recency list."""
    v = nodes[x]
    if v.older >= 0:
        nodes[v.older].newer = v.newer
    else:
        c.oldest = v.newer
    if v.newer >= 0:
        nodes[v.newer].older = v.older
    else:
        c.newest = v.older


def link_below(c: Rec, nodes: Arr, x: int, above: int) -> None:
    """Put a node into the recency list just older than `above` (-1: as the newest)."""
    v = nodes[x]
    below = nodes[above].older if above >= 0 else c.newest
    v.newer = above
    v.older = below
    if below >= 0:
        nodes[below].newer = x
    else:
        c.oldest = x
    if above >= 0:
        nodes[above].older = x
    else:
        c.newest = x


def split(c: Rec, nodes: Arr, index: Arr, pool: Rec, x: int, k: int) -> None:
    """Cut a node after its k-th block; the rest becomes a node of its own, next older."""
    v = nodes[x]
    y = new_node(nodes, index, pool, int(v.stream), int(v.start) + k, int(v.n) - k, int(v.ref))
    nodes[y].more = v.more
    v.more = 1
    v.n = k
    if v.ref == 0:
        link_below(c, nodes, y, x)


def evict(c: Rec, nodes: Arr, index: Arr, pool: Rec, k: int) -> None:
    """Drop k idle blocks, oldest first, each run from its tail."""
    c.idle -= k
    c.evicted += k
    while k > 0:
        x = int(c.oldest)
        v = nodes[x]
        m = min(k, int(v.n))
        v.n -= m
        k -= m
        if v.n == 0:
            unlink(c, nodes, x)
            drop_node(nodes, index, pool, x)


def take(c: Rec, nodes: Arr, index: Arr, pool: Rec, k: int) -> None:
    """Allocate k blocks: free ones, then evicted ones. The caller has made sure of room."""
    short = k - int(c.free)
    if short > 0:
        c.free = 0
        evict(c, nodes, index, pool, short)
    else:
        c.free -= k


def match(nodes: Arr, index: Arr, k: int, segments: Arr, lo: int, hi: int) -> tuple[int, int]:
    """Leading blocks of the path segments[lo:hi] in replica k's cache, and the idle ones of these.

    Idle blocks are counted exactly: a run that is matched in part counts in part.
    """
    got = 0
    idle = 0
    for s in range(lo, hi):
        want = int(segments[s].n)
        if want == 0:
            continue
        stream = local_stream(segments[s].stream, k)
        at = 0
        while at < want:
            x = find(nodes, index, stream, at)
            if x < 0:
                break
            if at == 0:
                segments[s].node = x
            m = min(int(nodes[x].n), want - at)
            at += m
            if nodes[x].ref == 0:
                idle += m
            if m < nodes[x].n:
                break
        got += at
        if at < want:
            break
    return got, idle


def hold_run(c: Rec, nodes: Arr, index: Arr, pool: Rec, x: int, most: int) -> int:
    """Hold the leading `most` blocks of node x (split there if it is longer): blocks held."""
    if nodes[x].n > most:
        split(c, nodes, index, pool, x, most)
    v = nodes[x]
    if v.ref == 0:
        unlink(c, nodes, x)
        c.idle -= v.n
    v.ref += 1
    return int(v.n)


def hold(
    c: Rec, nodes: Arr, index: Arr, pool: Rec, k: int, segments: Arr, lo: int, hi: int, got: int
) -> None:
    """Hold the first `got` blocks of a path, all present."""
    for s in range(lo, hi):
        want = min(got, int(segments[s].n))
        got -= want
        if want == 0:
            continue
        stream = local_stream(segments[s].stream, k)
        at = 0
        while at < want:
            x = int(segments[s].node) if at == 0 else find(nodes, index, stream, at)
            at += hold_run(c, nodes, index, pool, x, want - at)


def name_rest(
    c: Rec, nodes: Arr, index: Arr, pool: Rec, segment: Rec, stream: int, held: int, n: int
) -> int:
    """Name blocks [held, n) of a stream whose first `held` one holds: blocks adopted instead."""
    at = 0
    last = -1
    while at < held:
        last = int(segment.node) if at == 0 else find(nodes, index, stream, at)
        at += int(nodes[last].n)
    adopted = 0
    while at < n:
        x = -1
        if last < 0 or nodes[last].more != 0:
            x = find(nodes, index, stream, at)
        if x < 0:
            if last >= 0 and nodes[last].ref == 1:  # held by this request alone: the run goes on
                nodes[last].n += n - at
            else:
                x = new_node(nodes, index, pool, stream, at, n - at, 1)
                if last >= 0:
                    nodes[last].more = 1
                if at == 0:
                    segment.node = x
            return adopted
        if at == 0:
            segment.node = x
        m = hold_run(c, nodes, index, pool, x, n - at)
        adopted += m
        at += m
        last = x
    return adopted


def commit(
    c: Rec, nodes: Arr, index: Arr, pool: Rec, k: int, segments: Arr, lo: int, hi: int, named: int
) -> int:
    """Name the blocks of a path after the first `named`, which are held: returns its length.

    One's own blocks that another request has named meanwhile go back to the free ones.
    """
    before = 0
    for s in range(lo, hi):
        n = int(segments[s].n)
        if before + n > named and n > 0:
            stream = local_stream(segments[s].stream, k)
            held = max(0, named - before)
            c.free += name_rest(c, nodes, index, pool, segments[s], stream, held, n)
        before += n
    return before


def release(
    c: Rec, nodes: Arr, index: Arr, pool: Rec, k: int, segments: Arr, lo: int, hi: int
) -> None:
    """Let go of a path, all of it named and held: front newest.

    Consecutive runs of a stream that fall idle together become one node.
    """
    above = -1
    for s in range(lo, hi):
        n = int(segments[s].n)
        if n == 0:
            continue
        stream = local_stream(segments[s].stream, k)
        at = 0
        run = -1
        while at < n:
            x = int(segments[s].node) if at == 0 else find(nodes, index, stream, at)
            v = nodes[x]
            m = int(v.n)
            at += m
            v.ref -= 1
            if v.ref > 0:
                run = -1
                continue
            c.idle += m
            if run >= 0:
                nodes[run].more = v.more
                drop_node(nodes, index, pool, x)
                nodes[run].n += m
            else:
                link_below(c, nodes, x, above)
                above = x
                run = x
