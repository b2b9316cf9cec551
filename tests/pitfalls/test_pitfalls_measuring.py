"""Pitfalls of measuring: 6 totals, 8 percentiles, 10 wall clock, 11 arrivals, 16 zero load."""

import io
import itertools
import json
import math
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from fleet_runs import Columns, Tree, columns, constant, merged, scenario_of

from kaiju_sim.metrics.result import RunResult
from kaiju_sim.report.console import print_summary
from kaiju_sim.simulation import build_plant, simulate
from kaiju_sim.steptime.curves import decode_ns, fixed_ns, prefill_ns, step_ns

TALK: Tree = {
    "run": {"warm_up": 100.0, "horizon": 700.0},
    "traffic": {
        "kind": "sessions",
        "messages_per_s": 12.0,
        "sessions": {
            "live": 300,
            "turns": {"kind": "geometric", "mean": 10},
            "think": {"kind": "exponential", "mean": 20},
            "user_tokens": {"kind": "lognormal", "mean": 40, "sigma": 0.8},
        },
        "output_tokens": {"kind": "lognormal", "mean": 140, "sigma": 0.5},
    },
    "fleet": {"replicas": 2},
}


def test_pitfall_6_realised_totals_are_printed_and_those_of_the_messages() -> None:
    """What the traffic came to is shown beside what was stated, and can be checked in the table."""
    result = simulate(scenario_of(TALK))
    s, c = result.summary, columns(result.requests)
    mine = c["measured"]
    assert s["realised.messages_per_s"] == pytest.approx(mine.sum() / 600)
    assert s["realised.prompt_tokens_mean"] == pytest.approx(c["prompt_tokens"][mine].mean())
    assert s["realised.output_tokens_mean"] == pytest.approx(c["output_tokens"][mine].mean())
    assert s["realised.output_tokens_mean"] == pytest.approx(140, rel=0.02)
    page = io.StringIO()
    print_summary(s, page)
    text = page.getvalue().replace(",", "")
    for name, digits in {"messages_per_s": 1, "turn_cycle_s": 1, "prompt_tokens_mean": 0}.items():
        assert f"{s[f'realised.{name}']:.{digits}f}" in text, name


def test_pitfall_6_realised_rate_is_the_stated_one() -> None:
    """Open loop: within three and a half standard deviations of a Poisson count."""
    s = simulate(scenario_of({"run": {"horizon": 2000.0}})).summary
    assert s["stated.messages_per_s"] == pytest.approx(5.0)
    assert abs(s["requests.arrived"] - 10_000) < 3.5 * 100
    assert s["realised.messages_per_s"] == pytest.approx(s["requests.arrived"] / 2000)


def test_pitfall_6_the_users_are_the_same_on_every_fleet() -> None:
    """Other replicas, another router, another engine: the very same messages arrive."""
    fleets: list[Tree] = [
        {"fleet": {"replicas": 1}},
        {"fleet": {"replicas": 8}, "router": {"policy": "round_robin"}},
        {"engine": {"policy": "prefill_first"}, "kv": {"prefix_cache": False}},
    ]
    tables = [
        simulate(scenario_of({"traffic": {"messages_per_s": 20.0}}, f)).requests for f in fleets
    ]
    same = ["session", "turn", "character", "arrival_s", "prompt_tokens", "output_tokens"]
    assert tables[0].select(same).equals(tables[1].select(same))
    assert tables[0].select(same).equals(tables[2].select(same))


def ranked(values_s: Any, lost: int, q: float) -> float:
    """Linear quantile of values and `lost` infinities."""
    ranked_s = [*np.sort(values_s).tolist(), *[math.inf] * lost]
    at = q * (len(ranked_s) - 1)
    low, high = ranked_s[math.floor(at)], ranked_s[math.ceil(at)]
    return high if math.isinf(high) else low + (high - low) * (at - math.floor(at))


@pytest.mark.parametrize("request_rows", [1_000_000, 100])
def test_pitfall_8_what_failed_or_did_not_finish_is_slowest(request_rows: int) -> None:
    """Quantiles are those of the whole cohort, with +infinity for who got no answer."""
    overload: Tree = {
        "run": {"warm_up": 20.0, "horizon": 120.0, "drain": 5.0},
        "traffic": {
            "messages_per_s": 24.0,
            "sessions": {"user_tokens": {"kind": "uniform", "min": 10, "max": 1060}},
            "output_tokens": constant(100),
        },
        "prompt": {"limit": 1020},
        "characters": {"definition_tokens": constant(0)},
        "engine": {"max_context": 1030, "max_seqs": 32},
        "steptime": {"kind": "constant", "step": 0.02},
        "results": {"request_rows": request_rows},
    }
    s = simulate(scenario_of(overload)).summary
    c = columns(simulate(scenario_of(overload, {"results": {"request_rows": 10**6}})).requests)
    c = {name: column[c["measured"]] for name, column in c.items()}
    ended = c["status"] == "completed"
    lost = int((~ended).sum())
    assert s["requests.failed"] == (c["status"] == "failed").sum() > 10
    assert s["requests.in_flight"] == (c["status"] == "in_flight").sum() > 100
    assert s["e2e_s.count_inf"] == s["ttft_s.count_inf"] == lost
    assert s["slo.availability"] == pytest.approx(ended.mean())
    for name in ("ttft_s", "e2e_s", "queue_s"):
        for key, q in {"p50": 0.5, "p90": 0.9, "p99": 0.99}.items():
            expected, found = ranked(c[name][ended], lost, q), s[f"{name}.{key}"]
            if math.isinf(expected):
                assert found is None, (name, key)
            else:
                assert found == pytest.approx(expected, rel=2 * s["quantile_rel_error"] + 1e-9)
    assert s["e2e_s.p99"] is None
    assert s["e2e_s.p50"] is not None


