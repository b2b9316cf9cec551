"""Pitfalls of physics: 3 KV capacity, 4 time between steps, 7 interpolation, 12 free links."""

from pathlib import Path

import numpy as np
import pytest
from fleet_runs import Tree, columns, constant, scenario_of

from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.simulation import build_plant, simulate
from kaiju_sim.steptime.convert import interpolate_s
from kaiju_sim.steptime.curves import curve_ns, fixed_ns
from kaiju_sim.steptime.profile import Points

LONE: Tree = {
    "run": {"horizon": 40.0},
    "traffic": {
        "kind": "poisson",
        "messages_per_s": 0.5,
        "output_tokens": constant(11),
        "sessions": {"user_tokens": constant(200)},
    },
    "characters": {"count": 1, "definition_tokens": constant(0)},
    "kv": {"prefix_cache": False},
}


@pytest.mark.parametrize("budget", [512, 2048, 8192])
def test_pitfall_3_kv_capacity_is_what_memory_leaves(budget: int) -> None:
    """Weights, activations of the token budget and both pools fill the share of HBM, within one."""
    engine: Tree = {"engine": {"token_budget": budget}}
    plant = build_plant(scenario_of(engine), Path())
    kv = plant.kv
    pools = kv.global_blocks * kv.global_block_bytes + kv.local_windows * kv.window_bytes
    left = kv.kv_bytes - pools
    assert 0 <= left < kv.global_block_bytes + kv.window_bytes
    taken = pools + left + kv.weight_bytes + kv.activation_bytes
    assert taken < 0.9 * plant.gpu.hbm_bytes


def test_pitfall_3_what_runs_at_once_never_exceeds_it() -> None:
    """A replica short of memory holds what its blocks hold, and the rest waits."""
    small: Tree = {
        "run": {"horizon": 20.0},
        "traffic": {"messages_per_s": 60.0, "output_tokens": constant(100)},
        "kv": {"global_blocks": 140, "prefix_cache": False},
    }
    r = columns(simulate(scenario_of(LONE, small)).replicas)
    assert (r["kv_global_used"] <= 140).all()
    assert (r["running"] + r["prefilling"]).max() <= 140 // 4
    assert r["waiting"].max() > 0


def overhead(seconds: float) -> Scenario:
    return scenario_of(LONE, {"steptime": {"kind": "roofline", "host_overhead": seconds}})


def test_pitfall_4_every_step_pays_the_hosts_time() -> None:
    """One millisecond more of host time is one more per step: one to the first token, ten after."""
    bare, usual = (columns(simulate(overhead(t)).requests) for t in (0.0, 0.001))
    free = np.diff(usual["arrival_s"], prepend=-1.0) > 0.5
    free[:-1] &= np.diff(usual["arrival_s"]) > 0.5
    assert free.sum() > 5
    assert (usual["ttft_s"] - bare["ttft_s"])[free] == pytest.approx(0.001, abs=1e-8)
    assert (usual["e2e_s"] - bare["e2e_s"])[free] == pytest.approx(0.011, abs=1e-7)


def test_pitfall_4_the_host_is_not_free_by_default() -> None:
    assert scenario_of().steptime.host_overhead > 0
    assert build_plant(scenario_of(), Path()).step_time.curves.host_ns > 0


def test_pitfall_7_a_linear_kernel_stays_linear_between_its_points() -> None:
    """Measured at powers of two, read in between: no 12 % of a log-log line."""
    x = 2.0 ** np.arange(11)
    points = Points(x=tuple(int(v) for v in x), seconds=tuple(3e-6 + 2e-9 * v for v in x))
    between = np.arange(1.0, 1024.0)
    assert interpolate_s(points, between) == pytest.approx(3e-6 + 2e-9 * between, rel=1e-9)


def test_pitfall_7_every_row_count_has_its_own_time() -> None:
    """Tables by token rows are dense: the step from 64 rows to 65 is not smeared over 64 more."""
    curves = build_plant(scenario_of(), Path()).step_time.curves
    times = [fixed_ns(curves, rows, 1) for rows in range(1, 513)]
    assert len(set(times)) > 128
    assert (np.diff(times) >= 0).all()
    lengths = [int(n) for n in np.linspace(1, 200_000, 50)]
    reads = [curve_ns(curves, 0, n) for n in lengths]
    assert reads == pytest.approx([reads[0] * n for n in lengths], rel=1e-6)


def test_pitfall_12_a_link_takes_its_time() -> None:
    """KV from host memory costs what its bytes cost on the link, and a slower link costs more."""

    def served(rate: float) -> tuple[float, float]:
        tree: Tree = {
            "run": {"horizon": 120.0, "start": "cold"},
            "traffic": {
                "kind": "sessions",
                "messages_per_s": 6.0,
                "sessions": {
                    "live": 60,
                    "turns": {"kind": "geometric", "mean": 20},
                    "think": {"kind": "exponential", "mean": 10},
                    "initial_history": constant(3000),
                },
            },
            "kv": {"global_blocks": 700, "host_memory": 20_000_000_000, "host_bandwidth": rate},
        }
        s = simulate(scenario_of(tree)).summary
        return s["host_memory.loaded_bytes"], s["ttft_s.mean"]

    slow_bytes, slow = served(5e6)
    fast_bytes, fast = served(5e10)
    assert min(slow_bytes, fast_bytes) > 1e7
    assert slow > 1.2 * fast


def test_pitfall_12_new_replicas_need_time_to_come_and_to_load() -> None:
    """Ordered at 10 s, they get their first message 20 s of provisioning and 15 s of loading on."""
    tree: Tree = {
        "run": {"horizon": 60.0},
        "traffic": {"messages_per_s": 8.0},
        "fleet": {
            "replicas": 1,
            "changes": [{"at": 10.0, "action": "add_shards", "count": 1}],
            "provisioning_delay": 20.0,
            "load_delay": 15.0,
        },
        "router": {"policy": "least_loaded"},
    }
    c = columns(simulate(scenario_of(tree)).requests)
    first = c["arrival_s"][c["replica"] == 1].min()
    assert 45.0 <= first < 47.0
