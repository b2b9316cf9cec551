"""Autoscaling: it follows a step and a day, waits for its delays, keeps its limits, and is paid."""

import math
from typing import Any

import numpy as np
import pytest
from fleet_runs import Tree, columns, constant, scenario_of

from kaiju_sim.catalog.gpus import find_gpu
from kaiju_sim.metrics.result import RunResult
from kaiju_sim.simulation import simulate

STAY_S = 2.0
"""A message stays 100 steps of 20 ms."""
READY_S = 30.0
LOAD: Tree = {
    "run": {"warm_up": 60.0, "horizon": 1200.0, "drain": 60.0},
    "traffic": {"messages_per_s": 20.0, "output_tokens": constant(100)},
    "characters": {"definition_tokens": constant(0)},
    "router": {"policy": "least_loaded"},
    "steptime": {"kind": "constant", "step": 0.02},
    "results": {"tick": 10.0},
}
RULE: Tree = {
    "target": 10.0,
    "tolerance": 0.0,
    "min": 1,
    "max": 12,
    "interval": 10.0,
    "scale_in_delay": 60.0,
}


def scaled(rule: Tree, start: int, **parts: Any) -> RunResult:
    """Messages that stay two seconds, on a fleet under this rule."""
    fleet = {"replicas": start, "provisioning_delay": 20.0, "load_delay": 10.0}
    change: Tree = {"fleet": {**fleet, **parts.pop("fleet", {}), "autoscale": {**RULE, **rule}}}
    return simulate(scenario_of(LOAD, change, parts))


def serving(result: RunResult) -> list[tuple[float, int]]:
    """How many shards serve, from when on."""
    count = 0
    steps = []
    for e in result.events.to_pylist():
        change = {"serves": 1, "taken back": 1, "drains": -1}.get(e["detail"], 0)
        if change:
            count += change
            steps.append((round(e["time_s"], 6), count))
    return steps


def decisions(result: RunResult) -> list[tuple[float, int, int]]:
    """(when, from, to) of each decision, in shards."""
    rows = [e for e in result.events.to_pylist() if e["kind"] == "autoscale"]
    parsed = [(round(e["time_s"], 6), e["detail"].split()) for e in rows]
    return [(at, int(words[0]), int(words[2])) for at, words in parsed]


def test_it_follows_the_load_to_the_target() -> None:
    """20 messages/s that stay 2 s are 40: at 10 a replica, four or five replicas, and no fewer."""
    result = scaled({}, 1)
    rows = columns(result.replicas)
    late = rows["time_s"] > 300
    counts = np.unique(rows["time_s"][late], return_counts=True)[1]
    assert counts.min() >= 4
    assert counts.max() <= 7  # a Poisson count of mean 40 reaches 60 in such a time
    assert result.summary["fleet.replicas_mean"] == pytest.approx(5, abs=1)


def test_orders_take_both_delays_and_are_not_repeated_meanwhile() -> None:
    """One decision at the first interval suffices, though nothing comes for three of them."""
    result = scaled({"max": 4, "scale_in_delay": 10_000.0}, 1)
    assert decisions(result) == [(10.0, 1, 4)]
    assert [(at, 1 + count) for at, count in serving(result)] == [
        (10.0 + READY_S, 2),
        (10.0 + READY_S, 3),
        (10.0 + READY_S, 4),
    ]
    first = {k: t for k, t in first_arrivals(result).items() if k > 0}
    assert min(first.values()) >= 10.0 + READY_S


def first_arrivals(result: RunResult) -> dict[int, float]:
    """When the first message came to each replica that got one."""
    c = columns(result.requests)
    return {int(k): float(c["arrival_s"][c["replica"] == k].min()) for k in set(c["replica"])}


def test_it_gives_back_only_after_the_delay() -> None:
    """Eight replicas for a load of four: all wishes are below, and stay so for a minute."""
    result = scaled({}, 8)
    at, before, after = decisions(result)[0]
    assert (at, before) == (60.0, 8)
    assert 4 <= after < 8
    steps = [(t, 8 + count) for t, count in serving(result)]
    assert steps[before - after - 1] == (60.0, after)


def test_a_step_of_the_load_is_followed_with_the_delays() -> None:
    """The rate doubles at once: the order comes within an interval, service after the delays."""
    shape = [1.0] * 24
    shape[1:] = [2.0] * 23  # over the first hour it grows in a straight line
    day = {"diurnal": {"shape": shape}, "messages_per_s": 40.0}
    result = scaled({}, 3, traffic=day, run={"horizon": 3600.0})
    rows = columns(result.replicas)
    times, counts = np.unique(rows["time_s"], return_counts=True)
    wanted = 20.0 * 24 / 47 * 2 * (1 + times / 3600) * STAY_S / 10.0
    late = times > 300
    assert np.abs(counts - wanted)[late].max() <= 3
    assert (counts - wanted)[late].mean() > 0  # rounded up, and slow to give back
    lag = scaled({}, 3, traffic=day, run={"horizon": 3600.0}, fleet={"provisioning_delay": 400.0})
    assert lag.summary["ttft_s.mean"] >= result.summary["ttft_s.mean"]