def content(result: RunResult) -> bytes:
    """Every byte that is written of a run but for provenance."""
    sink = io.BytesIO()
    for table in (result.requests, result.replicas, result.events):
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    return sink.getvalue() + json.dumps(result.summary).encode()


def test_pitfall_10_the_wall_clock_never_leaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same bytes with clocks that jump and with a busy machine."""
    scenario = scenario_of(TALK)
    quiet = content(simulate(scenario))
    stop = threading.Event()
    load = threading.Thread(target=lambda: [sum(range(1000)) for _ in iter(stop.is_set, True)])
    load.start()
    try:
        assert content(simulate(scenario)) == quiet
    finally:
        stop.set()
        load.join()
    jumps = itertools.count(1)
    for name in ("time", "monotonic", "perf_counter", "process_time"):
        monkeypatch.setattr(time, name, lambda: next(jumps) * 1e6)
    for name in ("time_ns", "monotonic_ns", "perf_counter_ns"):
        monkeypatch.setattr(time, name, lambda: next(jumps) * 10**15)
    again = content(simulate(scenario))
    monkeypatch.undo()
    assert again == quiet


def test_pitfall_11_arrivals_are_random_unless_a_trace_says_otherwise() -> None:
    """Coefficient of variation of the gaps near 1, so p99 is well above the mean."""
    open_loop: Tree = {"run": {"horizon": 2000.0}}
    for change in (open_loop, TALK):
        gaps = np.diff(columns(simulate(scenario_of(change)).requests)["arrival_s"])
        assert gaps.std() / gaps.mean() == pytest.approx(1.0, abs=0.05)
        assert np.quantile(gaps, 0.99) / gaps.mean() == pytest.approx(math.log(100), rel=0.1)


ALONE: Tree = {
    "run": {"horizon": 2000.0},
    "traffic": {"messages_per_s": 0.02, "output_tokens": constant(7)},
    "characters": {"count": 1, "definition_tokens": constant(0)},
    "engine": {"token_budget": 256},
    "steptime": {"kind": "constant", "step": 0.01},
}
"""A message now and then, which finds nobody else."""


def alone(*changes: Tree) -> Columns:
    """Messages that come one at a time (those that met another one are left out)."""
    tree: Tree = ALONE
    for change in changes:
        tree = merged(tree, change)
    c = columns(simulate(scenario_of(tree)).requests)
    end = c["arrival_s"] + c["e2e_s"]
    free = np.concatenate([[True], c["arrival_s"][1:] > np.maximum.accumulate(end)[:-1]])
    free &= np.append(c["arrival_s"][1:] > end[:-1], True)
    assert free.sum() > 15
    return {name: column[free] for name, column in c.items()}


@pytest.mark.parametrize("policy", ["decode_first", "prefill_first"])
@pytest.mark.parametrize("prompt", [1, 255, 256, 257, 1000, 5000])
def test_pitfall_16_zero_load_ttft_is_the_steps_it_takes(prompt: int, policy: str) -> None:
    """ceil(prompt / budget) steps to the first token, one more for each further token."""
    said: Tree = {"traffic": {"sessions": {"user_tokens": constant(prompt)}}}
    c = alone(said, {"engine": {"policy": policy}})
    steps = math.ceil(prompt / 256)
    assert c["queue_s"] == pytest.approx(0.0, abs=1e-12)
    assert c["ttft_s"] == pytest.approx(steps * 0.01, rel=1e-9)
    assert c["e2e_s"] == pytest.approx((steps + 6) * 0.01, rel=1e-9)
    assert c["tpot_s"] == pytest.approx(0.01, rel=1e-9)


def test_pitfall_16_a_prefix_hit_saves_its_steps() -> None:
    """The definition is computed for the first message only; the others start after it."""
    c = alone(
        {"traffic": {"sessions": {"user_tokens": constant(300)}}},
        {"characters": {"definition_tokens": constant(1280)}},
    )
    assert c["cached_tokens"].tolist() == [0, *[1280] * (c["cached_tokens"].size - 1)]
    steps = np.ceil((c["prompt_tokens"] - c["cached_tokens"]) / 256)
    assert set(steps) == {7.0, 2.0}
    assert c["ttft_s"] == pytest.approx(steps * 0.01, rel=1e-9)


def test_pitfall_16_zero_load_times_are_those_of_the_curves() -> None:
    """With the roofline: each chunk and each decode step at exactly its shape."""
    change: Tree = {
        "traffic": {"sessions": {"user_tokens": constant(1500)}},
        "steptime": {"kind": "roofline"},
    }
    c = alone(change)
    curves = build_plant(scenario_of(ALONE, change), Path()).step_time.curves
    ttft, at = 0, 0
    while at < 1500:
        n = min(256, 1500 - at)
        pairs = sum(range(at + 1, at + n + 1))
        near = sum(min(1024, i) for i in range(at + 1, at + n + 1))
        ttft += step_ns(fixed_ns(curves, n, 1), 0.0, prefill_ns(curves, pairs, near))
        at += n
    rest = [
        step_ns(fixed_ns(curves, 1, 1), decode_ns(curves, n, 1024, 1), 0.0)
        for n in range(1501, 1507)
    ]
    assert c["ttft_s"] == pytest.approx(ttft * 1e-9, rel=1e-9)
    assert c["e2e_s"] == pytest.approx((ttft + sum(rest)) * 1e-9, rel=1e-9)
