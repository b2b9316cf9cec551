"""How long it will take: the simulator's roofline says it before anything is measured.

While the job runs, the estimate is scaled by what has been measured (`calibrate.measure.pace`).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from calibrate.design.item import StepItem
from calibrate.shapes import StepShape
from kaiju_sim.catalog.gpus import Gpu
from kaiju_sim.catalog.models import Model
from kaiju_sim.steptime.curves import Curves, decode_ns, fixed_ns, prefill_ns
from kaiju_sim.steptime.roofline import Rank, roofline_curves, usual_efficiency

COMPUTE, MEMORY = 0.6, 0.75
"""Shares of the peaks that our kernels reach in a whole step, about."""
HOST_S = 0.5e-3
PREPARE_S = 0.06
"""Tables, and now and then a graph to capture."""
OPERATOR_S = 0.12
OPEN_S = 30.0
"""Weights, graphs and kernels from a warm cache."""
MAX_ROWS, MAX_SEQS = 8192, 8192
WARM_UP, LEAST, USUAL, MOST = 1, 5, 10, 25
"""Repetitions of a shape: not counted, at least, usually, at most."""


@dataclass(frozen=True)
class Estimate:
    """Expected times of one model on one kind of GPU."""

    curves: Curves
    window: int

    def step_s(self, shape: StepShape) -> float:
        """One step."""
        near, decodes = shape.window(self.window), len(shape.decodes)
        decode = decode_ns(self.curves, shape.context, near, decodes)
        prefill = prefill_ns(self.curves, shape.pairs, shape.near(self.window))
        return (fixed_ns(self.curves, shape.rows, shape.seqs) + decode + prefill) * 1e-9

    def total_s(self, items: Iterable[StepItem], repetitions: int = LEAST) -> float:
        """One visit to each."""
        return sum(visit_s(self.step_s(item.shape), repetitions) for item in items)


def visit_s(step_s: float, repetitions: int) -> float:
    """Preparing a shape, warming up, and so many repetitions of a step of `step_s`."""
    return PREPARE_S + (WARM_UP + repetitions) * step_s


def estimate_for(gpu: Gpu, model: Model, tensor_parallel: int) -> Estimate:
    """By roofline."""
    rank = Rank(gpu, model, tensor_parallel, usual_efficiency(COMPUTE, MEMORY))
    window = model.window if model.window is not None else 2**40
    return Estimate(roofline_curves(rank, HOST_S, MAX_ROWS, MAX_SEQS), window)
