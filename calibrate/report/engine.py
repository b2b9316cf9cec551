"""The serving engine's own time between two steps: measured, and as the profile has it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from calibrate.fit.host import host_s, predicted_s
from calibrate.fit.read import engine_steps
from calibrate.samples import Row
from kaiju_sim.steptime.part import EngineHost
from kaiju_sim.steptime.profile import Profile

US = 1e6


def engine_lines(rows: Sequence[Row], profile: Profile | None) -> dict[str, Any] | None:
    """By requests inside; None where the engine was not measured."""
    if not rows:
        return None
    fit = None if profile is None else profile.engine_host
    ordered = sorted(rows, key=lambda row: row["requests"])
    return {
        "fit": None if fit is None else fit.model_dump(),
        "lines": [_line(row, fit) for row in ordered if row["period_s"]],
    }


def _line(row: Row, fit: EngineHost | None) -> dict[str, Any]:
    """Medians, of steps without prompts and of those with some."""
    steps = list(engine_steps(row))
    host = np.array([host_s(step) for step in steps])
    has_prompts = np.array([step.chunks > 0 for step in steps])
    period = np.array([step.period_s for step in steps])
    predicted = None if fit is None else float(predicted_s(steps, fit.model_dump()).mean())
    return {
        "requests": row["requests"],
        "steps": len(steps),
        "with_prompts": int(has_prompts.sum()),
        "decode_us": _median(host[~has_prompts]),
        "prompts_us": _median(host[has_prompts]),
        "mean_us": float(host.mean()) * US,
        "fitted_us": None if predicted is None else predicted * US,
        "share": float(host.sum() / period.sum()),
    }


def _median(seconds: np.ndarray[Any, Any]) -> float | None:
    return float(np.median(seconds)) * US if seconds.size else None
