"""The plan in words: what will be measured, why, and how long it takes."""

from collections.abc import Iterator, Sequence

from calibrate.design.estimate import LEAST, MOST, OPEN_S, OPERATOR_S, USUAL, Estimate
from calibrate.design.item import KEEP, StepItem
from calibrate.design.plan import Plan
from calibrate.design.serving import serving_s

WHY = {
    "anchor": "ten steps by which cards, or hours of one card, are compared",
    "aim": "the exact steps of the floor table: never fitted",
    "edge-decode": "what matrix products take in each bucket of rows, as decodes",
    "edge-prefill": "what matrix products take in each bucket of rows, as prefill",
    "decode": "decode attention by batch and context, contexts unequal as in service",
    "ragged": "contexts of all lengths beside ones near each other",
    "prefill": "prefill attention by new and cached tokens",
    "stair": "the rounds of prefill attention: each edge, and a token after it",
    "chunks": "several chunks in a step",
    "both": "decodes and prefill in one step: is it the sum?",
    "shared": "decodes that share a prefix",
    "beam": "candidates that share a prompt",
    "mixed": "random mixed steps, to fit the rest with",
    "heldout": "random mixed steps that judge the fit and are never used in it",
    "operator": "each operator alone: where a step's time goes",
    "engine": "the serving engine under steady load: its own host time between two steps",
}
DROPPED = (
    "When time is short: first spare random steps and large groups, then the insides of the grids, "
    "then their corners; never anchors, aims, row buckets, the engine and held-out steps (but a "
    "few spares)."
)


def explain(plan: Plan, estimate: Estimate, budget_s: float) -> Iterator[str]:
    """Lines for people."""
    items: Sequence[StepItem] = (*plan.anchors, *plan.steps)
    yield f"{'what':14}{'count':>6}{'about':>8}  why"
    for name, of in _groups(items).items():
        yield _line(name, len(of), estimate.total_s(of))
    if plan.operators:
        yield _line("operator", len(plan.operators), OPERATOR_S * len(plan.operators))
    if plan.serving:
        yield _line("engine", len(plan.serving), serving_s(plan.serving))
    if plan.left_out:
        some = f"{len(plan.left_out)} ({plan.left_out[0]} ...)"
        yield f"Left out, as the engine cannot hold them: {some}"
    yield DROPPED
    least, usual = total_s(plan, estimate, LEAST), total_s(plan, estimate, USUAL)
    kept = [item for item in items if item.rank == KEEP]
    kept_s = OPEN_S + estimate.total_s(kept) + serving_s(plan.serving)
    yield (
        f"Each step {LEAST} to {MOST} times, until its median is known to 0.4 %. "
        f"About {_minutes(least)} for {LEAST} each, {_minutes(usual)} for {USUAL}; "
        f"what is never dropped takes {_minutes(kept_s)}; "
        f"budget {_minutes(budget_s)} (compiling apart)."
    )


def total_s(plan: Plan, estimate: Estimate, repetitions: int) -> float:
    """Expected seconds of the whole plan, opening included."""
    steps = estimate.total_s((*plan.anchors, *plan.steps), repetitions)
    return OPEN_S + steps + OPERATOR_S * len(plan.operators) + serving_s(plan.serving)


def _groups(items: Sequence[StepItem]) -> dict[str, list[StepItem]]:
    found: dict[str, list[StepItem]] = {}
    for item in items:
        found.setdefault(item.id.partition("/")[0], []).append(item)
    return found


def _line(name: str, count: int, seconds: float) -> str:
    return f"{name:14}{count:6}{seconds:6.0f} s  {WHY[name]}"


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f} min"
