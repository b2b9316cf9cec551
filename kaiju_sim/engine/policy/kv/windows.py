"""The local pool: windows of local-layer KV, held by running sequences or retained for reuse.

A running sequence owns one window, the ring of its last tokens. A prefix can be resumed only at a
point whose window was retained (`WINDOW` records: stream, end block). Windows retained at the end
of a definition are shared: resuming copies them. Those at the end of a turn or of a prompt are
handed over: the dialogue takes its window back. Retained windows give way least recently used
first: to host memory, where there is any, and are dropped from there in the same order. HBM and
host memory are one list, as in `prefix`: what is older than `window_edge` is in host memory.

Points of a stream hang on one chain of the index, by a hash of (replica, stream).
"""

from kaiju_sim.engine.layout import Arr, Engine, Rec
from kaiju_sim.engine.policy.kv.index import home, pool_give, pool_take
from kaiju_sim.engine.policy.kv.prefix import local_stream


def window_unlink(c: Rec, windows: Arr, x: int) -> None:
    """Take a retained window out of the recency list."""
    v = windows[x]
    if c.window_edge == x:
        c.window_edge = v.newer
    if v.older >= 0:
        windows[v.older].newer = v.newer
    else:
        c.window_oldest = v.newer
    if v.newer >= 0:
        windows[v.newer].older = v.older
    else:
        c.window_newest = v.older


def window_link(c: Rec, windows: Arr, x: int) -> None:
    """Put a retained window, which is in HBM, into the recency list as the newest."""
    v = windows[x]
    if c.window_edge < 0:
        c.window_edge = x
    v.newer = -1
    v.older = c.window_newest
    if c.window_newest >= 0:
        windows[c.window_newest].newer = x
    else:
        c.window_oldest = x
    c.window_newest = x


def window_find(windows: Arr, index: Arr, stream: int, most: int) -> int:
    """The retained window of `stream` with the largest end that is at most `most`, or -1."""
    x = int(index[home(stream, 0, index.size - 1)])
    best = -1
    while x >= 0:
        v = windows[x]
        if v.stream == stream and v.end <= most and (best < 0 or v.end > windows[best].end):
            best = x
        x = int(v.next)
    return best


def window_drop(c: Rec, windows: Arr, index: Arr, pool: Rec, x: int) -> None:
    """Forget a retained window; its memory is the caller's, if it is in HBM."""
    window_unlink(c, windows, x)
    if windows[x].host:
        c.host_windows_free += 1
    else:
        c.windows_kept -= 1
    j = home(int(windows[x].stream), 0, index.size - 1)
    y = int(index[j])
    if y == x:
        index[j] = windows[x].next
    else:
        while windows[y].next != x:
            y = int(windows[y].next)
        windows[y].next = windows[x].next
    pool_give(pool, windows, x)


def window_demote(c: Rec, windows: Arr, index: Arr, pool: Rec) -> None:
    """Move the oldest window of HBM to host memory; when that is full its oldest is dropped."""
    v = windows[c.window_edge]
    c.window_edge = v.newer
    v.host = 1
    c.windows_kept -= 1
    c.out_windows += 1
    c.host_windows_free -= 1
    if c.host_windows_free < 0:
        c.windows_dropped += 1
        window_drop(c, windows, index, pool, int(c.window_oldest))


def window_take(c: Rec, windows: Arr, index: Arr, pool: Rec) -> bool:
    """Allocate one window of HBM: a free one, else the least recently used retained one."""
    if c.windows_free > 0:
        c.windows_free -= 1
        return True
    if c.windows_kept == 0:
        return False
    c.windows_evicted += 1
    if c.host_windows > 0:
        window_demote(c, windows, index, pool)
    else:
        window_drop(c, windows, index, pool, int(c.window_oldest))
    return True


