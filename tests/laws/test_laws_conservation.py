"""Laws of every fleet, over random scenarios: nothing is lost, nothing comes too early."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fleet_runs import cells_of, columns, measured_from
from hypothesis import HealthCheck, given, settings
from random_scenarios import scenarios

from kaiju_sim.catalog.gpus import find_gpu
from kaiju_sim.fleet.control import CellResult
from kaiju_sim.fleet.records import CANCELLED
from kaiju_sim.metrics.result import RunResult
from kaiju_sim.metrics.tables import request_table
from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.simulation import simulate

NEVER_ENDED = -1


def check_messages(scenario: Scenario, result: RunResult, cells: list[CellResult]) -> None:
    """Every message has one fate, the same in summary, table, replicas and tallies."""
    s, c = result.summary, columns(result.requests)
    fates = ("completed", "failed", "in_flight", "shed", "cancelled", "blocked_pre", "blocked_post")
    assert s["requests.arrived"] == sum(s[f"requests.{fate}"] for fate in fates)
    assert s["requests.arrived"] == c["measured"].sum()
    for fate in fates:
        assert s[f"requests.{fate}"] == (c["measured"] & (c["status"] == fate)).sum()
    assert s["requests.in_flight"] == 0, "the drain is long enough for all"
    done = (c["status"] == "completed").sum()
    assert sum(cell.states["replicas"]["done"].sum() for cell in cells) == done
    withdrawn = ((c["status"] == "cancelled") & (c["replica"] >= 0)).sum()
    arrived, turned = (
        sum(cell.states["replicas"][name].sum() for cell in cells) for name in ("arrived", "turned")
    )
    assert arrived == done + withdrawn + turned + (c["status"] == "blocked_post").sum()
    assert ((c["replica"] < 0) | np.isnan(c["replica"]))[c["status"] == "blocked_pre"].all()
    assert sum(cell.desk["messages"] for cell in cells) == c["status"].size


def check_tokens(result: RunResult, cells: list[CellResult]) -> None:
    """Tokens delivered, read and found in caches add up; so do the gaps between tokens."""
    c = columns(result.requests)
    ended = np.isin(c["status"], ("completed", "blocked_post"))
    names = {"tokens": "output_tokens", "prompt": "prompt_tokens", "hit": "cached_tokens"}
    for total, column in names.items():
        of_replicas = sum(cell.states["replicas"][total].sum() for cell in cells)
        assert of_replicas == c[column][ended].sum(), total
    gaps = np.maximum(c["output_tokens"][ended] - 1, 0).sum()
    assert sum(cell.end.itl_count for cell in cells) == gaps
    logs = [cell.log[np.isin(cell.log["status"], (0, 6))] for cell in cells]
    streamed_ns = sum(int((log["end"] - log["first"]).sum()) for log in logs)
    assert sum(cell.end.itl_ns for cell in cells) == streamed_ns
    assert (c["cached_tokens"] < c["prompt_tokens"]).all()
    assert (c["cached_tokens"] >= 0).all()


def check_memory(scenario: Scenario, result: RunResult, cells: list[CellResult]) -> None:
    """Blocks and windows: free, idle and held are all there are; none is held at the end."""
    r = columns(result.replicas)
    windows = 0 if scenario.kv.local_windows == "auto" else scenario.kv.local_windows
    for cell in cells:
        caches = cell.states["caches"]
        assert (caches["free"] + caches["idle"] == scenario.kv.global_blocks).all()
        assert (caches["windows_free"] + caches["windows_kept"] == windows).all()
    assert (r["kv_global_used"] >= 0).all()
    assert (r["kv_local_used"] >= 0).all()
    assert (r["kv_global_used"] + r["kv_global_cached"] <= r["kv_global_blocks"]).all()
    assert (r["kv_local_used"] + r["kv_local_cached"] <= r["kv_local_windows"]).all()
    empty = r["running"] + r["prefilling"] == 0
    assert not r["kv_global_used"][empty].any()
    assert not r["kv_local_used"][empty].any()
    if not scenario.kv.prefix_cache:
        assert not r["kv_global_cached"].any()
        assert not columns(result.requests)["cached_tokens"].any()


def check_order(scenario: Scenario, cells: list[CellResult]) -> None:
    """arrival <= admission < first token <= end; next turns come an epoch after; time goes on."""
    epoch_ns = round(scenario.run.epoch * 1e9)
    for cell in cells:
        log = cell.log
        ended = log[log["status"] == 0]
        assert (ended["arrival"] <= ended["admit"]).all()
        assert (ended["admit"] < ended["first"]).all()
        assert (ended["first"] <= ended["end"]).all()
        chunk = scenario.engine.chunk_tokens if scenario.engine.candidates > 1 else 1
        assert ((ended["first"] == ended["end"]) == (ended["out"] <= chunk)).all()
        log = log[np.lexsort((log["attempt"], log["swipe"], log["turn"], log["session"]))]
        same = log["session"][1:] == log["session"][:-1]
        steps = [np.diff(log[name])[same] for name in ("turn", "swipe", "attempt")]
        assert (steps[0] + (steps[0] == 0) * (steps[1] + (steps[1] == 0) * steps[2]) == 1).all()
        assert (log["arrival"][1:] - log["end"][:-1])[same].min(initial=epoch_ns) >= epoch_ns
        assert (log["end"][:-1][same] != NEVER_ENDED).all()
        times = [event[0] for event in cell.events]
        assert times == sorted(times)


def covered(begin: Any, end: Any) -> int:
    """Length of the union of intervals."""
    total, reached = 0, -1
    for i in np.argsort(begin, kind="stable"):
        total += max(0, int(end[i]) - max(int(begin[i]), reached))
        reached = max(reached, int(end[i]))
    return total


def check_work(scenario: Scenario, cells: list[CellResult]) -> None:
    """A replica is busy exactly while it has messages; nothing waits beside an empty replica.

    Where a load from host memory may keep a replica waiting, it is busy no longer than that. Not
    where a prompt was given up: the step that computes a part of it goes on to its end.
    """
    if scenario.safety.on:  # messages reach their replica later, and some are taken back
        return
    central = scenario.router.queue == "central"
    fixed = not scenario.fleet.changes and scenario.fleet.autoscale is None
    for cell in cells:
        withdrawn = (cell.log["status"] == CANCELLED) & (cell.log["admit"] >= 0)
        if withdrawn.any() or cell.desk["shadows"]:
            continue
        log = cell.log[cell.log["status"] == 0]
        begin = log["admit"] if central else log["arrival"]
        for k, busy in enumerate(cell.states["replicas"]["busy"]):
            mine = log["replica"] == k
            served = begin[mine], log["end"][mine]
            assert busy <= covered(*served), f"replica {k}"
            assert busy == covered(*served) or scenario.kv.host_memory, f"replica {k}"
            if central and fixed and not scenario.kv.host_memory:
                waits = log["arrival"], log["admit"]
                together = [np.concatenate(pair) for pair in zip(served, waits, strict=True)]
                assert covered(*together) == busy, f"idle replica {k} while messages wait"


def check_limits(scenario: Scenario, result: RunResult, cells: list[CellResult]) -> None:
    """Batches, contexts and time series stay within what there is."""
    r, c = columns(result.replicas), columns(result.requests)
    assert ((r["running"] + r["prefilling"]) <= scenario.engine.max_seqs).all()
    context = (c["prompt_tokens"] + c["output_tokens"])[c["status"] == "completed"]
    assert (context <= scenario.engine.max_context).all()
    assert (r["waiting"] >= 0).all()
    assert (np.diff(r["time_s"]) >= 0).all()
    assert (r["busy_s"] <= scenario.results.tick + 1e-9).all()
    busy = sum(cell.states["replicas"]["busy"].sum() for cell in cells) * 1e-9
    assert r["busy_s"].sum() == pytest.approx(busy, abs=1e-6)


def check_cost(scenario: Scenario, result: RunResult) -> None:
    """The bill is that of every GPU there was; what messages and tokens bear adds up to it."""
    s = result.summary
    hourly = s["cost.usd_per_hour"]
    price = find_gpu(scenario.gpu).price.usd_per_hour
    replicas = s["fleet.replicas_mean"]
    assert hourly == pytest.approx(price * replicas * scenario.fleet.tensor_parallel)
    if not scenario.fleet.changes and scenario.fleet.autoscale is None:
        assert replicas == scenario.fleet.replicas
    if s["cost.usd_per_message"] is not None:
        per_s = s["cost.usd_per_message"] * s["throughput.messages_per_s"]
        assert per_s * 3600 == pytest.approx(hourly)
    parts = (
        ("cost.usd_per_million_output_tokens", "throughput.output_tokens_per_s"),
        ("cost.usd_per_million_input_tokens", "throughput.prompt_tokens_per_s"),
    )
    if all(s[price] is not None for price, _ in parts):
        bill = sum(s[price] * 1e-6 * s[rate] * 3600 for price, rate in parts)
        assert bill == pytest.approx(hourly)


@pytest.mark.slow
@settings(max_examples=300, suppress_health_check=list(HealthCheck))
@given(scenario=scenarios())
def test_laws_hold_in_random_fleets(trace_folder: Path, scenario: Scenario) -> None:
    """All of the laws above, and the same tables on a second run."""
    result = simulate(scenario, base_dir=trace_folder)
    cells = cells_of(scenario, base_dir=trace_folder)
    scenario = measured_from(scenario, result.summary["run.warm_up_s"])
    assert request_table(scenario, cells).equals(result.requests)
    check_messages(scenario, result, cells)
    check_tokens(result, cells)
    check_memory(scenario, result, cells)
    check_order(scenario, cells)
    check_work(scenario, cells)
    check_limits(scenario, result, cells)
    check_cost(scenario, result)