@pytest.mark.parametrize(("least", "most"), [(6, 12), (1, 3)])
def test_the_limits_hold(least: int, most: int) -> None:
    result = scaled({"min": least, "max": most}, 3 if most == 3 else 6)
    counts = np.unique(columns(result.replicas)["time_s"], return_counts=True)[1]
    assert least <= counts.min()
    assert counts.max() <= most


def test_steps_and_cool_downs_hold() -> None:
    result = scaled({"step": 1, "cooldown": 45.0}, 1)
    made = decisions(result)
    assert all(abs(after - before) == 1 for _, before, after in made)
    assert np.diff([at for at, _, _ in made]).min() >= 45.0
    assert len(made) >= 3


def test_shards_and_cells_are_its_units() -> None:
    rule = {"min": 4, "max": 24, "target": 5.0}
    result = scaled(rule, 4, fleet={"cells": 2, "shard_replicas": 2})
    rows = columns(result.replicas)
    for cell in (0, 1):
        times, counts = np.unique(rows["time_s"][rows["cell"] == cell], return_counts=True)
        assert (counts % 2 == 0).all()
        assert counts[times > 300].min() >= 4  # 20 messages in each cell, five a replica


def test_a_schedule_is_kept_from_hour_to_hour() -> None:
    schedule = [{"hour": 0.1, "replicas": 2}, {"hour": 0.2, "replicas": 6}]
    result = scaled({"policy": "schedule", "schedule": schedule, "interval": 5.0}, 3)
    assert decisions(result) == [(5.0, 3, 6), (360.0, 6, 2), (720.0, 2, 6)]


def test_the_bill_is_the_time_from_order_to_release() -> None:
    """By hand: window 60-1200 s; 3 replicas, 3 more ordered at 5 s; 4 drained at 360 s and given
    back within three seconds; 4 ordered at 720 s."""
    schedule = [{"hour": 0.1, "replicas": 2}, {"hour": 0.2, "replicas": 6}]
    result = scaled({"policy": "schedule", "schedule": schedule, "interval": 5.0}, 3)
    events = result.events.to_pylist()
    released = [e["time_s"] for e in events if e["detail"] == "released"]
    assert len(released) == 4
    assert all(360.0 < t < 360.0 + STAY_S + 0.2 for t in released)
    by_hand = 2 * 1140 + sum(t - 60.0 for t in released) + 4 * (1200.0 - 720.0)
    s = result.summary
    assert s["fleet.gpu_hours"] == pytest.approx(by_hand / 3600, rel=1e-9)
    assert s["fleet.replicas_mean"] == pytest.approx(by_hand / 1140, rel=1e-9)
    assert s["fleet.replicas_max"] == 6
    price = find_gpu("H100-80GB").price.usd_per_hour
    assert s["cost.usd_per_hour"] == pytest.approx(price * by_hand / 1140, rel=1e-9)
    per_gpu = s["throughput.output_tokens_per_s"] / s["throughput.output_tokens_per_gpu_s"]
    assert per_gpu == pytest.approx(s["fleet.replicas_mean"])
    rows = columns(result.replicas)
    busy = rows["busy_s"][(rows["time_s"] > 65) & (rows["time_s"] < 1205)].sum()
    assert s["gpu_busy_fraction"] == pytest.approx(busy / by_hand, rel=1e-9)


def test_a_fixed_fleet_is_billed_to_the_last_bit() -> None:
    s = simulate(scenario_of(LOAD, {"fleet": {"replicas": 7, "tensor_parallel": 2}})).summary
    price = find_gpu("H100-80GB").price.usd_per_hour
    assert s["cost.usd_per_hour"] == price * 7 * 2
    assert (s["fleet.replicas_mean"], s["fleet.replicas_max"]) == (7.0, 7)
    assert s["fleet.gpu_hours"] == 14 * 1140 / 3600


def test_memory_can_be_the_metric() -> None:
    """Blocks in use follow the messages, so a target for them finds the fleet for them."""
    kv = {"block_tokens": 4, "global_blocks": 3000, "local_windows": 50, "prefix_cache": False}
    engine = {"max_context": 8704}
    result = scaled({"metric": "kv", "target": 0.1}, 1, kv=kv, engine=engine)
    rows = columns(result.replicas)
    late = rows["time_s"] > 300
    used = rows["kv_global_used"][late].sum() / rows["kv_global_blocks"][late].sum()
    replicas = np.unique(rows["time_s"][late], return_counts=True)[1].mean()
    assert math.ceil(used * replicas / 0.1) <= replicas + 0.5
    assert used > 0.06
