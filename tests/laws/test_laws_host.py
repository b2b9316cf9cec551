"""Host memory in whole fleets: the two loops agree, tiers are conserved, limits are right."""

import numpy as np
import pytest
from fleet_runs import cells_of, columns, same, scenario_of
from test_laws_reference import pressed

from kaiju_sim.catalog.gpus import find_gpu
from kaiju_sim.catalog.models import find_model
from kaiju_sim.errors import UserError
from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.simulation import simulate
from kaiju_sim.steptime.memory import KvPlan, kv_plan

GB = 1e9


def plan_of(scenario: Scenario) -> KvPlan:
    """The KV pools of a scenario."""
    return kv_plan(scenario, find_gpu(scenario.gpu), find_model(scenario.model))


def with_host(scenario: Scenario, times: float, **kv: object) -> Scenario:
    """The scenario with `times` as much host memory as its pools have in HBM, on four replicas."""
    plan = plan_of(scenario)
    hbm = plan.global_blocks * plan.global_block_bytes + plan.local_windows * plan.window_bytes
    tree = scenario.model_dump()
    tree["kv"] |= {"host_memory": int(hbm * times) + 1, **kv}
    tree["fleet"]["replicas"] = 4
    tree["run"]["horizon"] = 4.0
    return Scenario.model_validate(tree)


@pytest.mark.parametrize("link_replicas", [1, 2])
@pytest.mark.parametrize("queue", ["replica", "central"])
@pytest.mark.parametrize("policy", ["decode_first", "prefill_first"])
def test_compiled_equals_reference_with_host_memory(
    policy: str, queue: str, link_replicas: int
) -> None:
    """On a slow link, which delays prefills and for which replicas that share it compete."""
    for times, retention in ((1.0, "turn_end"), (0.6, "prompt_end"), (3.0, "all")):
        rate = (0.01 if retention == "all" else 0.1) * GB
        slow = {"host_bandwidth": rate, "link_replicas": link_replicas}
        tree = pressed(policy, queue).model_dump()
        tree["kv"]["local_retention"] = retention
        tree["kv"]["local_windows"] = "auto" if retention == "all" else 12
        scenario = with_host(Scenario.model_validate(tree), times, **slow)
        result = simulate(scenario)
        s = result.summary
        assert s["prefix_hit_rate"] > s["prefix_hit_rate_host"] > 0.002
        assert s["host_memory.loading_fraction"] > 0.001
        assert s["host_memory.storing_fraction"] > 0.2
        assert s["host_memory.blocks_demoted"] > 100
        same(result, simulate(scenario, engine="reference"))


def test_compiled_equals_reference_with_invalidation() -> None:
    """Edits that drop old versions from both tiers, in fleets that are short of memory."""
    tree = pressed("decode_first", "replica").model_dump()
    tree["characters"] |= {"invalidate": True, "edits_per_hour": 20_000.0}
    scenario = with_host(Scenario.model_validate(tree), 1.0)
    result = simulate(scenario)
    dropped = [int(d.split()[2]) for d in columns(result.events)["detail"] if "dropped" in d]
    assert sum(dropped) > 20
    same(result, simulate(scenario, engine="reference"))


def test_each_tier_is_conserved_and_what_it_gave_adds_up() -> None:
    """Free, idle and held are all of HBM; host memory holds what came and neither went nor fell."""
    scenario = with_host(pressed("decode_first", "replica"), 0.5)
    plan = plan_of(scenario)
    result = simulate(scenario)
    (cell,) = cells_of(scenario)
    caches, c, r = cell.states["caches"], columns(result.requests), columns(result.replicas)
    assert (caches["free"] + caches["idle"] == plan.global_blocks).all()
    assert (caches["windows_free"] + caches["windows_kept"] == plan.local_windows).all()
    far = caches["host"] - caches["host_free"]
    assert (far >= 0).all()
    assert (far <= plan.host_blocks).all()
    assert (far <= caches["evicted"] - caches["dropped"]).all()
    assert caches["dropped"].sum() > 0
    done = c["status"] == "completed"
    assert cell.states["replicas"]["hit_host"].sum() == c["cached_host_tokens"][done].sum() > 0
    assert (c["cached_host_tokens"] <= c["cached_tokens"]).all()
    assert (r["kv_host_cached"] <= r["kv_host_blocks"]).all()
    assert r["cached_host_tokens"].sum() == cell.states["replicas"]["hit_host"].sum()


