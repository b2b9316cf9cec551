"""Steps against the curves, and the engine's own time between them, by kind of step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrate.fidelity.outcome import Ints, Outcome
from calibrate.fidelity.serve.fake import DECODE, MIXED, PREFILL, Change, Distortion
from calibrate.fidelity.serve.recorder import Steps, column, predicted, predicted_after
from kaiju_sim.steptime.curves import Curves

KINDS = (DECODE, MIXED, PREFILL)


@dataclass(frozen=True)
class StepTimes:
    """All steps of a workload's runs; one element each, in ns."""

    kind: NDArray[np.int64]
    """Index into `KINDS`."""
    took: Ints
    """From launch to tokens."""
    device: Ints
    """By the curves, without the engine's own host time."""
    full: Ints
    """By the curves as the simulator has them."""
    gap: Ints
    """The engine's own time before it: from policy's decision to its tokens, but for `took`."""
    after: Ints
    """The same after it: until policy decides the next step; -1 if nobody was there any more."""
    full_after: Ints
    """By the curves as the simulator has them."""


def step_times(runs: Sequence[tuple[Outcome, Steps]], device: Curves, full: Curves) -> StepTimes:
    """What all runs' steps took, and what the curves say."""
    steps = np.concatenate([steps for _, steps in runs])
    rows, decodes = column(steps, "rows"), column(steps, "decodes")
    return StepTimes(
        kind=np.where(rows == 0, 0, np.where(decodes > 0, 1, 2)),
        took=column(steps, "device"),
        device=predicted(device, steps),
        full=predicted(full, steps),
        gap=column(steps, "end") - column(steps, "at") - column(steps, "device"),
        after=np.concatenate([afters(outcome, steps) for outcome, steps in runs]),
        full_after=predicted_after(full, steps),
    )


def afters(outcome: Outcome, steps: Steps) -> Ints:
    """The engine's own time after each step: until policy decides the next one. -1 where nobody was
    there any more, and after the last."""
    at, end = column(steps, "at"), column(steps, "end")
    arrivals = np.sort(outcome.arrival[outcome.arrival >= 0])
    ends = np.sort(outcome.end[outcome.end >= 0])
    came = np.searchsorted(arrivals, end, "right")
    is_idle = came == np.searchsorted(ends, end, "right")
    is_idle[-1:] = True
    return np.where(is_idle, -1, np.append(at[1:], 0) - end)


def by_kind(workload: str, times: StepTimes) -> list[dict[str, Any]]:
    """A row for each kind of step."""
    return [
        _row(workload, name, times, times.kind == number)
        for number, name in enumerate(KINDS)
        if (times.kind == number).any()
    ]


def _row(workload: str, kind: str, times: StepTimes, mine: NDArray[np.bool_]) -> dict[str, Any]:
    took, device = times.took[mine], times.device[mine]
    error = np.abs(device / took - 1)
    gap = times.gap[mine] * 1e-9
    return {
        "workload": workload, "kind": kind, "n": int(mine.sum()),
        "measured_s": float(took.mean()) * 1e-9, "predicted_s": float(device.mean()) * 1e-9,
        "bias": float(device.sum() / took.sum() - 1),
        "median_abs_rel_error": float(np.median(error)),
        "p95_abs_rel_error": float(np.quantile(error, 0.95)),
        "host_s": float(gap.mean()), "host_p99_s": float(np.quantile(gap, 0.99)),
        "predicted_host_s": float((times.full[mine] - device).mean()) * 1e-9,
        **_after(times, mine & (times.after >= 0)),
    }  # fmt: skip


def _after(times: StepTimes, mine: NDArray[np.bool_]) -> dict[str, float]:
    """Of steps after which there is a next one."""
    if not mine.any():
        return dict.fromkeys(("after_s", "after_p99_s", "predicted_after_s"), 0.0)
    after = times.after[mine] * 1e-9
    return {
        "after_s": float(after.mean()), "after_p99_s": float(np.quantile(after, 0.99)),
        "predicted_after_s": float(times.full_after[mine].mean()) * 1e-9,
    }  # fmt: skip


def measured_steps(rows: Sequence[Mapping[str, Any]]) -> Distortion:
    """An engine whose steps are as long as they were, on average of their kind; its own work takes
    as long as the profile says."""
    return Distortion({row["kind"]: 1 / (1 + row["bias"]) for row in rows})


def measured_host(rows: Sequence[Mapping[str, Any]]) -> Distortion:
    """The same, with its own work as long as it was on average: by a factor on what the profile
    says, or, where that says none, the same for each step."""
    host, after = (_as_measured(rows, name) for name in ("host_s", "after_s"))
    return Distortion(measured_steps(rows).step, host, after)


def _as_measured(rows: Sequence[Mapping[str, Any]], name: str) -> dict[str, Change]:
    changes = {}
    for row in rows:
        known = row[f"predicted_{name}"]
        changes[row["kind"]] = Change(row[name] / known) if known else Change(1, row[name] * 1e9)
    return changes