def window_refresh(c: Rec, windows: Arr, index: Arr, pool: Rec, stream: int, end: int) -> bool:
    """Whether the point `end` of `stream` is retained in HBM; if so, it becomes the newest.

    A copy in host memory is dropped: the caller has computed it anew.
    """
    x = window_find(windows, index, stream, end)
    if x < 0 or windows[x].end != end:
        return False
    if windows[x].host:
        window_drop(c, windows, index, pool, x)
        return False
    window_unlink(c, windows, x)
    window_link(c, windows, x)
    return True


def window_keep(
    c: Rec, windows: Arr, index: Arr, pool: Rec, stream: int, end: int, shared: int
) -> None:
    """Retain a window that the caller owns as the point `end` of `stream`.

    If that point is retained already, it becomes the newest and the caller's memory is freed.
    """
    if window_refresh(c, windows, index, pool, stream, end):
        c.windows_free += 1
        return
    x = pool_take(pool, windows)
    j = home(stream, 0, index.size - 1)
    v = windows[x]
    v.stream = stream
    v.end = end
    v.shared = shared
    v.host = 0
    v.next = index[j]
    index[j] = x
    c.windows_kept += 1
    window_link(c, windows, x)


def resume_point(e: Engine, k: int, lo: int, hi: int, got: int) -> tuple[int, int]:
    """Where a path can be resumed of whose blocks the first `got` are cached: (blocks, window).

    The window is -1 when there is none to resume from (blocks is 0 then), and when local KV lives
    with the global blocks (blocks is `got` then).
    """
    if e.limits.windows == 0:
        return got, -1
    before = 0
    for s in range(lo, hi):
        before += int(e.segments[s].n)
    s = hi - 1
    while s >= lo:
        n = int(e.segments[s].n)
        before -= n
        here = min(n, got - before)
        if here > 0:
            x = window_find(e.windows, e.window_index, local_stream(e.segments[s].stream, k), here)
            if x >= 0:
                return before + int(e.windows[x].end), x
        s -= 1
    return 0, -1


def own_window(e: Engine, c: Rec, window: int) -> int:
    """Give a request its window: the one it resumes from, handed over or copied, or a new one.

    Returns the windows to load. A shared one in host memory is retained in HBM from now on, where
    there is room for a second window, else not at all.
    """
    if e.limits.windows == 0:
        return 0
    pool = e.window_pool[0]
    if window < 0:
        window_take(c, e.windows, e.window_index, pool)
        return 0
    v = e.windows[window]
    stream, end, shared, host = int(v.stream), int(v.end), int(v.shared), int(v.host)
    if host == 0 and shared == 0:
        window_drop(c, e.windows, e.window_index, pool, window)
        return 0
    if host == 0:
        window_unlink(c, e.windows, window)
        window_link(c, e.windows, window)
        window_take(c, e.windows, e.window_index, pool)
        return 0
    window_drop(c, e.windows, e.window_index, pool, window)
    window_take(c, e.windows, e.window_index, pool)
    if shared and window_take(c, e.windows, e.window_index, pool):
        window_keep(c, e.windows, e.window_index, pool, stream, end, shared)
    c.windows_loaded += 1
    return 1


def retain_copy(e: Engine, c: Rec, stream: int, end: int, shared: int) -> None:
    """Retain a copy of a running sequence's window at a point it has just computed.

    No copy is made, and none dropped for it, where the point is retained already.
    """
    pool = e.window_pool[0]
    if end <= 0 or window_refresh(c, e.windows, e.window_index, pool, stream, end):
        return
    if window_take(c, e.windows, e.window_index, pool):
        window_keep(c, e.windows, e.window_index, pool, stream, end, shared)


def give_up_window(e: Engine, c: Rec, stream: int, end: int) -> None:
    """A sequence leaves: its window is retained at `end` of `stream`, or freed (end 0)."""
    if e.limits.windows == 0:
        return
    if e.limits.retain >= 2 and end > 0:
        pool = e.window_pool[0]
        window_keep(c, e.windows, e.window_index, pool, stream, end, 0)
    else:
        c.windows_free += 1
