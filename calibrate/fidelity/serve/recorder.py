"""Notes what each step took and all that its predicted time hangs on."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrate.engine.clock import Clock
from calibrate.engine.executor import Executor, StepPlan
from kaiju_sim.engine.policy.pacing import Batch, attention_ns
from kaiju_sim.steptime.curves import Curves, after_ns, decode_ns, fixed_ns, step_ns

COLUMNS = (
    "at", "begin", "end", "decodes", "chunks", "rows", "pairs", "near", "peak", "near_peak",
    "filling", "context", "window", "copies", "device",
)  # fmt: skip
"""Of a step: when policy decided it, when its plan was handed over, and when its tokens were there
(ns); its decodes; its
chunks, their new tokens and query-key pairs (`pacing.Batch`); prompts under way; sums of contexts;
pages copied before it; of its time, from launch to tokens (ns), which is what the calibration job
measures of a step. The rest is the engine's own."""
Steps = NDArray[np.int64]
"""`[steps, columns]`."""


class Recorder:
    """Another executor, whose steps are noted."""

    def __init__(self, inner: Executor, clock: Clock) -> None:
        self._inner: Any = inner
        self._clock = clock
        self._rows: list[tuple[int, ...]] = []

    def run(self, plan: StepPlan) -> Any:
        """The inner one's tokens."""
        begin = self._clock.now_ns()
        tokens = self._inner.run(plan)
        end, b = self._clock.now_ns(), plan.batch
        device = getattr(self._inner, "device_ns", 0) or end - begin
        self._rows.append(
            (plan.at, begin, end, b.decodes, len(plan.chunks), b.rows, b.pairs, b.near, b.peak,
             b.near_peak, plan.filling, plan.context, plan.window, len(plan.copies), device)
        )  # fmt: skip
        return tokens

    def copy(self, copies: Any) -> None:
        """The inner one's."""
        self._inner.copy(copies)

    def steps(self, start_ns: int) -> Steps:
        """What was noted, times from `start_ns`."""
        steps = np.array(self._rows, np.int64).reshape(-1, len(COLUMNS))
        steps[:, :3] -= start_ns
        return steps


def column(steps: Steps, name: str) -> Steps:
    """One column."""
    return np.asarray(steps[:, COLUMNS.index(name)])


def predicted(curves: Curves, steps: Steps) -> Steps:
    """What the curves say of each step, in ns, by the functions of the simulator's loops."""
    return np.array([_predicted(curves, *row[3:13]) for row in steps.tolist()], np.int64)


def predicted_after(curves: Curves, steps: Steps) -> Steps:
    """The same of what lies between a step's tokens and the next step."""
    rows = zip(column(steps, "decodes").tolist(), column(steps, "filling").tolist(), strict=True)
    return np.array([after_ns(curves, *row) for row in rows], np.int64)


def _predicted(
    curves: Curves, decodes: int, chunks: int, rows: int, pairs: int, near: int, peak: int,
    near_peak: int, filling: int, context: int, window: int,
) -> int:  # fmt: skip
    batch = Batch(rows, pairs, near, peak, near_peak, decodes)
    fixed = fixed_ns(curves, rows + decodes, decodes + filling, filling)
    decode = decode_ns(curves, context, window, decodes) if decodes else 0.0
    return step_ns(fixed, decode, attention_ns(curves, batch, 0))
