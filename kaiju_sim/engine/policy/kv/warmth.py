"""Warm and cold caches: what is put into a cache, or lost from it, outside of any engine step."""

from kaiju_sim.engine.layout import Engine
from kaiju_sim.engine.policy.kv.memory import admit, end_prefill, leave
from kaiju_sim.engine.policy.kv.prefix import drop
from kaiju_sim.engine.policy.kv.windows import window_drop


def remember(e: Engine, k: int, q: int) -> None:
    """Leave request q's prompt in replica k's cache, as if its answer had just ended."""
    if admit(e, k, q, 0):
        end_prefill(e, k, q)
        context = int(e.requests[q].prompt) + 1
        leave(e, k, q, context, int(e.requests[q].blocks))


def forget(e: Engine, k: int) -> None:
    """Replica k has been given back: its cache in both tiers, unused by now, is gone."""
    c = e.caches[k]
    stored = int(c.host) - int(c.host_free)
    drop(c, e.nodes, e.node_index, e.node_pool[0], int(c.idle) + stored)
    c.free += c.idle
    c.idle = 0
    c.host_free = c.host
    c.out_blocks = 0
    c.out_windows = 0
    while c.window_oldest >= 0:
        kept = int(c.windows_kept)
        window_drop(c, e.windows, e.window_index, e.window_pool[0], int(c.window_oldest))
        c.windows_free += kept - int(c.windows_kept)
    e.replicas[k].wipe = 0


def forget_released(e: Engine) -> None:
    """Empty the caches of replicas that were given back since the last call."""
    for k in range(e.limits.replicas):
        if e.replicas[k].wipe != 0:
            forget(e, k)
