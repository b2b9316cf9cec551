"""From a scenario to its step time: the one place that knows the kinds."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kaiju_sim.catalog.gpus import Gpu, find_gpu
from kaiju_sim.catalog.models import Model, find_model
from kaiju_sim.errors import UserError
from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.scenario.schema import StepTime as Choice
from kaiju_sim.steptime.convert import curves_from_profile
from kaiju_sim.steptime.curves import CONSTANT, CONTEXT_CURVES, EXPONENTIAL, SLOTS, Curves
from kaiju_sim.steptime.part import EngineHost
from kaiju_sim.steptime.profile import KvBlocks, Profile, load_profile, shipped_for
from kaiju_sim.steptime.roofline import NS, Rank, roofline_curves, usual_efficiency

MIN_EFFICIENCY = 0.01


@dataclass(frozen=True, slots=True)
class StepTime:
    """Step time of every replica of a fleet, and what is known about its error."""

    curves: Curves
    """What the engine's loop reads."""
    source: str
    """roofline, measured, constant or exponential: shown wherever a result is shown."""
    id: str
    """Profile id, or what the curves were made from."""
    rel_error_low: float | None
    """Lower end of the step time's relative error (-0.05: true steps may be 5 % shorter)."""
    rel_error_high: float | None
    """Upper end of the same; both None unless a profile states its held-out error."""
    host_overhead_s: float
    """Host time per step that the GPU waits for."""
    engine_host: EngineHost | None
    """What the serving engine takes besides; None: not measured, and steps have none of it."""
    kv_blocks: KvBlocks | None
    """KV memory of the engine that was measured, for `kv_plan`."""


def build_step_time(scenario: Scenario, folder: Path | None = None) -> StepTime:
    """The step time that *scenario* asks for.

    *folder* is where a relative profile path starts (the scenario file's folder). UserError for
    unknown names, an unsound profile, or one made for another GPU, model or number of ranks.
    """
    kind = scenario.steptime.kind
    if kind in ("constant", "exponential"):
        return _from_mean(scenario)
    profile = None if kind == "roofline" else _profile_of(scenario, folder)
    return _from_roofline(scenario) if profile is None else _from_profile(scenario, profile)


def _profile_of(scenario: Scenario, folder: Path | None) -> Profile | None:
    """The profile named, else for kind `auto` the shipped one, unless a roofline is described."""
    choice = scenario.steptime
    if choice.profile is not None:
        profile = load_profile(choice.profile, folder)
        _check_match(scenario, profile)
        return profile
    if _describes_roofline(choice):
        return None
    gpu, model = find_gpu(scenario.gpu).name, find_model(scenario.model).name
    return shipped_for(gpu, model, scenario.fleet.tensor_parallel)


def _describes_roofline(choice: Choice) -> bool:
    """Whether efficiencies or host time, which only a roofline has, are not the usual ones."""
    usual = Choice()
    names = ("compute_efficiency", "memory_efficiency", "host_overhead")
    return any(getattr(choice, name) != getattr(usual, name) for name in names)


def described(step_time: StepTime) -> str:
    """Where step times come from, in a line."""
    if step_time.rel_error_high is None:
        return f"{step_time.source}: {step_time.id}, error not known"
    error = f"{step_time.rel_error_high:.1%}"
    engine = "" if step_time.engine_host else ", without the serving engine's own time"
    return f"{step_time.source}: {step_time.id}, 95 % of held-out steps within {error}{engine}"


def stacked(groups: Sequence[Curves]) -> Curves:
    """The curves of a mixed fleet: its groups' tables one after the other.

    Each group's host time is added to its rows, where it is the first term of the sum anyway.
    """
    first = groups[0]
    if len(groups) == 1:
        return first
    assert {(c.kind, c.rows_ns.size, c.seqs_ns.size) for c in groups} == {
        (first.kind, first.rows_ns.size, first.seqs_ns.size)
    }
    return first._replace(
        host_ns=0.0,
        rows_ns=np.concatenate([c.host_ns + c.rows_ns for c in groups]),
        seqs_ns=np.concatenate([c.seqs_ns for c in groups]),
        slope=np.concatenate([c.slope for c in groups]),
        offset=np.concatenate([c.offset for c in groups]),
        rounds=np.concatenate([c.rounds for c in groups]),
        each=any(c.each for c in groups),
        engine=np.concatenate([c.engine for c in groups]),
        rows=first.rows_ns.size,
        seqs=first.seqs_ns.size,
    )


