"""Time series of fleet, cells and shards: sums of their replicas, tick by tick."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fleet_runs import Columns, Tree, cells_of, columns, constant, scenario_of

from kaiju_sim.metrics.result import RunResult
from kaiju_sim.metrics.series import series_table
from kaiju_sim.report.html.series import shard_spread
from kaiju_sim.simulation import simulate

FLEET: Tree = {
    "run": {"horizon": 40.0},
    "fleet": {"cells": 2, "replicas": 12, "shard_replicas": 3},
    "traffic": {"kind": "sessions", "sessions": {"live": 200}, "messages_per_s": 9.0},
    "results": {"tick": 3.0},
}


@pytest.fixture(scope="module")
def made() -> RunResult:
    return simulate(scenario_of(FLEET))


def part(result: RunResult, level: str, index: int = 0) -> Columns:
    """The rows of one part of the fleet."""
    c = columns(result.series)
    mine = c["level"] == level
    if level != "fleet":
        mine &= c[level] == index
    return {name: values[mine] for name, values in c.items()}


def replicas_of(result: RunResult, low: int, high: int) -> Columns:
    c = columns(result.replicas)
    mine = (c["replica"] >= low) & (c["replica"] < high)
    return {name: values[mine] for name, values in c.items()}


PARTS = [
    ("fleet", 0, 0, 12),
    *[("cell", i, 6 * i, 6 * i + 6) for i in range(2)],
    *[("shard", i, 3 * i, 3 * i + 3) for i in range(4)],
]


@pytest.mark.parametrize(("level", "index", "low", "high"), PARTS)
def test_a_part_is_the_sum_of_its_replicas(
    made: RunResult, level: str, index: int, low: int, high: int
) -> None:
    s, r = part(made, level, index), replicas_of(made, low, high)
    ticks = np.ceil(r["time_s"] / 3.0 - 1e-6).astype(int)
    length = np.diff(s["time_s"], prepend=0.0)

    def total(name: str) -> Any:
        return np.bincount(ticks, r[name].astype(float), s["time_s"].size + 1)[1:]

    assert (s["replicas"] == high - low).all()
    for name in ("waiting", "prefilling", "running", "steps"):
        assert (s[name] == total(name)).all(), name
    for name in ("arrived", "completed", "prompt_tokens", "output_tokens"):
        assert s[f"{name}_per_s"] * length == pytest.approx(total(name)), name
    assert s["kv_global_utilisation"] == pytest.approx(
        total("kv_global_used") / total("kv_global_blocks")
    )
    prompts = total("prompt_tokens")
    hits = total("cached_tokens")[prompts > 0] / prompts[prompts > 0]
    assert s["prefix_hit_rate"][prompts > 0] == pytest.approx(hits)
    assert np.isnan(s["prefix_hit_rate"][prompts == 0]).all()
    assert s["busy"] == pytest.approx(total("busy_s") / (length * (high - low)))
    assert (s["busy"] <= 1 + 1e-9).all()


def test_rows_are_in_order_and_parts_named_as_stated(made: RunResult) -> None:
    rows = made.series.to_pylist()
    first = [(r["level"], r["cell"], r["shard"]) for r in rows[:7]]
    assert first == [
        ("fleet", None, None),
        ("cell", 0, None),
        ("cell", 1, None),
        ("shard", 0, 0),
        ("shard", 0, 1),
        ("shard", 1, 2),
        ("shard", 1, 3),
    ]
    assert [r["time_s"] for r in rows] == sorted(r["time_s"] for r in rows)


def test_what_arrives_is_what_the_messages_say(made: RunResult) -> None:
    s, c = part(made, "fleet"), columns(made.requests)
    length = np.diff(s["time_s"], prepend=0.0)
    assert (s["arrived_per_s"] * length).sum() == pytest.approx(c["arrival_s"].size)
    assert (s["output_tokens_per_s"] * length).sum() == pytest.approx(c["output_tokens"].sum())


def test_a_central_queue_waits_in_the_cell_and_in_no_shard() -> None:
    change = {
        "router": {"queue": "central"},
        "engine": {"max_seqs": 1},
        "traffic": {"kind": "poisson", "messages_per_s": 30.0, "output_tokens": constant(200)},
        "run": {"drain": 0.0},
    }
    result = simulate(scenario_of(FLEET, change))
    c = columns(result.requests)
    end = result.summary["requests.in_flight"]
    left = [part(result, "cell", i) for i in range(2)]
    held = sum(int(p[name][-1]) for p in left for name in ("waiting", "prefilling", "running"))
    assert held == end == (c["status"] == "in_flight").sum() > 50
    fleet = part(result, "fleet")
    assert (fleet["waiting"] == left[0]["waiting"] + left[1]["waiting"]).all()
    shards = [part(result, "shard", i)["waiting"] for i in range(4)]
    assert (sum(shards) < fleet["waiting"]).any()


def test_replicas_that_do_not_report_are_not_there(made: RunResult) -> None:
    """A shard that is not provisioned has no replicas, no load, and nothing to divide by."""
    cells = cells_of(scenario_of(FLEET))
    gone = [
        replace(cell, ticks=[without_shard(row) for row in cell.ticks] if cell.cell else cell.ticks)
        for cell in cells
    ]
    table = columns(series_table(gone, 3.0, 3))
    names = ["level", "shard", "replicas", "running", "busy", "steps"]
    level, shard, replicas, running, busy, steps = (table[name] for name in names)
    assert set(replicas[level == "fleet"]) == {9}
    missing = (level == "shard") & (shard == 2)
    assert (replicas[missing] == 0).all()
    assert (running[missing] == 0).all()
    assert np.isnan(busy[missing]).all()
    rest = (level == "shard") & (shard == 3)
    assert (steps[rest] == part(made, "shard", 3)["steps"]).all()


def without_shard(row: dict[str, Any]) -> dict[str, Any]:
    """A tick without the first shard of the cell."""
    return {name: values[3:] for name, values in row.items()}


def test_the_spread_of_shards_is_their_least_and_most(made: RunResult) -> None:
    shards = [part(made, "shard", i) for i in range(4)]
    loads = np.array([(p["waiting"] + p["prefilling"] + p["running"]) / 3 for p in shards])
    spread = shard_spread(made.series, "load")
    assert spread is not None
    assert spread.low == pytest.approx(loads.min(axis=0))
    assert spread.high == pytest.approx(loads.max(axis=0))
    assert spread.mean == pytest.approx(loads.mean(axis=0))
    hits = shard_spread(made.series, "prefix_hit_rate")
    assert hits is not None
    assert (hits.low <= hits.high).all()
    coarse = shard_spread(made.series, "load", max_points=3)
    assert coarse is not None
    assert coarse.high.size == 3
    assert coarse.high.max() == loads.max()
    alone = simulate(scenario_of({"run": {"horizon": 3.0}}))
    assert shard_spread(alone.series, "load") is None
