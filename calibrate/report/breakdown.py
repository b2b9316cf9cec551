"""Steps beside their floors, and where the rest of each goes."""

from collections.abc import Iterator
from typing import Any

from calibrate.report.floors import Part, parts_of
from calibrate.report.operators import Times
from calibrate.report.steps import REQUIRED, REQUIRED_OF, Measured
from kaiju_sim.catalog.models import Model

Line = dict[str, Any]
MS = 1e3


def step_lines(
    steps: list[Measured], model: Model, times: Times, job: dict[str, Any]
) -> Iterator[Line]:
    """A step: measured, floor, ratios, what is required, its operators and the remainder.

    A ratio is required of `wall_s`: with what the host adds.
    """
    ranks: int = job["tensor_parallel"]
    is_judged = (job["model"], job.get("variant"), ranks) == REQUIRED_OF
    for step in steps:
        parts = parts_of(model, step.shape, ranks)
        floor = sum(part.floor_s for part in parts)
        required = REQUIRED.get(step.name) if is_judged else None
        yield {
            "step": step.name,
            "repetitions": step.repetitions,
            "wall_ms": step.wall_s * MS,
            "gpu_ms": step.gpu_s * MS,
            "floor_ms": floor * MS,
            "gpu_ratio": step.gpu_s / floor,
            "ratio": step.wall_s / floor,
            "required": required,
            "reached": None if required is None else step.wall_s / floor <= required,
            **_whole(step, parts, times),
        }


def _whole(step: Measured, parts: list[Part], times: Times) -> Line:
    """The step's operators, and what they leave of its time on the GPU and beside it.

    Without a measured operator that a step calls, the remainder would be no remainder: None.
    """
    operators = [_operator(step, part, times) for part in parts]
    missing = [o["operator"] for o in operators if o["measured_ms"] is None and _counts(o)]
    known = sum(o["measured_ms"] or 0.0 for o in operators)
    rest = None if missing else step.gpu_s * MS - known
    return {
        "operators": operators,
        "not_measured": missing,
        "gaps_ms": rest,
        "gaps_share": None if rest is None else rest / (step.wall_s * MS),
        "host_ms": (step.wall_s - step.gpu_s) * MS,
        "host_share": 1 - step.gpu_s / step.wall_s,
    }


def _counts(operator: Line) -> bool:
    """Launch plans, which have no floor, may be missing: then they are in the remainder."""
    return not operator["operator"].startswith("plan_")


def _operator(step: Measured, part: Part, times: Times) -> Line:
    each = times.seconds(part.operator, step.shape)
    took = None if each is None else each * part.count
    return {
        "operator": part.operator,
        "count": part.count,
        "each_us": None if each is None else each * 1e6,
        "measured_ms": None if took is None else took * MS,
        "floor_ms": part.floor_s * MS,
        "over_ms": None if took is None else (took - part.floor_s) * MS,
        "share": None if took is None else took / step.wall_s,
    }
