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

OPEN = 1 << 30
"""Gate of a replica (`REPLICA.active`) that takes every message; 0: none; between: a share."""
NEVER = 1 << 61
"""A time that does not come (twice it still fits 64 bits)."""

# A run of KV blocks [start, start + n) of one stream, always touched together, of which the first
# `hbm` are in HBM and the rest in host memory. `ref`: requests that hold it (all in HBM then); idle
# runs (ref == 0) are in their replica's recency list. `more`: another run of the stream may begin
# where this one ends.
NODE = np.dtype(
    [
        ("stream", "i8"),
        ("start", "i4"),
        ("n", "i4"),
        ("hbm", "i4"),
        ("older", "i4"),
        ("newer", "i4"),
        ("ref", "i2"),
        ("more", "i2"),
    ],
    align=True,
)
# A retained local window: the KV of the last window tokens before block `end` of a stream.
# `shared`: copied when resumed from (definition end), else handed over (turn end). `host`: it is in
# host memory.
WINDOW = np.dtype(
    [
        ("stream", "i8"),
        ("end", "i4"),
        ("older", "i4"),
        ("newer", "i4"),
        ("next", "i4"),
        ("shared", "i4"),
        ("host", "i4"),
    ],
    align=True,
)
# One replica's KV memory. Global pool: blocks = free + idle + held by requests. Local pool:
# windows = windows_free + windows_kept + held by requests. What is older than `edge` and
# `window_edge` in the recency lists is in host memory, which has `host` blocks and `host_windows`
# windows. `out_blocks`, `out_windows`: left HBM at this instant and not yet on the link. Totals:
# `evicted` from HBM (into host memory, if there is any), `dropped` from host memory, `loaded` back.
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
        ("edge", "i4"),
        ("window_edge", "i4"),
        ("host", "i4"),
        ("host_free", "i4"),
        ("host_windows", "i4"),
        ("host_windows_free", "i4"),
        ("out_blocks", "i4"),
        ("out_windows", "i4"),
        ("evicted", "i8"),
        ("windows_evicted", "i8"),
        ("dropped", "i8"),
        ("windows_dropped", "i8"),
        ("loaded", "i8"),
        ("windows_loaded", "i8"),
    ],
    align=True,
)
# A link between host memory and the HBM of the replicas that share it: first in, first out in each
# direction. `free`: when all that is queued has passed; `busy`: total time of what was queued.
LINK = np.dtype(
    [("in_free", "i8"), ("out_free", "i8"), ("in_busy", "i8"), ("out_busy", "i8")], align=True
)
# A piece of a path: the first n blocks of a stream, and the node that they begin with.
SEGMENT = np.dtype([("stream", "i8"), ("n", "i4"), ("node", "i4")], align=True)
# A pool of records: unused ones are chained from `spare`, those past `used` were never touched.
POOL = np.dtype(
    [("spare", "i4"), ("used", "i4"), ("live", "i4"), ("peak", "i4"), ("overrun", "i4")],
    align=True,
)

