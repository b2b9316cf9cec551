"""The paged prefix cache of the global KV pool: a path-compressed radix tree, exact at block level.

A *stream* is a chain of blocks with one identity (a character's definition at a version, a
dialogue's history since its last truncation, a branch of a trace). A *path* is a list of
(stream, blocks). A *node* is a run of blocks of one stream that were always touched together,
found by (replica, stream, start) in one open-addressing index; no parent or child pointers. A path
is released with its front newest, so the oldest block in the recency list is always a leaf, and
leaf-first eviction is taking from the tail of the list's head.

HBM and host memory are one such list, exclusive: what is older than the cursor `edge` is in host
memory, where eviction from HBM moves it; the oldest of all is dropped. So along a path blocks are
held, then idle in HBM, then in host memory. A request that finds blocks in host memory takes blocks
of its own and loads them; when its prompt is computed they take the place of the host copies.

Two hints save look-ups: a path's segment remembers its first node (set by `match` and `commit`,
good while the path is held), and a node says whether another one may go on where it ends (`more`).

A block can be hit only once its KV has been computed: requests hold unnamed blocks until their
prefill ends, then `commit` names them. Where another request has named the same blocks meanwhile,
its blocks are adopted and one's own are given back.

The specification is a block-by-block cache (tests/engine/blocks.py); every operation is compared.
"""

from kaiju_sim.engine.layout import Arr, Rec
from kaiju_sim.engine.policy.kv.index import find, index_add, index_remove, pool_give, pool_take


def local_stream(stream: int, k: int) -> int:
    """The stream's identity in replica k's cache (k < 4096)."""
    return int(stream) * 4096 + k


def new_node(nodes: Arr, index: Arr, pool: Rec, stream: int, start: int, n: int, ref: int) -> int:
    """A node outside the recency list."""
    x = pool_take(pool, nodes)
    v = nodes[x]
    v.stream = stream
    v.start = start
    v.n = n
    v.hbm = n
    v.ref = ref
    v.older = -1
    v.newer = -1
    v.more = 0
    index_add(nodes, index, x)
    return x


def drop_node(nodes: Arr, index: Arr, pool: Rec, x: int) -> None:
    """Forget a node that is in no list."""
    index_remove(nodes, index, x)
    nodes[x].n = 0
    pool_give(pool, nodes, x)


def unlink(c: Rec, nodes: Arr, x: int) -> None:
    """Take a node out of the recency list."""
    v = nodes[x]
    if c.edge == x:
        c.edge = v.newer
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
    if c.edge == above and v.hbm > 0:  # -1: nothing in the list is in HBM
        c.edge = x


def split(c: Rec, nodes: Arr, index: Arr, pool: Rec, x: int, k: int) -> None:
    """Cut a node after its k-th block; the rest becomes a node of its own, next older."""
    v = nodes[x]
    y = new_node(nodes, index, pool, int(v.stream), int(v.start) + k, int(v.n) - k, int(v.ref))
    nodes[y].more = v.more
    nodes[y].hbm = max(0, int(v.hbm) - k)
    v.more = 1
    v.n = k
    v.hbm = min(int(v.hbm), k)
    if v.ref == 0:
        link_below(c, nodes, y, x)


def drop(c: Rec, nodes: Arr, index: Arr, pool: Rec, k: int) -> None:
    """Drop the k oldest idle blocks, each run from its tail."""
    while k > 0:
        x = int(c.oldest)
        v = nodes[x]
        m = min(k, int(v.n))
        v.n -= m
        v.hbm = min(int(v.hbm), int(v.n))
        k -= m
        if v.n == 0:
            unlink(c, nodes, x)
            drop_node(nodes, index, pool, x)


def demote(c: Rec, nodes: Arr, k: int) -> None:
    """Move the k oldest idle blocks of HBM to host memory, each run from its tail."""
    c.host_free -= k
    c.out_blocks += k
    while k > 0:
        v = nodes[c.edge]
        m = min(k, int(v.hbm))
        v.hbm -= m
        k -= m
        if v.hbm == 0:
            c.edge = v.newer


