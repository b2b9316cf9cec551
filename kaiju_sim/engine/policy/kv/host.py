"""The link between a replica's HBM and its host memory.

Each direction passes what it is given first in, first out, at a fixed rate; replicas may share one
link. What leaves HBM at an instant is put on the link at the next step's start, which is the same
instant; decoding does not wait for it. An admitted message waits until what it found in host memory
is in HBM, and until what had to leave HBM for it is out: its prefill is passed over until then.
"""

from kaiju_sim.engine.layout import Engine, Rec


def link_of(e: Engine, k: int) -> Rec:
    """Replica k's link."""
    return e.links[k // e.limits.link_replicas]


def copy_out(e: Engine, k: int, t: int) -> int:
    """Put what has left replica k's HBM on the link at time t: when it is in host memory (ns)."""
    p = e.limits
    c = e.caches[k]
    link = link_of(e, k)
    dt = int(c.out_blocks * p.store_ns + c.out_windows * p.window_store_ns + 0.5)
    c.out_blocks = 0
    c.out_windows = 0
    link.out_free = max(int(link.out_free), t) + dt
    link.out_busy += dt
    return int(link.out_free)


def copy_in(e: Engine, k: int, t: int, blocks: int, windows: int) -> int:
    """Put a load into replica k's HBM on the link at time t: when it is there (ns)."""
    p = e.limits
    link = link_of(e, k)
    dt = int(blocks * p.load_ns + windows * p.window_load_ns + 0.5)
    link.in_free = max(int(link.in_free), t) + dt
    link.in_busy += dt
    return int(link.in_free)


def flush(e: Engine, k: int, t: int) -> None:
    """Put what has left replica k's HBM on the link at time t, if anything has."""
    c = e.caches[k]
    if c.out_blocks + c.out_windows > 0:
        copy_out(e, k, t)


def fetch(e: Engine, k: int, t: int, blocks: int, windows: int) -> int:
    """When a message admitted at t can be computed that loads so many blocks and windows (ns)."""
    c = e.caches[k]
    ready = t
    if c.out_blocks + c.out_windows > 0:
        ready = copy_out(e, k, t)
    if blocks + windows > 0:
        ready = max(ready, copy_in(e, k, t, blocks, windows))
        c.loaded += blocks
    return ready


def settle(e: Engine) -> None:
    """Nothing is on the links to host memory, and nothing is about to be."""
    for k in range(e.limits.replicas):
        e.caches[k].out_blocks = 0
        e.caches[k].out_windows = 0
    for i in range(e.links.size):
        link = e.links[i]
        link.in_free = 0
        link.out_free = 0
        link.in_busy = 0
        link.out_busy = 0
