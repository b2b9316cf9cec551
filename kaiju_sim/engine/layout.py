"""The records of the data plane: one record per thing, flat arrays, int32 links (-1: none).

Times are int64 nanoseconds. Two groups of arrays keep policy blind: `Engine` is what policy may
see (requests, caches, replicas, step-time curves), `World` holds besides it what only the
simulated world knows, above all how long each answer will be (`FATE`).
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kaiju_sim.sketch import BINS
from kaiju_sim.steptime.curves import Curves

Rec = Any
"""One record of a structured array (numpy has no static type for its fields)."""
Arr = NDArray[Any]

NEVER = 1 << 61
"""A time that does not come (twice it still fits 64 bits)."""

# A run of KV blocks [start, start + n) of one stream, always touched together. `ref`: requests
# that hold it; idle runs (ref == 0) are in their replica's recency list. `more`: another run of
# the stream may begin where this one ends.
NODE = np.dtype(
    [
        ("stream", "i8"),
        ("start", "i4"),
        ("n", "i4"),
        ("ref", "i4"),
        ("older", "i4"),
        ("newer", "i4"),
        ("more", "i4"),
    ],
    align=True,
)
# A retained local window: the KV of the last window tokens before block `end` of a stream.
# `shared`: copied when resumed from (definition end), else handed over (turn end).
WINDOW = np.dtype(
    [
        ("stream", "i8"),
        ("end", "i4"),
        ("older", "i4"),
        ("newer", "i4"),
        ("next", "i4"),
        ("shared", "i4"),
        ("pad", "i4"),
    ],
    align=True,
)
# One replica's KV memory. Global pool: blocks = free + idle + held by requests. Local pool:
# windows = windows_free + windows_kept + held by requests.
CACHE = np.dtype(
    [
        ("free", "i4"),
        ("idle", "i4"),
        ("oldest", "i4"),
        ("newest", "i4"),
        ("windows_free", "i4"),
        ("windows_kept", "i4"),
        ("window_oldest", "i4"),
        ("window_newest", "i4"),
        ("evicted", "i8"),
        ("windows_evicted", "i8"),
    ],
    align=True,
)
# A piece of a path: the first n blocks of a stream, and the node that they begin with.
SEGMENT = np.dtype([("stream", "i8"), ("n", "i4"), ("node", "i4")], align=True)
# A pool of records: unused ones are chained from `spare`, those past `used` were never touched.
POOL = np.dtype(
    [("spare", "i4"), ("used", "i4"), ("live", "i4"), ("peak", "i4"), ("overrun", "i4")],
    align=True,
)

# What the engine knows of a message. `todo`: prompt tokens still to compute; `chunk`: of these, in
# the current step; `hit`: cached prompt tokens at the last admission, `cached`: at the first;
# `named`: leading blocks of its path that are in the tree and held; `blocks`: blocks held in all.
REQUEST = np.dtype(
    [
        ("arrival", "i8"),
        ("admit", "i8"),
        ("number", "i8"),
        ("session", "i4"),
        ("prompt", "i4"),
        ("todo", "i4"),
        ("chunk", "i4"),
        ("hit", "i4"),
        ("cached", "i4"),
        ("named", "i4"),
        ("blocks", "i4"),
        ("next", "i4"),
        ("preempted", "i4"),
        ("replica", "i4"),
        ("pad", "i4"),
    ],
    align=True,
)
# What only the world knows of a message: its answer's length, what has come of it so far, and its
# neighbours (`sooner`, `later`) among those whose users wait for a first token.
FATE = np.dtype(
    [
        ("first", "i8"),
        ("joined", "i8"),
        ("due", "i8"),
        ("born", "i8"),
        ("out", "i4"),
        ("left", "i4"),
        ("prompt", "i4"),
        ("grows", "i4"),
        ("fresh", "i4"),
        ("failed", "i4"),
        ("sooner", "i4"),
        ("later", "i4"),
    ],
    align=True,
)
REPLICA = np.dtype(
    [
        ("end", "i8"),
        ("begin", "i8"),
        ("pending", "i8"),
        ("step", "i8"),
        ("context", "i8"),
        ("window", "i8"),
        ("admitted", "i8"),
        ("last_decode", "i8"),
        ("fixed", "f8"),
        ("running", "i4"),
        ("filling", "i4"),
        ("growing", "i4"),
        ("load", "i4"),
        ("blocked", "i4"),
        ("wait", "i4"),
        ("wait_tail", "i4"),
        ("pre", "i4"),
        ("pre_tail", "i4"),
        ("inbox", "i4"),
        ("inbox_tail", "i4"),
        ("decoding", "i4"),
        ("fresh", "i4"),
        ("active", "i4"),
        # running totals
        ("busy", "i8"),
        ("steps", "i8"),
        ("arrived", "i8"),
        ("done", "i8"),
        ("tokens", "i8"),
        ("prompt", "i8"),
        ("hit", "i8"),
        ("preempted", "i8"),
        ("area", "i8"),
        ("area_at", "i8"),
        ("prefill_rows_ns", "i8"),
    ],
    align=True,
)
# The queue that replicas of a cell pull from, when it is central.
HUB = np.dtype(
    [
        ("wait", "i4"),
        ("tail", "i4"),
        ("length", "i4"),
        ("central", "i4"),
        ("area", "i8"),
        ("area_at", "i8"),
    ],
    align=True,
)
DONE = np.dtype([("request", "i4"), ("pad", "i4"), ("end", "i8")], align=True)

TTFT, TPOT, E2E, QUEUE, ITL = range(5)
"""Rows of the sketch array."""
DECODE_FIRST, PREFILL_FIRST = range(2)
"""Batching policies."""


class Limits(NamedTuple):
    """Fixed numbers of a cell's replicas."""

    replicas: int
    seed: int
    policy: int
    token_budget: int
    max_seqs: int
    shift: int
    """log2 of the tokens of a KV block."""
    window: int
    """Attention window of the local layers in tokens (0: no local layers)."""
    windows: int
    """Windows of the local pool (0: local KV lives and dies with the global blocks)."""
    retain: int
    """Keep windows nowhere (0), at definition ends (1), turn ends too (2), prompt ends too (3)."""
    prefix_cache: int
    cache_generated: int
    stride: int
    """Path segments per request slot."""
    ring: int
    """Buckets of the ring of coming events (a power of two)."""
    warm_ns: int
    """The measured cohort arrives in [warm_ns, horizon_ns)."""
    horizon_ns: int
    ttft_ns: int
    """Objectives (NEVER: none)."""
    tpot_ns: int
    e2e_ns: int
    timeout_ns: int = 0  # how long users wait for a first token (0: for ever)
    epoch_ns: int = 1


