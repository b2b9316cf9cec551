"""What a step takes on the host beside the GPU, and what the serving engine takes beside a step."""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.optimize import nnls

from calibrate.fit.basis import Floats, rounded
from calibrate.fit.errors import DECIMALS
from calibrate.fit.read import Step
from calibrate.shapes import EngineStep
from kaiju_sim.steptime.part import EngineHost

SMALL_SHARE = 0.25
"""The steps with the fewest sequences among which the overhead is looked for."""
LEAST_STEPS = 50
FAR = 5.0
"""Times what is usual beyond which a step was disturbed: a graph was captured in it, mostly."""
ROUNDS = 3
"""Of a fit to those that are near the fit before."""
BEFORE = ("step_s", "seq_s", "prefill_s", "prompt_s")
AFTER = ("after_s", "after_seq_s", "after_prompt_s")
"""Fields of `EngineHost`: what is taken before a step's launch, and after its tokens."""


def host_overhead_s(steps: Sequence[Step]) -> float:
    """Median of wall - GPU of the steps with the fewest sequences; what grows is in the curves."""
    ordered = sorted(steps, key=lambda step: (step.shape.seqs, step.id))
    few = ordered[: max(1, int(len(ordered) * SMALL_SHARE))]
    return max(0.0, rounded(float(np.median([step.wall_s - step.gpu_s for step in few]))))


def engine_host(steps: Sequence[EngineStep]) -> EngineHost | None:
    """What the engine takes beside its steps; None if too few were measured.

    By least squares, weights that are not negative, of what the simulator knows of a step. Means,
    not medians: who is admitted or crosses into a new page costs more, and that adds up. Steps that
    were disturbed are left out.
    """
    kept = [step for step in steps if host_s(step) > step.after_ns / 1e9 >= 0]
    if len(kept) < LEAST_STEPS:
        return None
    calm = _near(kept, _usual_s(kept))
    for _ in range(ROUNDS):
        weights = _fitted(calm)
        calm = _near(kept, predicted_s(kept, weights))
    weights = _fitted(calm)
    seconds = np.array([host_s(step) for step in calm])
    errors = np.abs(predicted_s(calm, weights) / seconds - 1)
    median, p95 = (round(float(np.quantile(errors, q)), DECIMALS) for q in (0.5, 0.95))
    return EngineHost(**weights, n=len(calm), median_abs_rel_error=median, p95_abs_rel_error=p95)


def _fitted(steps: Sequence[EngineStep]) -> dict[str, float]:
    after = np.array([step.after_ns / 1e9 for step in steps])
    before = np.array([host_s(step) for step in steps]) - after
    return {
        **_weights(BEFORE, before_columns(steps), before),
        **_weights(AFTER, after_columns(steps), after),
    }


def _weights(names: Sequence[str], columns: Floats, seconds: Floats) -> dict[str, float]:
    scale = columns.max(axis=0).clip(1e-9)
    weights, _ = nnls(columns / scale, seconds)
    found = [rounded(float(weight)) for weight in weights / scale]
    return dict(zip(names, found, strict=True))


def predicted_s(steps: Sequence[EngineStep], weights: Mapping[str, float]) -> Floats:
    """What the engine takes beside each step, by such weights (the fields of `EngineHost`)."""
    before = before_columns(steps) @ np.array([weights[name] for name in BEFORE])
    after = after_columns(steps) @ np.array([weights[name] for name in AFTER])
    return np.asarray(before + after)


def host_s(step: EngineStep) -> float:
    """What a step of the engine takes beside the step that is measured alone."""
    return step.period_s - step.step_s


def before_columns(steps: Sequence[EngineStep]) -> Floats:
    """`[steps, 4]`, in the order of BEFORE: one, sequences (prompts under way included), whether
    there are prompts, prompts under way. Not token rows: to stage one takes 0.1 us, and what goes
    with many is that their prompts begin on copies of pages, which is not so of all workloads."""
    rows = [(1, s.decodes + s.filling, s.chunks > 0, s.filling) for s in steps]
    return np.array(rows, np.float64)


def after_columns(steps: Sequence[EngineStep]) -> Floats:
    """`[steps, 3]`, in the order of AFTER: one, sequences that decode, prompts under way."""
    return np.array([(1, step.decodes, step.filling) for step in steps], np.float64)


def _usual_s(steps: Sequence[EngineStep]) -> Floats:
    """Of each step, the median of those with prompts, or of those without."""
    seconds, prompts = np.array([(host_s(step), step.chunks > 0) for step in steps]).T
    usual: Floats = np.zeros_like(seconds)
    for kind in np.unique(prompts):
        usual[prompts == kind] = np.median(seconds[prompts == kind])
    return usual


def _near(steps: Sequence[EngineStep], usual_s: Floats) -> list[EngineStep]:
    """Those that took no more than FAR times what is usual of them."""
    return [s for s, usual in zip(steps, usual_s, strict=True) if host_s(s) <= FAR * usual]
