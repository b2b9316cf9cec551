"""An executor that stages steps for Kaiju 13B as `ModelExecutor` does, and runs nothing: its
integers are put in place, on the host, and stay there."""

from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.engine_host.decoding import Run
from calibrate.gpu.serve.executor import ModelExecutor
from calibrate.models import config_of
from kaiju_sim.catalog.models import find_model
from kernels.model.steps.runner import Result, shape_of
from kernels.model.steps.step import Draws, Shape, Step, StepInputs


class StagingRunner:
    """As much of a runner as an executor needs; without a device."""

    def __init__(self) -> None:
        config = config_of(find_model("kaiju-13b"))
        self.model = SimpleNamespace(config=config)
        self.cache = SimpleNamespace(config=config)
        self._inputs: dict[Shape, StepInputs] = {}

    def stage(self, step: Step, draws: Draws | None = None) -> int:
        """Fills the integers in. How many tokens there will be."""
        shape = shape_of(step)
        if shape not in self._inputs:
            self._inputs[shape] = StepInputs(shape, self.model.config, "cpu")
        self._inputs[shape].fill(step, draws)
        return step.samples

    def launch(self, staged: int) -> None:
        """Nothing is run."""

    def finish(self, staged: int) -> Result:
        """Made-up tokens."""
        return Result(np.full(staged, 7, np.int32), None)


def make_staging() -> Run:
    """An executor's `run`."""
    runner: Any = StagingRunner()
    return ModelExecutor(runner).run