class Engine(NamedTuple):
    """What scheduling policy sees and changes."""

    limits: Limits
    curves: Curves
    replicas: Arr
    requests: Arr
    segments: Arr
    caches: Arr
    nodes: Arr
    node_index: Arr
    node_pool: Arr
    windows: Arr
    window_index: Arr
    window_pool: Arr
    hub: Arr


class World(NamedTuple):
    """The engine and what only the simulated world knows."""

    engine: Engine
    fates: Arr
    ring: Arr
    cross: Arr
    done: Arr
    done_count: Arr
    sketch: Arr
    tally: Arr
    patience: Arr


# Counts of the measured cohort.
TALLY = np.dtype(
    [
        ("completed", "i8"),
        ("failed", "i8"),
        ("cancelled", "i8"),
        ("goodput", "i8"),
        ("ttft", "i8"),
        ("e2e", "i8"),
        ("queue", "i8"),
        ("tpot", "i8"),
        ("with_tpot", "i8"),
        ("prompt", "i8"),
        ("cached", "i8"),
        ("cached_head", "i8"),
        ("tokens", "i8"),
        ("preempted", "i8"),
        ("itl", "i8"),
        ("itl_count", "i8"),
        ("swiped", "i8"),
        ("abandoned", "i8"),
        ("retries", "i8"),
        ("gave_up", "i8"),
    ],
    align=True,
)


def power_of_two(n: int) -> int:
    """The smallest power of two that is at least n (and at least 1)."""
    return 1 << max(0, (n - 1).bit_length())


def make_pool() -> Arr:
    """An empty record pool."""
    pool = np.zeros(1, POOL)
    pool["spare"] = -1
    return pool


def make_caches(replicas: int, blocks: int, windows: int) -> Arr:
    """Caches of `replicas`, all memory free."""
    caches = np.zeros(replicas, CACHE)
    caches["free"] = blocks
    caches["windows_free"] = windows
    for field in ("oldest", "newest", "window_oldest", "window_newest"):
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
    replicas["active"] = 1
    for field in ("wait", "wait_tail", "pre", "pre_tail", "inbox", "inbox_tail", "fresh"):
        replicas[field] = -1
    return replicas


def make_engine(
    limits: Limits, curves: Curves, blocks: int, *, requests: int, nodes: int, central: bool = False
) -> Engine:
    """An empty engine: `blocks` global KV blocks per replica, pools for requests and nodes."""
    hub = np.zeros(1, HUB)
    hub["wait"] = hub["tail"] = -1
    hub["central"] = central
    points = limits.windows * limits.replicas + 1
    return Engine(
        limits=limits,
        curves=curves,
        replicas=make_replicas(limits.replicas),
        requests=np.zeros(requests, REQUEST),
        segments=np.zeros(requests * limits.stride, SEGMENT),
        caches=make_caches(limits.replicas, blocks, limits.windows),
        nodes=np.zeros(nodes, NODE),
        node_index=make_index(nodes),
        node_pool=make_pool(),
        windows=np.zeros(points, WINDOW),
        window_index=make_index(points),
        window_pool=make_pool(),
        hub=hub,
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
        sketch=np.zeros((5, BINS), np.int64),
        tally=np.zeros(1, TALLY),
        patience=np.full(power_of_two(buckets), -1, np.int32),
    )
