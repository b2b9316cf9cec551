"""Empty records of the data plane: all memory free, nobody waiting."""

import numpy as np

from kaiju_sim.engine.layout import (
    CACHE,
    DONE,
    FATE,
    HUB,
    LINES,
    LINK,
    NEVER,
    NODE,
    OPEN,
    PASS,
    POOL,
    REPLICA,
    REQUEST,
    SEGMENT,
    TALLY,
    WINDOW,
    Arr,
    Engine,
    World,
)
from kaiju_sim.engine.limits import Limits
from kaiju_sim.sketch import BINS
from kaiju_sim.steptime.curves import Curves


def power_of_two(n: int) -> int:
    """The smallest power of two that is at least n (and at least 1)."""
    return 1 << max(0, (n - 1).bit_length())


def make_pool() -> Arr:
    """An empty record pool."""
    pool = np.zeros(1, POOL)
    pool["spare"] = -1
    return pool


def make_caches(
    replicas: int, blocks: int | Arr, windows: int | Arr, host: int = 0, host_windows: int = 0
) -> Arr:
    """Caches of `replicas`, all memory free."""
    caches = np.zeros(replicas, CACHE)
    caches["free"] = blocks
    caches["windows_free"] = windows
    caches["host"] = caches["host_free"] = host
    caches["host_windows"] = caches["host_windows_free"] = host_windows
    for field in ("oldest", "newest", "window_oldest", "window_newest", "edge", "window_edge"):
        caches[field] = -1
    return caches


def make_index(records: int) -> Arr:
    """An empty index (open addressing or chain heads) for about this many records."""
    return np.full(power_of_two(2 * records), -1, np.int32)


def make_replicas(count: int) -> Arr:
    """Idle, empty replicas."""
    replicas = np.zeros(count, REPLICA)
    replicas["end"] = NEVER
    replicas["pending"] = -1
    replicas["active"] = OPEN
    for field in (*LINES, "pre", "pre_tail", "inbox", "inbox_tail", "fresh", "shed"):
        replicas[field] = -1
    return replicas


def make_engine(
    limits: Limits,
    curves: Curves,
    blocks: int | Arr,
    *,
    requests: int,
    nodes: int,
    windows: Arr | None = None,
    central: bool = False,
    host: tuple[int, int] = (0, 0),
) -> Engine:
    """An empty engine: global KV `blocks` (and `windows`) per replica, pools for the rest.

    `host`: blocks and windows of each replica's host memory.
    """
    hub = np.zeros(1, HUB)
    for field in LINES:
        hub[field] = -1
    hub["central"] = central
    points = (limits.windows + host[1]) * limits.replicas + 1
    return Engine(
        limits=limits,
        curves=curves,
        replicas=make_replicas(limits.replicas),
        requests=np.zeros(requests, REQUEST),
        segments=np.zeros(requests * limits.stride, SEGMENT),
        caches=make_caches(
            limits.replicas, blocks, limits.windows if windows is None else windows, *host
        ),
        nodes=np.zeros(nodes, NODE),
        node_index=make_index(nodes),
        node_pool=make_pool(),
        windows=np.zeros(points, WINDOW),
        window_index=make_index(points),
        window_pool=make_pool(),
        hub=hub,
        links=np.zeros(limits.replicas // limits.link_replicas, LINK),
    )


def make_world(engine: Engine) -> World:
    """A world around an empty engine."""
    limits = engine.limits
    requests = engine.requests.size
    buckets = min(1 << 16, limits.timeout_ns // limits.epoch_ns + 3)
    return World(
        engine=engine,
        fates=np.zeros(requests, FATE),
        ring=np.full(limits.replicas * limits.ring, -1, np.int32),
        cross=np.zeros(limits.replicas << limits.shift, np.int32),
        done=np.zeros(requests, DONE),
        done_count=np.zeros(1, np.int64),
        sketch=np.zeros((limits.segments, 6, BINS), np.int64),
        tally=np.zeros(limits.segments, TALLY),
        patience=np.full(power_of_two(buckets), -1, np.int32),
        passes=np.zeros(requests if limits.gated else 1, PASS),
    )
