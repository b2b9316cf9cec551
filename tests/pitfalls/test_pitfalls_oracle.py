"""Pitfall 12: nothing is free and nobody sees the future."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fleet_runs import Tree, columns, constant, scenario_of

from kaiju_sim.simulation import simulate

POLICIES = ("affinity", "sticky", "rendezvous", "prefix_aware", "least_loaded", "round_robin")
BUSY: Tree = {
    "run": {"horizon": 30.0},
    "traffic": {
        "messages_per_s": 40.0,
        "sessions": {"user_tokens": {"kind": "uniform", "min": 10, "max": 400}},
        "output_tokens": {"kind": "exponential", "mean": 80},
    },
    "characters": {"count": 30, "definition_tokens": constant(200)},
    "fleet": {"replicas": 6},
    "router": {"min_load": 2},
    "steptime": {"kind": "constant", "step": 0.02},
}


def choices(*changes: Tree) -> Any:
    """Replicas that the messages went to, in order of arrival."""
    return columns(simulate(scenario_of(BUSY, *changes)).requests)["replica"]


@pytest.mark.parametrize("policy", ["affinity", "sticky", "prefix_aware", "least_loaded"])
def test_a_late_report_changes_the_routing(policy: str) -> None:
    """Load reports take the time that they are said to take."""
    fresh = choices({"router": {"policy": policy}})
    late = choices({"router": {"policy": policy, "report_delay": 3.0}})
    rare = choices({"router": {"policy": policy, "report_interval": 3.0}})
    assert (fresh != late).mean() > 0.05
    assert (fresh != rare).mean() > 0.05


@pytest.mark.parametrize("policy", ["rendezvous", "round_robin"])
def test_routing_that_needs_no_reports_ignores_them(policy: str) -> None:
    """A hash and a turn do not depend on what replicas report."""
    fresh = choices({"router": {"policy": policy}})
    assert np.array_equal(fresh, choices({"router": {"policy": policy, "report_delay": 3.0}}))


def test_late_reports_make_a_worse_fleet() -> None:
    """Stale loads cost: messages wait longer when the router knows less."""
    tight: Tree = {"engine": {"max_seqs": 24}, "router": {"policy": "least_loaded"}}
    waits = [
        simulate(scenario_of(BUSY, tight, {"router": {"report_interval": interval}})).summary
        for interval in (0.1, 10.0)
    ]
    assert waits[0]["e2e_s.p99"] <= waits[1]["e2e_s.p99"]


@pytest.mark.parametrize("policy", [p for p in POLICIES if p != "prefix_aware"])
def test_before_a_report_arrives_answers_cannot_matter(policy: str) -> None:
    """With no report in the whole run, answers of other lengths change not one decision."""
    blind: Tree = {"router": {"policy": policy, "report_delay": 40.0}}
    short = choices(blind)
    long = choices(blind, {"traffic": {"output_tokens": constant(300)}})
    assert np.array_equal(short, long)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("engine", ["compiled", "reference"])
def test_the_router_does_not_see_lengths_of_answers(
    tmp_path: Path, policy: str, engine: Any
) -> None:
    """Change all answers from one message on: until one of these ends, all is as it was."""
    before = history(tmp_path / "a.jsonl", policy, engine, longer_from=None)
    after = history(tmp_path / "b.jsonl", policy, engine, longer_from=60)
    changed = before["arrival_s"] >= before["arrival_s"][60]
    ends = [c["arrival_s"][changed] + c["e2e_s"][changed] for c in (before, after)]
    first_end = min(end.min() for end in ends)
    same = before["arrival_s"] < first_end
    assert same.sum() > 70
    assert np.array_equal(before["replica"][same], after["replica"][same])
    for name in ("queue_s", "cached_tokens"):
        admitted = same & (before["arrival_s"] + before["queue_s"] < first_end)
        assert np.array_equal(before[name][admitted], after[name][admitted]), name


def history(file: Path, policy: str, engine: Any, longer_from: int | None) -> Any:
    """A replay of 160 messages, with longer answers from one of them on."""
    draw = np.random.default_rng(3)
    rows = []
    for i, at in enumerate(np.cumsum(draw.exponential(0.02, 160))):
        output = int(draw.integers(10, 40))
        longer = longer_from is not None and i >= longer_from
        row = {"arrival_s": round(float(at), 6), "prompt_tokens": int(draw.integers(20, 300))}
        row |= {"output_tokens": output + 25 * longer, "session": int(draw.integers(0, 30))}
        row |= {"character": row["session"] % 7}
        rows.append(json.dumps(row))
    file.write_text("\n".join(rows) + "\n", encoding="utf-8")
    change: Tree = {
        "run": {"epoch": 0.01},
        "traffic": {"kind": "replay", "trace": {"file": file.name}},
        "engine": {"max_seqs": 8, "token_budget": 128},
        "router": {"policy": policy, "report_interval": 0.01},
        "results": {"tick": 10.0},
    }
    return columns(
        simulate(scenario_of(BUSY, change), base_dir=file.parent, engine=engine).requests
    )


def test_next_turns_are_never_sooner_than_an_epoch_after_their_cause() -> None:
    """Users who answer at once are put off to one epoch, and counted."""
    change: Tree = {
        "run": {"epoch": 0.25},
        "traffic": {"kind": "sessions", "sessions": {"think": constant(0), "turns": constant(5)}},
    }
    result = simulate(scenario_of(BUSY, change))
    c = columns(result.requests)
    order = np.lexsort((c["turn"], c["session"]))
    session, at, e2e = (c[name][order] for name in ("session", "arrival_s", "e2e_s"))
    pause = (at[1:] - at[:-1] - e2e[:-1])[session[1:] == session[:-1]]
    assert pause.size > 100
    assert pause == pytest.approx(0.25, abs=1e-9)
    assert result.summary["realised.turns_delayed"] >= pause.size
