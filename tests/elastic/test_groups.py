"""A mixed fleet: each group has its own steps, memory and price, and the router knows."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fleet_runs import Tree, cells_of, columns, constant, same, scenario_of

from kaiju_sim.catalog.gpus import find_gpu
from kaiju_sim.errors import UserError
from kaiju_sim.fleet.setup import build
from kaiju_sim.fleet.setup.groups import message_costs
from kaiju_sim.simulation import build_plant, simulate
from kaiju_sim.steptime.build import stacked
from kaiju_sim.steptime.curves import decode_ns, fixed_ns, prefill_ns

BUSY: Tree = {
    "run": {"warm_up": 20.0, "horizon": 120.0, "drain": 300.0},
    "traffic": {
        "messages_per_s": 60.0,
        "sessions": {"user_tokens": constant(400)},
        "output_tokens": constant(200),
    },
    "characters": {"count": 500, "zipf": 0.0, "definition_tokens": constant(600)},
    "prompt": {"limit": 2048},
    "engine": {"max_context": 4096},
    "router": {"policy": "least_loaded"},
}
MIXED: list[dict[str, Any]] = [
    {"replicas": 2},
    {"replicas": 2, "gpu": "A100-80GB", "gpu_price": 1.0, "memory_utilisation": 0.7},
]


def fleet(groups: list[dict[str, Any]], **more: Any) -> Tree:
    """A fleet of these groups."""
    return {"fleet": {"replicas": sum(g["replicas"] for g in groups), "groups": groups, **more}}


@pytest.mark.parametrize("policy", ["least_loaded", "power_of_two", "affinity", "sticky"])
def test_the_faster_group_serves_more(policy: str) -> None:
    """In proportion to its speed, and both groups are as busy with decoding."""
    result = simulate(scenario_of(BUSY, fleet(MIXED), {"router": {"policy": policy}}))
    plant = build_plant(scenario_of(BUSY, fleet(MIXED)), Path())
    fast, slow = message_costs(plant.scenario, plant.groups)
    assert 1.5 < slow / fast < 3.5
    c = columns(result.requests)
    served = np.bincount(c["replica"], minlength=4)
    assert served.min() > 100
    more = served[:2].sum() / served[2:].sum()
    assert more > 1.2
    assert result.summary["requests.completed"] == result.summary["requests.arrived"]
    tpot = [np.nanmean(c["tpot_s"][c["replica"] // 2 == group]) for group in (0, 1)]
    assert tpot[1] > tpot[0]


def test_weighing_load_beats_not_weighing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Least loaded by weighed load answers sooner than by numbers of messages."""
    heavy: Tree = {"traffic": {"messages_per_s": 90.0}}
    scenario = scenario_of(BUSY, heavy, fleet(MIXED))
    weighed = simulate(scenario).summary
    monkeypatch.setattr(build, "message_costs", lambda s, groups: np.ones(2, np.int64))
    counted = simulate(scenario).summary
    for key in ("e2e_s.p99", "e2e_s.mean"):
        assert weighed[key] < counted[key], key


def test_each_group_has_its_memory_and_price() -> None:
    scenario = scenario_of(BUSY, fleet(MIXED, tensor_parallel=2))
    plant = build_plant(scenario, Path())
    blocks = plant.global_blocks()
    assert blocks[0] == blocks[1] > blocks[2] == blocks[3]
    caches = cells_of(scenario)[0].states["caches"]
    assert (caches["free"] + caches["idle"] == blocks).all()
    assert (caches["windows_free"] + caches["windows_kept"] == plant.local_windows()).all()
    s = simulate(scenario).summary
    price = find_gpu("H100-80GB").price.usd_per_hour
    assert s["cost.usd_per_hour"] == 2 * 2 * price + 2 * 2 * 1.0
    assert (s["fleet.gpus"], s["fleet.tensor_parallel"]) == (8, 2)
    assert s["fleet.gpu"] == "H100-80GB + A100-80GB"
    assert 0 < s["kv_utilisation.global"] < 1


def test_groups_that_are_alike_are_one_fleet() -> None:
    """Figure for figure and message for message."""
    one = simulate(scenario_of(BUSY, {"fleet": {"replicas": 4}}))
    two = simulate(scenario_of(BUSY, fleet([{"replicas": 1}, {"replicas": 3}])))
    same(one, two)


def test_stacked_curves_are_each_groups_own_to_the_last_bit() -> None:
    plant = build_plant(scenario_of(BUSY, fleet(MIXED)), Path())
    curves = [group.step_time.curves for group in plant.groups]
    both = stacked(curves)
    draw = np.random.default_rng(5)
    for _ in range(300):
        rows, seqs = (int(x) for x in draw.integers(1, 256, 2))
        x, y = (int(x) for x in np.exp(draw.uniform(0, 25, 2)))
        for g, own in enumerate(curves):
            assert fixed_ns(both, rows, seqs, 0, g) == fixed_ns(own, rows, seqs)
            assert decode_ns(both, x, y, seqs, g) == decode_ns(own, x, y, seqs)
            assert prefill_ns(both, x, y, g) == prefill_ns(own, x, y)


def test_a_group_that_cannot_hold_the_model_is_the_users_error() -> None:
    tight = [{"replicas": 1}, {"replicas": 1, "memory_utilisation": 0.15}]
    with pytest.raises(UserError, match="does not fit"):
        simulate(scenario_of(BUSY, fleet(tight)))
