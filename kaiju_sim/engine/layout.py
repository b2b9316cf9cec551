"""The records of the data plane: one record per thing, flat arrays, int32 links (-1: none).

Times are int64 nanoseconds. Two groups of arrays keep policy blind: `Engine` is what policy may
see (requests, caches, replicas, step-time curves), `World` holds besides it what only the
simulated world knows, above all how long each answer will be (`FATE`).
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kaiju_sim.engine.limits import Limits
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
# What the safety gate makes of a message (one record each where there is a gate). `entered`: when
# it has passed and is routed; `score`: the log-odds of its answer's score; `verdict`: 0 passes,
# BLOCKED before the model, WITHHELD after it; `inside`: it is at the gate; `age`: 0 adult, 1 teen;
# `kind`: its class, `answer`: its answer's (-1: nobody judges that): 0 benign, 1 intense,
# 2 violating.
PASS = np.dtype(
    [
        ("entered", "i8"),
        ("score", "f8"),
        ("verdict", "i4"),
        ("inside", "i4"),
        ("age", "i4"),
        ("kind", "i4"),
        ("answer", "i4"),
        ("pad", "i4"),
    ],
    align=True,
)
BLOCKED, WITHHELD = 1, 2
# `begin`, `end`: of the step in flight; `rest`: how long after it the next one may start; `ended`:
# when the step before it ended. `active`: its gate; `group`: its kind; `wipe`: it was given back,
# its cache is to be forgotten.
REPLICA = np.dtype(
    [
        ("end", "i8"),
        ("begin", "i8"),
        ("rest", "i8"),
        ("ended", "i8"),
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
    passes: Arr
    """What the safety gate makes of each message."""


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
        ("blocked_pre", "i8"),
        ("blocked_post", "i8"),
        ("free_blocked", "i8"),
    ],
    align=True,
)
