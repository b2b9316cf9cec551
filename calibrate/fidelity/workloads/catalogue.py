"""The workloads by name, each from a recipe: what it is made of, and nothing else."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calibrate.fidelity.workload import Workload
from calibrate.fidelity.workloads import rules
from calibrate.fidelity.workloads.sessions import dialogues, drawn_seconds, warped
from calibrate.fidelity.workloads.traces import SOURCES, sample_of, trace_slice
from kaiju_sim.errors import UserError

CAPACITY, BURST = "capacity", "burst"
LOADS = {"poisson-40": 0.40, "poisson-70": 0.70, "poisson-85": 0.85, "poisson-95": 0.95}
BURST_LOAD, TRACE_LOAD = 0.5, 0.7
SPIKE = (0.4, 0.4 + 1 / 6, 3.0)
"""Of a burst: begin and end as shares of its time, and how much faster messages come."""
NAMES = (CAPACITY, *LOADS, BURST, *SOURCES)
SECONDS = {CAPACITY: 45.0, "poisson-95": 180.0, "mooncake": 90.0}
USUAL_S = 60.0
CAPACITY_RATE = 75.0
"""Messages/s at which the capacity's messages are drawn, before all are handed in at once: near the
capacity, so that a dialogue's turns are as far apart as they are at such a rate."""
NEEDS_CAPACITY = (*LOADS, BURST)

CapacityOf = Callable[[Workload], float]
"""Messages/s that an engine completes of messages that all wait, by simulation."""


@dataclass(frozen=True)
class Asked:
    """What a recipe is made of."""

    seed: int = 1
    seconds: float | None = None
    """None: as `SECONDS` says."""
    data: Path = Path()
    """The folder of public traces."""


def check_name(name: str) -> str:
    """The name; UserError for what is none."""
    if name not in NAMES:
        raise UserError(f"--workload {name[:40]}: must be one of {', '.join(NAMES)}")
    return name


def seconds_of(name: str, asked: Asked) -> float:
    """How long arrivals come."""
    return asked.seconds or SECONDS.get(name, USUAL_S)


def recipe_of(
    name: str, asked: Asked, capacity: float | None, simulated: CapacityOf
) -> dict[str, Any]:
    """The recipe of a workload. `capacity`: measured messages/s of the published shape;
    `simulated`: what a trace's own capacity is taken from."""
    seconds = seconds_of(name, asked)
    recipe: dict[str, Any] = {
        "name": check_name(name), "seed": asked.seed, "seconds": seconds,
        "warm_s": warm_s(name, seconds), "one_pool": name == "mooncake", "left_out": 0,
        "is_trace": name in SOURCES, "block_tokens": rules.BLOCK_TOKENS,
        "context": rules.LONGEST if name in SOURCES else rules.published_context(),
    }  # fmt: skip
    if name == CAPACITY:
        return {**recipe, "load": None, "rate": CAPACITY_RATE}
    load = LOADS.get(name, BURST_LOAD if name == BURST else TRACE_LOAD)
    if name in SOURCES:
        sample = sample_of(name, asked.data, recipe["context"], rules.BLOCK_TOKENS)
        capacity = simulated(Workload(sample.messages, sample.warm, {**sample.recipe, **recipe}))
    if capacity is None:
        raise UserError(f"--workload {name}: its rate is a share of the capacity: measure that "
                        f"first (--workload {CAPACITY})")  # fmt: skip
    mean = load * (1 + (SPIKE[1] - SPIKE[0]) * (SPIKE[2] - 1)) if name == BURST else load
    return {**recipe, "load": round(mean, 4), "capacity": capacity, "rate": load * capacity}


def warm_s(name: str, seconds: float) -> float:
    """What arrives before this is served and not counted."""
    return 0.0 if name == CAPACITY else min(max(10.0, seconds / 6), seconds / 3)


def make(recipe: dict[str, Any], data: Path) -> Workload:
    """The workload of a recipe: always the same one."""
    name, rate, seconds, seed = (recipe[key] for key in ("name", "rate", "seconds", "seed"))
    if name in SOURCES:
        return trace_slice(recipe, data)
    if name == BURST:
        spike = SPIKE[0] * seconds, SPIKE[1] * seconds, SPIKE[2]
        return warped(dialogues(rate, drawn_seconds(seconds, spike), seed, recipe), seconds, spike)
    found = dialogues(rate, seconds, seed, recipe)
    if name == CAPACITY:
        return Workload([m._replace(arrival_ns=0) for m in found.messages], found.warm, recipe)
    return found