def evict(c: Rec, nodes: Arr, index: Arr, pool: Rec, k: int) -> None:
    """Free k idle blocks of HBM, oldest first: they go to host memory, or are dropped."""
    c.idle -= k
    c.evicted += k
    if c.host == 0:
        drop(c, nodes, index, pool, k)
        return
    demote(c, nodes, k)
    over = -int(c.host_free)
    if over > 0:
        c.host_free = 0
        c.dropped += over
        drop(c, nodes, index, pool, over)


def take(c: Rec, nodes: Arr, index: Arr, pool: Rec, k: int) -> None:
    """Allocate k blocks: free ones, then evicted ones. The caller has made sure of room."""
    short = k - int(c.free)
    if short > 0:
        c.free = 0
        evict(c, nodes, index, pool, short)
    else:
        c.free -= k


def hinted(nodes: Arr, segment: Rec, stream: int) -> int:
    """The first node of a stream if the segment's hint still names it, else -1.

    A hint may be out of date: records that are in no use have no blocks.
    """
    x = int(segment.node)
    if x < 0:
        return -1
    v = nodes[x]
    return x if v.stream == stream and v.start == 0 and v.n > 0 else -1


def match(nodes: Arr, index: Arr, k: int, segments: Arr, lo: int, hi: int) -> tuple[int, int, int]:
    """Leading blocks of the path segments[lo:hi] that replica k has: all, in HBM, idle in HBM.

    Idle blocks are counted exactly: a run that is matched in part counts in part.
    """
    got = 0
    hbm = 0
    idle = 0
    for s in range(lo, hi):
        want = int(segments[s].n)
        if want == 0:
            continue
        stream = local_stream(segments[s].stream, k)
        at = 0
        while at < want:
            x = hinted(nodes, segments[s], stream) if at == 0 else -1
            if x < 0:
                x = find(nodes, index, stream, at)
            if x < 0:
                break
            if at == 0:
                segments[s].node = x
            m = min(int(nodes[x].n), want - at)
            near = min(int(nodes[x].hbm), m)
            at += m
            hbm += near
            if nodes[x].ref == 0:
                idle += near
            if m < nodes[x].n:
                break
        got += at
        if at < want:
            break
    return got, hbm, idle


def hold_run(c: Rec, nodes: Arr, index: Arr, pool: Rec, x: int, most: int) -> int:
    """Hold the leading `most` blocks of node x (split there if it is longer): blocks held.

    Those in host memory are given up for blocks of HBM, which are taken from the free ones.
    """
    if nodes[x].n > most:
        split(c, nodes, index, pool, x, most)
    v = nodes[x]
    if v.ref == 0:
        unlink(c, nodes, x)
        c.idle -= v.hbm
        if v.hbm < v.n:
            far = int(v.n) - int(v.hbm)
            c.host_free += far
            c.free -= far
            v.hbm = v.n
    v.ref += 1
    return int(v.n)


def hold(
    c: Rec, nodes: Arr, index: Arr, pool: Rec, k: int, segments: Arr, lo: int, hi: int, got: int
) -> None:
    """Hold the first `got` blocks of a path, all in HBM."""
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
                nodes[last].hbm = nodes[last].n
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

    One's own blocks that another request has named meanwhile go back to the free ones, but for
    those that take the place of a copy in host memory.
    """
    before = 0
    for s in range(lo, hi):
        n = int(segments[s].n)
        if before + n > named and n > 0:
            stream = local_stream(segments[s].stream, k)
            held = max(0, named - before)
            adopted = name_rest(c, nodes, index, pool, segments[s], stream, held, n)
            c.free += adopted
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
                nodes[run].hbm += m
            else:
                link_below(c, nodes, x, above)
                above = x
                run = x
