"""What went between HBM and host memory in the measured window."""

from typing import TYPE_CHECKING, Any

from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.steptime.memory import KvPlan

if TYPE_CHECKING:
    from kaiju_sim.metrics.figures.pool import Pool


def host_memory(s: Scenario, kv: KvPlan, pool: "Pool") -> dict[str, Any]:
    """Bytes and blocks moved, how full host memory and its links were; null where there is none."""
    ranks = s.fleet.tensor_parallel
    block, window = kv.global_block_bytes * ranks, kv.window_bytes * ranks
    loaded = pool.moved("loaded") * block + pool.moved("windows_loaded") * window
    stored = pool.moved("evicted") * block + pool.moved("windows_evicted") * window
    links_ns = pool.window_ns * (s.fleet.most_replicas // s.kv.link_replicas)
    ticks = pool.ticks("kv_host_cached")
    found = {
        "kv_utilisation.host": float(ticks.mean() / max(1, kv.host_blocks)) if ticks.size else None,
        "host_memory.loaded_bytes": loaded,
        "host_memory.stored_bytes": stored,
        "host_memory.loading_fraction": pool.change("loading_ns") / links_ns,
        "host_memory.storing_fraction": pool.change("storing_ns") / links_ns,
        "host_memory.blocks_demoted": pool.moved("evicted"),
        "host_memory.blocks_dropped": pool.moved("dropped"),
    }
    return found if kv.host_blocks else dict.fromkeys(found)
