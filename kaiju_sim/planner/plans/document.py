"""A plan as JSON: the keys that programs read (docs/plan.md)."""

import math
from typing import Any

from kaiju_sim.planner.part import part_of, seed_of
from kaiju_sim.planner.plans.check import Checked
from kaiju_sim.planner.plans.peak import window_of
from kaiju_sim.planner.plans.plan import Band, Candidate, Plan, cost, label
from kaiju_sim.planner.search import FRESH
from kaiju_sim.planner.sequential import plan_rule
from kaiju_sim.scenario.schema import Scenario

Json = dict[str, Any]


def document(plan: Plan) -> Json:
    """All keys; those of the answer are null where no fleet meets the objectives."""
    s, answer = plan.asked.scenario, plan.answer
    best = row(s, answer) if answer is not None else dict.fromkeys(_ROW)
    trials = answer.judged.tally.trials if answer is not None and answer.judged else 0
    rule = plan_rule(s.plan.pass_probability)
    return best | {
        "scenario": s.name,
        "usd_per_message": usd_per_message(plan, answer),
        "binds": plan_binds(plan),
        "limited_by": plan_limited_by(plan),
        "next_cheaper": next_cheaper(plan),
        "grey_zone": grey_zone(plan),
        "error_band": None if plan.band is None else error_band(plan, plan.band),
        "survive_nodes": s.plan.survive_nodes,
        "window": vars(window_of(s)),
        "rule": {"target": rule.target, "risk": rule.risk, "passes_in_a_row": rule.least},
        "part": None if answer is None else part_of(s, answer.replicas, plan.asked.most_rate).share,
        "seeds": [seed_of(s.seed, FRESH + i) for i in range(trials)],
        "candidates": [row(s, candidate) for candidate in plan.candidates],
        "impossible": [{"fleet": label(choice), "why": why} for choice, why in plan.impossible],
    }


_ROW = (
    *("gpus", "replicas", "tensor_parallel", "gpu_type", "token_budget", "max_seqs", "router"),
    *("usd_per_hour", "verdict", "pass_probability", "pass_probability_interval", "passed"),
    *("trials", "binds", "limited_by", "step_times"),
)


def checked(found: Checked) -> Json:
    """What `--check` says."""
    rule = plan_rule(found.asked.scenario.plan.pass_probability)
    return row(found.asked.scenario, found.candidate) | {
        "scenario": found.asked.scenario.name,
        "target": rule.target,
        "exit_code": found.exit_code,
    }


def row(s: Scenario, candidate: Candidate) -> Json:
    """One candidate."""
    choice, judged = candidate.choice, candidate.judged
    interval = None if judged is None else [judged.low, judged.high]
    return {
        "gpus": candidate.gpus,
        "replicas": candidate.replicas,
        "tensor_parallel": choice.tensor_parallel,
        "gpu_type": choice.gpu,
        "token_budget": choice.token_budget,
        "max_seqs": choice.max_seqs,
        "router": choice.router,
        "usd_per_hour": cost(s, candidate),
        "verdict": said(candidate),
        "pass_probability": None if judged is None else judged.tally.share,
        "pass_probability_interval": interval,
        "passed": None if judged is None else judged.tally.passed,
        "trials": None if judged is None else judged.tally.trials,
        "binds": candidate.binds or None,
        "limited_by": candidate.limited_by or None,
        "step_times": candidate.step_times,
    }


def said(candidate: Candidate) -> str:
    """The verdict; of what was only screened, that."""
    if candidate.judged is not None:
        return candidate.judged.verdict
    return "screened, costs more" if candidate.passes_screen else "screened, fails"


def usd_per_message(plan: Plan, answer: Candidate | None) -> float | None:
    """The hourly bill of all GPUs over the messages that the fleet answered in an hour."""
    if answer is None or answer.judged is None:
        return None
    bench = plan.asked.bench(answer.choice, window_of(plan.asked.scenario))
    seen = range(FRESH, FRESH + answer.judged.tally.trials)
    rows = bench.figures(answer.replicas, seen)
    share = part_of(bench.scenario, bench.left(answer.replicas), bench.most_rate).share
    rate = math.fsum(r["throughput.messages_per_s"] for r in rows) / len(rows) / share
    return cost(plan.asked.scenario, answer) / (3600.0 * rate)


def plan_binds(plan: Plan) -> str | None:
    """What the next cheaper fleet misses; without one, what the answer is nearest to."""
    other = plan.next_cheaper or plan.answer
    if other is None:  # nothing holds: what the candidates miss
        return next((c.binds for c in plan.candidates if c.binds), None)
    return other.binds or None


def plan_limited_by(plan: Plan) -> str | None:
    """What limits that fleet."""
    other = plan.next_cheaper or plan.answer
    if other is None:
        return next((c.limited_by for c in plan.candidates if c.limited_by), None)
    return other.limited_by or None


def next_cheaper(plan: Plan) -> Json | None:
    """The dearest fleet that is cheaper than the answer, and why it is refused."""
    other = plan.next_cheaper
    if other is None:
        return None
    return {
        "gpus": other.gpus,
        "gpu_type": other.choice.gpu,
        "tensor_parallel": other.choice.tensor_parallel,
        "why_not": why_not(plan, other),
        "pass_probability": None if other.judged is None else other.judged.tally.share,
        "pass_probability_interval": (
            None if other.judged is None else [other.judged.low, other.judged.high]
        ),
    }


def why_not(plan: Plan, other: Candidate) -> str:
    """Why a fleet is refused, in words."""
    if other.judged is None:
        return "fails a short window"
    tally, target = other.judged.tally, plan.asked.scenario.plan.pass_probability
    met = f"{other.binds} missed in {tally.failed} of {tally.trials} windows"
    if other.judged.verdict == "fails":
        return met
    return f"{met}: not shown to pass {target:.0%} of them"


def grey_zone(plan: Plan) -> Json:
    """GPUs of fleets below the answer that could not be told, and their span as its share."""
    answer = plan.answer
    if answer is None:
        return {"gpus": [], "share": None}
    span = answer.gpus - min((*plan.grey, answer.gpus))
    return {"gpus": list(plan.grey), "share": span / answer.gpus}


def error_band(plan: Plan, band: Band) -> Json:
    """GPUs of the answer if all steps are shorter, or longer, by the profile's error."""
    assert plan.answer is not None
    ranks = plan.answer.choice.tensor_parallel
    return {
        "step_time_error": [band.low, band.high],
        "gpus_low": band.replicas_low * ranks,
        "gpus_high": None if band.replicas_high is None else band.replicas_high * ranks,
    }
