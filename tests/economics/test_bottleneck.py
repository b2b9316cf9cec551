"""What limits a fleet: scenarios built to have each limit, and the rule's order."""

from typing import Any

import pytest
from fleet_runs import Tree, constant, scenario_of

from kaiju_sim.economics.bottleneck import ROUTER, TTFT, Pressures, bottleneck
from kaiju_sim.economics.plan.planner import DECODE, KV, PREFILL
from kaiju_sim.simulation import simulate

TWO: Tree = {
    "run": {"warm_up": 20.0, "horizon": 80.0, "drain": 100.0},
    "fleet": {"replicas": 2},
    "router": {"policy": "least_loaded"},
    "characters": {"count": 50, "definition_tokens": constant(100)},
}


def traffic(per_s: float, prompt: int, output: int) -> Tree:
    return {
        "traffic": {
            "messages_per_s": per_s,
            "sessions": {"user_tokens": constant(prompt)},
            "output_tokens": constant(output),
        }
    }


NO_CACHE: Tree = {"kv": {"prefix_cache": False}}
SMALL_MEMORY: Tree = {"kv": {"global_blocks": 1500, "local_windows": 400}}
ONE_HOT: Tree = {
    "fleet": {"replicas": 8},
    "characters": {"zipf": 2.5},
    "router": {"policy": "affinity", "max_copies": 1, "bound": 8.0, "min_load": 10_000},
}
BUILT: dict[str, tuple[str, tuple[Tree, ...]]] = {
    "long prompts, short answers": (PREFILL, (traffic(14, 5000, 8), NO_CACHE)),
    "short prompts, long answers": (DECODE, (traffic(100, 20, 600),)),
    "memory for a few": (KV, (traffic(12, 3000, 400), SMALL_MEMORY)),
    "one character, one copy": (ROUTER, (traffic(60, 20, 500), ONE_HOT)),
    "a tight objective, idle GPUs": (TTFT, (traffic(3, 4000, 50), {"slo": {"ttft": 0.2}})),
    "a tight objective, GPUs full": (
        PREFILL,
        (traffic(18, 5000, 8), NO_CACHE, {"slo": {"ttft": 0.2}}),
    ),
}


def run(*changes: Tree) -> dict[str, Any]:
    return simulate(scenario_of(TWO, *changes)).summary


@pytest.mark.parametrize("name", BUILT)
def test_each_limit_is_named_where_it_was_built(name: str) -> None:
    limit, changes = BUILT[name]
    assert run(*changes)["bottleneck"] == limit


@pytest.mark.parametrize(
    ("shape", "key", "steps"),
    [
        ((5000, 8), "bottleneck.prefill_compute", (12.0, 20.0)),
        ((20, 600), "bottleneck.decode_bandwidth", (80.0, 160.0)),
    ],
)
def test_a_fleet_is_full_when_its_pressures_reach_one(
    shape: tuple[int, int], key: str, steps: tuple[float, float]
) -> None:
    """Below capacity the pressure grows with the traffic; far above, it stays at 1."""
    below, above = (run(traffic(rate, *shape), NO_CACHE) for rate in steps)
    assert below["verdict"] == "stable"
    assert above["verdict"] == "overloaded"
    served = above["throughput.messages_per_s"] / below["throughput.messages_per_s"]
    assert above[key] == pytest.approx(below[key] * served, rel=0.05)
    total = above["bottleneck.prefill_compute"] + above["bottleneck.decode_bandwidth"]
    assert total == pytest.approx(1.0, abs=0.1)


def test_the_most_loaded_replica_is_found() -> None:
    even = run(traffic(60, 20, 500), {"fleet": {"replicas": 8}})
    hot = run(*BUILT["one character, one copy"][1])
    assert even["router.load_max_over_mean"] < 1.2
    assert hot["router.load_max_over_mean"] > 3


def named(**figures: Any) -> str:
    """The rule alone: pressures by their last names, other figures with `__` for a dot."""
    names = ("prefill_compute", "decode_bandwidth", "kv_memory", "ttft_headroom")
    found: Pressures = {
        f"bottleneck.{name}": figures.pop(name, 0.1) for name in (*names, "router_imbalance")
    }
    summary = {"verdict": "stable"} | {k.replace("__", "."): v for k, v in figures.items()}
    return bottleneck(summary, found, 1.0)


@pytest.mark.parametrize(
    ("figures", "limit"),
    [
        ({"kv_memory": 0.9, "prefill_compute": 1.0}, KV),
        ({"kv_memory": 0.89, "prefill_compute": 0.8}, PREFILL),
        ({"realised__preemptions": 10, "requests__completed": 1000}, KV),
        ({"prefill_compute": 0.4, "decode_bandwidth": 0.46}, DECODE),
        ({"router_imbalance": 1.5, "router__waiting_at_loaded": 0.5}, ROUTER),
        ({"router_imbalance": 1.5, "router__waiting_at_loaded": 0.4, "kv_memory": 0.3}, KV),
        ({"verdict": "overloaded", "ttft_headroom": 3.0, "prefill_compute": 0.2}, PREFILL),
        ({"ttft_headroom": 0.8, "kv_memory": 0.85}, TTFT),
        ({"ttft_headroom": None, "kv_memory": 0.85}, TTFT),
        ({"ttft_headroom": 0.5, "kv_memory": 0.6}, KV),
    ],
)
def test_the_rules_order(figures: dict[str, Any], limit: str) -> None:
    assert named(**figures) == limit
