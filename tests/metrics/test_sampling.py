"""requests.parquet above its size: a deterministic sample, stated, and true to the whole."""

import math
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from fleet_runs import Tree, columns, constant, same, scenario_of

from kaiju_sim import rng
from kaiju_sim.metrics.result import RunResult
from kaiju_sim.report import provenance
from kaiju_sim.simulation import simulate
from kaiju_sim.sketch import RELATIVE_ERROR

SHARE = "results.sample_share"
FLEET: Tree = {
    "run": {"warm_up": 20.0, "horizon": 320.0, "epoch": 0.5},
    "fleet": {"cells": 3, "replicas": 9},
    "traffic": {
        "kind": "sessions",
        "messages_per_s": 60.0,
        "sessions": {
            "live": 900,
            "turns": {"kind": "geometric", "mean": 4},
            "think": {"kind": "exponential", "mean": 12.0},
        },
        "output_tokens": {"kind": "geometric", "mean": 100},
    },
    "results": {"tick": 10.0, "request_rows": 5000},
}


@pytest.fixture(scope="module")
def sample() -> RunResult:
    return simulate(scenario_of(FLEET))


@pytest.fixture(scope="module")
def full() -> RunResult:
    return simulate(scenario_of(FLEET, {"results": {"request_rows": 1_000_000}}))


def test_the_share_is_stated_and_the_rows_are_those_of_the_share(
    sample: RunResult, full: RunResult
) -> None:
    share = sample.summary[SHARE]
    assert full.summary[SHARE] == 1
    assert math.log2(share).is_integer()
    assert share < 1
    sessions = full.requests["session"].to_numpy()
    kept = np.asarray(rng.hash_of(1, rng.SAMPLE, sessions, 0)) < share * 2**32
    assert sample.requests.equals(full.requests.filter(kept))
    assert 1250 < sample.requests.num_rows <= 5000
    assert kept.mean() == pytest.approx(share, rel=0.2)
    text = provenance.collect(
        "", sample.summary, seed=1, profile_sha256=None, command=[], started=NOW, options={}
    )
    assert text["sample_share"] == share


NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_processes_do_not_matter(sample: RunResult) -> None:
    same(sample, simulate(scenario_of(FLEET), workers=2))


def test_no_more_rows_than_stated_even_if_more_comes_than_was_expected() -> None:
    """Live dialogues send three times what `messages_per_s` states."""
    change = {"traffic": {"messages_per_s": 1.0}, "results": {"request_rows": 600}}
    result = simulate(scenario_of(FLEET, change))
    assert result.summary["requests.arrived"] > 600
    assert 100 < result.requests.num_rows <= 600
    assert result.summary[SHARE] < 1


def test_no_rows_at_all() -> None:
    result = simulate(scenario_of(FLEET, {"results": {"request_rows": 0}}))
    assert (result.requests.num_rows, result.summary[SHARE]) == (0, 0)


@pytest.mark.parametrize("name", ["ttft_s", "e2e_s", "tpot_s", "queue_s"])
def test_the_sketch_of_all_is_the_whole_tables_quantile(
    sample: RunResult, full: RunResult, name: str
) -> None:
    assert sample.summary["quantile_rel_error"] == RELATIVE_ERROR
    for q in ("p50", "p90", "p99"):
        found, exact = sample.summary[f"{name}.{q}"], full.summary[f"{name}.{q}"]
        assert abs(found - exact) <= max(RELATIVE_ERROR * exact, 1.028e-6)


@pytest.mark.parametrize("name", ["ttft_s", "e2e_s", "tpot_s"])
@pytest.mark.parametrize("q", [50, 90, 99])
def test_the_samples_own_quantile_is_the_sketchs_within_sampling_error(
    sample: RunResult, name: str, q: int
) -> None:
    """The order statistics four standard errors around the rank enclose the sketch's quantile.

    Messages of a dialogue may be alike, so the standard error counts dialogues, not messages.
    """
    c = columns(sample.requests)
    values = np.sort(c[name][c["measured"] & ~np.isnan(c[name])])
    dialogues = np.unique(c["session"][c["measured"]]).size
    error = 4 * math.sqrt(q / 100 * (1 - q / 100) / dialogues)
    low, high = (
        values[min(max(int((q / 100 + e) * values.size), 0), values.size - 1)]
        for e in (-error, error)
    )
    sketched = sample.summary[f"{name}.p{q}"]
    assert low * (1 - RELATIVE_ERROR) <= sketched <= high * (1 + RELATIVE_ERROR)


def test_the_sample_does_not_depend_on_what_is_measured() -> None:
    """Another service, the same dialogues: variants are comparable row by row."""
    change: dict[str, Any] = {
        "traffic": {
            "kind": "poisson",
            "messages_per_s": 60.0,
            "sessions": {"user_tokens": constant(50)},
        }
    }
    a = simulate(scenario_of(FLEET, change))
    b = simulate(scenario_of(FLEET, change, {"engine": {"token_budget": 512}}))
    assert a.summary[SHARE] == b.summary[SHARE] < 1
    assert a.requests["session"].equals(b.requests["session"])
    assert not a.requests["e2e_s"].equals(b.requests["e2e_s"])
