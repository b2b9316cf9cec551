"""Steps against the curves, and the engine's own time between them, by kind of step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrate.fidelity.outcome import Ints, Outcome
from calibrate.fidelity.serve.fake import DECODE, MIXED, PREFILL, Distortion
from calibrate.fidelity.serve.recorder import Steps, column, predicted
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
    """The engine's own time beside it."""


def step_times(runs: Sequence[tuple[Outcome, Steps]], device: Curves, full: Curves) -> StepTimes:
    """What all runs' steps took, and what the curves say."""
    steps = np.concatenate([steps for _, steps in runs])
    rows, decodes = column(steps, "rows"), column(steps, "decodes")
    return StepTimes(
        kind=np.where(rows == 0, 0, np.where(decodes > 0, 1, 2)),
        took=column(steps, "device"),
        device=predicted(device, steps),
        full=predicted(full, steps),
        gap=np.concatenate([gaps(outcome, steps) for outcome, steps in runs]),
    )


def gaps(outcome: Outcome, steps: Steps) -> Ints:
    """The engine's own time for each step: since the step before ended (or, where nobody was there
    any more, since somebody came) until its tokens were there, but for what its kernels took."""
    end = column(steps, "end")
    arrivals = np.sort(outcome.arrival[outcome.arrival >= 0])
    ends = np.sort(outcome.end[outcome.end >= 0])
    before = np.concatenate([[-1], end[:-1]])
    came = np.searchsorted(arrivals, before, "right")
    is_idle = came == np.searchsorted(ends, before, "right")
    following = np.append(arrivals, before[-1:])[np.minimum(came, arrivals.size)]
    return np.asarray(end - np.where(is_idle, following, before) - column(steps, "device"))


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
    }  # fmt: skip


def measured_steps(rows: Sequence[Mapping[str, Any]]) -> Distortion:
    """An engine whose steps are as long as they were, on average of their kind; its own work takes
    as long as the profile says."""
    return Distortion({row["kind"]: 1 / (1 + row["bias"]) for row in rows})


def measured_host(rows: Sequence[Mapping[str, Any]]) -> Distortion:
    """The same, with its own work as long as it was on average: by a factor on what the profile
    says, or, where that says none, the same for each step."""
    known = {row["kind"]: row["predicted_host_s"] for row in rows}
    factors = {row["kind"]: row["host_s"] / s for row in rows if (s := known[row["kind"]]) > 0}
    more = {row["kind"]: row["host_s"] * 1e9 for row in rows if not known[row["kind"]] > 0}
    return Distortion(measured_steps(rows).step, factors, more)