def roomy(blocks: int, windows: int) -> Scenario:
    """Dialogues on two replicas that never wait for memory, and forget where it is short."""
    return scenario_of(
        {
            "run": {"horizon": 20.0},
            "traffic": {
                "kind": "sessions",
                "messages_per_s": 40.0,
                "sessions": {
                    "live": 200,
                    "turns": {"kind": "geometric", "mean": 12},
                    "think": {"kind": "exponential", "mean": 5.0},
                    "user_tokens": {"kind": "uniform", "min": 1, "max": 200},
                },
                "output_tokens": {"kind": "geometric", "mean": 20},
            },
            "characters": {"count": 40, "definition_tokens": {"kind": "constant", "value": 400}},
            "prompt": {"limit": 4000, "truncation_step": 1000},
            "fleet": {"replicas": 2},
            "engine": {"max_seqs": 8, "token_budget": 2048, "max_context": 4400},
            "kv": {"block_tokens": 16, "global_blocks": blocks, "local_windows": windows},
        }
    )


def test_host_memory_at_infinite_speed_is_as_good_as_hbm() -> None:
    """Every message takes the same times as with one tier of the size of both."""
    small, large = roomy(3000, 24), roomy(60_000, 4000)
    tree = small.model_dump()
    tree["kv"] |= {"host_memory": 1 << 40, "host_bandwidth": 1e18}
    tiered = simulate(Scenario.model_validate(tree))
    one = simulate(large)
    assert tiered.summary["prefix_hit_rate_host"] > 0.2
    assert tiered.summary["host_memory.blocks_dropped"] == 0
    a, b = columns(tiered.requests), columns(one.requests)
    for name in ("session", "arrival_s", "queue_s", "ttft_s", "e2e_s", "cached_tokens"):
        assert np.array_equal(a[name], b[name]), name


def test_a_fast_link_is_worth_having_and_a_slow_one_is_worse_than_computing_anew() -> None:
    """The time to first token, over links of 54.9 GB/s (catalog) and of 0.05 GB/s."""
    without = roomy(3000, 24)
    means = []
    for kv in ({}, {"host_memory": 1 << 40}, {"host_memory": 1 << 40, "host_bandwidth": 0.05 * GB}):
        tree = without.model_dump()
        tree["kv"] |= kv
        means.append(simulate(Scenario.model_validate(tree)).summary["ttft_s.mean"])
    assert means[1] < 0.8 * means[0]
    assert means[2] > 2 * means[0]


def test_without_host_memory_its_figures_are_null() -> None:
    s = simulate(roomy(3000, 24)).summary
    assert s["prefix_hit_rate_host"] == 0
    assert {s[key] for key in s if key.startswith("host_memory.")} == {None}
    assert s["kv_utilisation.host"] is None


def test_host_memory_is_divided_as_hbm_is() -> None:
    """Blocks and windows in HBM's proportion; ranks share it."""
    one = plan_of(scenario_of({"kv": {"host_memory": 100 * 2**30}}))
    two = plan_of(
        scenario_of({"fleet": {"tensor_parallel": 2}, "kv": {"host_memory": 100 * 2**30}})
    )
    held = one.host_blocks * one.global_block_bytes + one.host_windows * one.window_bytes
    assert held == pytest.approx(100 * 2**30, rel=1e-4)
    assert one.host_blocks / one.global_blocks == pytest.approx(
        one.host_windows / one.local_windows, rel=1e-3
    )
    held = two.host_blocks * two.global_block_bytes + two.host_windows * two.window_bytes
    assert 2 * held == pytest.approx(100 * 2**30, rel=1e-4)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="link_replicas must divide"):
        scenario_of({"fleet": {"replicas": 4}, "kv": {"link_replicas": 3}})
    with pytest.raises(ValueError, match="invalidate needs"):
        scenario_of({"characters": {"invalidate": True}})
    with pytest.raises(UserError, match="too large"):
        plan_of(scenario_of({"kv": {"host_memory": 1 << 61}}))
