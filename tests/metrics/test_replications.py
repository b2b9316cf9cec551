"""Replications: independent, reproducible, the same bytes for any number of workers."""

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fleet_runs import Tree, same, scenario_of
from scipy.stats import t as student

from kaiju_sim.metrics.result import RunResult
from kaiju_sim.metrics.stats.intervals import as_json, interval, paired_difference, t_quantile
from kaiju_sim.metrics.stats.replications import mean_of, replication_seeds
from kaiju_sim.report.rundir import read_run, write_run
from kaiju_sim.simulation import replicate, simulate

SMALL: Tree = {
    "run": {"warm_up": 2.0},
    "fleet": {"cells": 2, "replicas": 4},
    "traffic": {"kind": "sessions", "sessions": {"live": 60}, "messages_per_s": 3.0},
}


@pytest.mark.parametrize("dof", [1, 2, 3, 4, 5, 7, 10, 31, 100, 999])
@pytest.mark.parametrize("p", [0.5, 0.6, 0.9, 0.975, 0.9995, 0.9999])
def test_students_t_is_scipys(dof: int, p: float) -> None:
    assert t_quantile(p, dof) == pytest.approx(student.ppf(p, dof), rel=1e-9, abs=1e-12)


def test_an_interval_is_the_textbooks() -> None:
    values = [12.0, 15.0, 11.0, 14.5]
    low, high = student.interval(0.95, 3, np.mean(values), np.std(values, ddof=1) / 2)
    found = interval(values)
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-12)
    assert interval([0.1, 0.1, 0.1]).half_width == 0
    with pytest.raises(ValueError, match="two values"):
        interval([1.0])


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    """95 % of 4,000 intervals from five normal values each, within four standard errors."""
    draw = np.random.Generator(np.random.PCG64(5))
    found = [interval(list(row)) for row in draw.normal(3.0, 2.0, (4000, 5))]
    hits = sum(i.low <= 3.0 <= i.high for i in found)
    assert abs(hits / 4000 - 0.95) <= 4 * math.sqrt(0.95 * 0.05 / 4000)


@pytest.mark.parametrize("seed", [0, 1, 7, 2**31 - 1])
def test_seeds_are_distinct_and_more_of_them_only_add(seed: int) -> None:
    many = replication_seeds(seed, 2000)
    assert many[0] == seed
    assert len(set(many)) == 2000
    assert all(0 <= s < 2**31 for s in many)
    assert replication_seeds(seed, 7) == many[:7]


def test_a_null_in_one_is_null_in_the_mean_and_counted() -> None:
    assert mean_of([1.0, None, 3.0]) is None
    assert mean_of(["stable", "overloaded", "backlogged"]) == "overloaded"
    assert mean_of(["settled", "not settled"]) == "not settled"
    assert mean_of([8, 8]) == 8
    assert isinstance(mean_of([8, 8]), int)
    entry = as_json([1.0, None])
    assert (entry["mean"], entry["half_width"], entry["nulls"]) == (None, None, 1)
    assert entry["values"] == [1.0, None]


@pytest.fixture(scope="module")
def three() -> RunResult:
    return replicate(scenario_of(SMALL), 3)


def test_replication_0_is_the_run_itself_and_the_others_are_runs_of_their_own(
    three: RunResult,
) -> None:
    for i, seed in enumerate(replication_seeds(1, 3)):
        alone = simulate(scenario_of(SMALL, {"seed": seed}))
        for key, entry in three.intervals.items():
            assert entry["values"][i] == alone.summary[key], key
        for name in ("requests", "replicas", "series", "events"):
            table = getattr(three, name)
            rows = table.filter(table["replication"].to_numpy() == i).drop(["replication"])
            assert rows.equals(getattr(alone, name).drop(["replication"])), name


def test_every_figure_has_its_interval(three: RunResult) -> None:
    figures = {k for k, v in three.summary.items() if isinstance(v, int | float)}
    assert figures - set(three.intervals) == {"run.replications", "results.sample_share"}
    assert three.summary["run.replications"] == 3
    for key, entry in three.intervals.items():
        assert three.summary[key] == entry["mean"]
        if entry["mean"] is not None:
            assert entry["low"] <= entry["mean"] <= entry["high"], key
    assert three.intervals["ttft_s.p50"]["half_width"] > 0
    assert three.intervals["fleet.gpus"]["half_width"] == 0