# What the engine knows of a message. `session`: -1 is a shadow, whose answer nobody gets; `todo`:
# prompt tokens still to compute; `chunk`: of these, in the current step; `hit`: cached prompt
# tokens at the last admission, `cached`: at the first, `cached_host` of them in host memory;
# `ready`: when its KV memory holds them and may be written; `named`: leading blocks of its path
# that are in the tree and held; `blocks`: blocks held in all; `tier`: 0 paid, 1 free.
REQUEST = np.dtype(
    [
        ("arrival", "i8"),
        ("admit", "i8"),
        ("number", "i8"),
        ("ready", "i8"),
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
        ("tier", "i4"),
        ("cached_host", "i4"),
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
# `active`: its gate; `group`: its kind; `wipe`: it was given back, its cache is to be forgotten.
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
        ("low", "i4"),
        ("low_tail", "i4"),
        ("pre", "i4"),
        ("pre_tail", "i4"),
        ("inbox", "i4"),
        ("inbox_tail", "i4"),
        ("decoding", "i4"),
        ("fresh", "i4"),
        ("active", "i4"),
        ("shed", "i4"),
        ("group", "i4"),
        ("wipe", "i4"),
        ("pad", "i4"),
        # running totals
        ("busy", "i8"),
        ("steps", "i8"),
        ("arrived", "i8"),
        ("done", "i8"),
        ("tokens", "i8"),
        ("prompt", "i8"),
        ("hit", "i8"),
        ("hit_host", "i8"),
        ("preempted", "i8"),
        ("area", "i8"),
        ("area_at", "i8"),
        ("prefill_rows_ns", "i8"),
        ("turned", "i8"),
        ("generated", "i8"),
        ("todo", "i8"),
        ("decode_ns", "i8"),
        ("decode_steps", "i8"),
        ("bank", "i8"),
        ("bank_ns", "i8"),
        ("bank_steps", "i8"),
    ],
    align=True,
)
# The queue that replicas of a cell pull from, when it is central.
HUB = np.dtype(
    [
        ("wait", "i4"),
        ("wait_tail", "i4"),
        ("low", "i4"),
        ("low_tail", "i4"),
        ("length", "i4"),
        ("central", "i4"),
        ("area", "i8"),
        ("area_at", "i8"),
    ],
    align=True,
)
# Messages that ended: `code` 0 completed, 1 shed.
DONE = np.dtype([("request", "i4"), ("code", "i4"), ("end", "i8")], align=True)

TTFT, TPOT, E2E, QUEUE, ITL, FREE_TTFT = range(6)
"""Rows of the sketch array, of each segment (`ITL`: in the first, of all times)."""
DECODE_FIRST, PREFILL_FIRST, TTFT_AWARE = range(3)
"""Batching policies."""
LINES = ("wait", "wait_tail", "low", "low_tail")
"""Where messages wait: heads and tails of the two lines."""


class Limits(NamedTuple):
    """Fixed numbers of a cell's replicas."""

    replicas: int
    seed: int
    policy: int
    token_budget: int
    max_seqs: int
    """Messages in a batch at most: sequences over candidates."""
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
    segments: int
    """Parts of that time which are tallied apart, so that a later start of it can be chosen."""
    segment_ns: int
    """Length of each (the last may be shorter); 0: there is one."""
    ttft_ns: int
    """Objectives (NEVER: none); time to first token by tier."""
    paid_ttft_ns: int
    tpot_ns: int
    e2e_ns: int
    priority: int
    """Who is admitted first: by arrival (0), the paid tier (1), by deadline (2)."""
    queue_limit: int
    """Messages that may wait at one place (NEVER: any number)."""
    shed_late: int
    candidates: int
    """Sequences that a message decodes as; with several, of each chunk the best is delivered."""
    chunk: int
    """Tokens that are delivered at once: 1, with candidates those of a chunk."""
    extra: int
    """Blocks that a message's other candidates hold."""
    """Turn away who would be late, at the moment of admission."""
    timeout_ns: int = 0
    """How long users wait for a first token (0: for ever)."""
    epoch_ns: int = 1
    link_replicas: int = 1
    """Replicas that share one link to host memory."""
    load_ns: float = 0.0
    """Time on the link of one block into HBM; likewise of a window, and out of HBM."""
    window_load_ns: float = 0.0
    store_ns: float = 0.0
    window_store_ns: float = 0.0


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
    links: Arr


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


# Counts of the measured cohort, by segment of its arrivals; `itl`: in the first, of all times.
# `asked`: prompt tokens of all that arrived, `prompt`: of those whose prompt was computed.
TALLY = np.dtype(
    [
        ("arrived", "i8"),
        ("arrived_free", "i8"),
        ("asked", "i8"),
        ("cut", "i8"),
        ("completed", "i8"),
        ("failed", "i8"),
        ("shed", "i8"),
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
        ("cached_host", "i8"),
        ("tokens", "i8"),
        ("preempted", "i8"),
        ("itl", "i8"),
        ("itl_count", "i8"),
        ("free_completed", "i8"),
        ("free_goodput", "i8"),
        ("free_ttft", "i8"),
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
    )