def table_sizes(scenario: Scenario) -> tuple[int, int]:
    """Largest token rows and sampling sequences of a step: the sizes of the dense tables."""
    engine = scenario.engine
    return engine.token_budget + engine.max_seqs, engine.max_seqs


def check_split(model: Model, gpu: Gpu, tensor_parallel: int) -> None:
    """UserError unless heads, FFN and vocabulary split evenly over the ranks of a replica."""
    for what, size in (("heads", model.heads), ("ffn", model.ffn), ("vocab", model.vocab)):
        if size % tensor_parallel:
            raise UserError(
                f"fleet.tensor_parallel: {tensor_parallel} {gpu.name} cannot share {model.name}: "
                f"its {what} ({size}) is not a multiple of {tensor_parallel}"
            )


def _from_roofline(scenario: Scenario) -> StepTime:
    gpu, model = find_gpu(scenario.gpu), find_model(scenario.model)
    ranks, choice = scenario.fleet.tensor_parallel, scenario.steptime
    check_split(model, gpu, ranks)
    _check_efficiency("compute", choice.compute_efficiency)
    _check_efficiency("memory", choice.memory_efficiency)
    efficiency = usual_efficiency(choice.compute_efficiency, choice.memory_efficiency)
    rank = Rank(gpu, model, ranks, efficiency)
    return StepTime(
        curves=roofline_curves(rank, choice.host_overhead, *table_sizes(scenario)),
        source="roofline",
        id=f"roofline-{gpu.name}-{model.name}-tp{ranks}".lower(),
        rel_error_low=None,
        rel_error_high=None,
        host_overhead_s=choice.host_overhead,
        engine_host=None,
        kv_blocks=None,
    )


def _check_efficiency(which: str, value: float) -> None:
    if value < MIN_EFFICIENCY:
        raise UserError(f"steptime.{which}_efficiency must be at least {MIN_EFFICIENCY}")


def _from_profile(scenario: Scenario, profile: Profile) -> StepTime:
    error = profile.heldout.p95_abs_rel_error if profile.heldout else None
    return StepTime(
        curves=curves_from_profile(profile, *table_sizes(scenario)),
        source=profile.source,
        id=profile.id,
        rel_error_low=None if error is None else -error,
        rel_error_high=error,
        host_overhead_s=profile.host_overhead_s,
        engine_host=profile.engine_host,
        kv_blocks=profile.kv_blocks,
    )


def _check_match(scenario: Scenario, profile: Profile) -> None:
    wanted = {
        "gpu": (find_gpu(scenario.gpu).name, profile.gpu),
        "model": (find_model(scenario.model).name, profile.model),
        "tensor_parallel": (scenario.fleet.tensor_parallel, profile.tensor_parallel),
    }
    for key, (here, there) in wanted.items():
        if here != there:
            raise UserError(
                f"steptime.profile: {scenario.steptime.profile} is for {key} {there}, "
                f"but the scenario has {here}"
            )


def _from_mean(scenario: Scenario) -> StepTime:
    kind, mean_s = scenario.steptime.kind, scenario.steptime.step
    assert mean_s is not None, "the schema requires steptime.step for these kinds"
    curves = mean_curves(mean_s * NS, CONSTANT if kind == "constant" else EXPONENTIAL)
    return StepTime(curves, kind, f"{kind}-{mean_s:g}s", None, None, 0.0, None, None)


def mean_curves(mean_ns: float, kind: int = CONSTANT) -> Curves:
    """Every step takes `mean_ns`, or is drawn around it: nothing is predicted from its shape."""
    empty = np.zeros((CONTEXT_CURVES, SLOTS))
    return Curves(
        kind=kind,
        mean_ns=mean_ns,
        host_ns=0.0,
        rows_ns=np.zeros(1),
        seqs_ns=np.zeros(1),
        slope=empty,
        offset=empty.copy(),
        rounds=np.zeros(1, np.int64),
        each=False,
    )