def test_the_fates_of_the_mean_add_up(three: RunResult) -> None:
    s = three.summary
    fates = [s[k] for k in s if k.startswith("requests.") and k != "requests.arrived"]
    assert math.fsum(fates) == pytest.approx(s["requests.arrived"], rel=1e-12)


def test_processes_do_not_matter(three: RunResult) -> None:
    spread = replicate(scenario_of(SMALL), 3, workers=2)
    same(three, spread)
    assert three.intervals == spread.intervals


def test_the_run_directory_holds_the_intervals(three: RunResult, tmp_path: Path) -> None:
    run = read_run(write_run(three, "name: x\nseed: 1\n", {}, tmp_path / "a", report=True))
    assert run.intervals == json.loads(json.dumps(three.intervals))
    assert "Means of 3 replications" in (run.path / "report.html").read_text()
    write_run(simulate(scenario_of(SMALL)), "name: x\n", {}, tmp_path / "a")
    assert not (tmp_path / "a" / "intervals.json").exists()


def test_the_rows_are_shared_between_the_replications() -> None:
    """A common share of the dialogues, and no more rows in all than results.request_rows."""
    full = replicate(scenario_of(SMALL), 3)
    part = replicate(scenario_of(SMALL, {"results": {"request_rows": 60}}), 3)
    share = part.summary["results.sample_share"]
    assert full.summary["results.sample_share"] == 1
    assert math.log2(share).is_integer()
    assert 0 < part.requests.num_rows <= 60 < full.requests.num_rows
    keys = [rows_of(part, i) for i in range(3)]
    for i, kept in enumerate(keys):
        sessions = {session for session, _ in kept}
        assert kept == {row for row in rows_of(full, i) if row[0] in sessions}


def rows_of(result: RunResult, replication: int) -> set[tuple[Any, Any]]:
    """Dialogue and turn of each row of a replication."""
    t = result.requests
    rows = t.filter(t["replication"].to_numpy() == replication)
    return set(zip(rows["session"].to_pylist(), rows["turn"].to_pylist(), strict=True))


VARIANTS: Tree = {
    "run": {"warm_up": 5.0, "horizon": 65.0},
    "fleet": {"replicas": 2},
    "traffic": {"messages_per_s": 3.0},
}


def test_variants_meet_the_same_users_and_pairs_are_sharper() -> None:
    """A larger batch budget changes the service, not who asks what: differences are paired."""
    n = 8
    a = replicate(scenario_of(VARIANTS), n)
    b = replicate(scenario_of(VARIANTS, {"engine": {"token_budget": 512}}), n)
    for name in ("session", "character", "prompt_tokens", "arrival_s", "replication"):
        assert a.requests[name].equals(b.requests[name]), name
    key = "e2e_s.mean"
    left, right = (r.intervals[key]["values"] for r in (a, b))
    paired = paired_difference(left, right)
    unpaired = math.hypot(*(np.std(v, ddof=1) for v in (left, right))) / math.sqrt(n)
    assert paired.mean == pytest.approx(b.summary[key] - a.summary[key])
    assert paired.half_width < 0.5 * student.ppf(0.975, 2 * n - 2) * unpaired
    with pytest.raises(ValueError, match="as many"):
        paired_difference(left, right[:3])


def test_replications_are_independent() -> None:
    """Correlation of neighbours over 200 replications is that of independent values."""
    change = {"run": {"warm_up": 0.0, "horizon": 5.0, "epoch": 1.0}, "results": {"tick": 5.0}}
    values = replicate(scenario_of(VARIANTS, change), 200).intervals["requests.arrived"]["values"]
    x = np.asarray(values) - np.mean(values)
    lag = sum(p * q for p, q in itertools.pairwise(x)) / (x**2).sum()
    assert abs(lag) <= 4 / math.sqrt(200)
    assert np.var(values) == pytest.approx(15.0, rel=0.4)
    assert np.mean(values) == pytest.approx(15.0, abs=4 * math.sqrt(15 / 200))
