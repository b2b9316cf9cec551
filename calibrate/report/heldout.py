"""How far the profile's predictions are from the held-out steps, by the fit's own functions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from calibrate.fit.errors import error_summary, errors_by_kind
from calibrate.fit.features import predicted_s
from calibrate.fit.read import Step, plain_steps, read_samples
from kaiju_sim.catalog.models import Model
from kaiju_sim.steptime.convert import curves_from_profile
from kaiju_sim.steptime.profile import Profile

WORST = 8
BOUNDS = {"median_abs_rel_error": 0.015, "p95_abs_rel_error": 0.04, "bias": 0.003}
"""What the errors of Kaiju 13B on one GPU must stay within."""


def held_out(folder: Path, profile: Profile, model: Model) -> dict[str, Any]:
    """n, median, p95 and bias, of all and by kind of step; every step's times, worst first; how
    many were lent to the fit.

    These steps were measured without the serving engine, and are predicted without it.
    """
    profile = profile.model_copy(update={"engine_host": None})
    samples = read_samples(folder)
    steps = plain_steps(samples, "heldout")
    window = model.window or 0
    most = [max(1, *(getattr(step.shape, n) for step in steps)) for n in ("rows", "seqs")]
    curves = curves_from_profile(profile, most[0], most[1])
    summary = error_summary(curves, steps, window).model_dump()
    kinds = errors_by_kind(curves, steps, window)
    predicted = [predicted_s(curves, step.shape, window) for step in steps]
    return {
        **summary,
        "lent": samples.lent,
        "bounds": BOUNDS,
        "within": all(abs(summary[name]) <= bound for name, bound in BOUNDS.items()),
        "by_kind": {kind: found.model_dump() for kind, found in kinds.items()},
        "steps": _lines(steps, predicted),
    }


def _lines(steps: Sequence[Step], predicted: Sequence[float]) -> list[dict[str, Any]]:
    """Worst first."""
    lines = [_line(*pair) for pair in zip(steps, predicted, strict=True)]
    return sorted(lines, key=lambda line: (-abs(line["error"]), line["id"]))


def _line(step: Step, predicted: float) -> dict[str, Any]:
    shape = step.shape
    return {
        "id": step.id,
        "kind": step.kind,
        "decodes": len(shape.decodes),
        "context": shape.context,
        "new": sum(chunk.new for chunk in shape.chunks),
        "cached": sum(chunk.cached for chunk in shape.chunks),
        "measured_ms": step.wall_s * 1e3,
        "predicted_ms": predicted * 1e3,
        "error": predicted / step.wall_s - 1,
    }
