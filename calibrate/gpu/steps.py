"""Whole steps behind the seam, on one GPU or on several.

Each repetition does what an engine does between one step and the next: put the step's integers in
place, launch the graphs, wait for the tokens. `wall_s` is all of that, `gpu_s` what lies between
two GPU events after the integers. Staging, to fill the integers in on the host, is outside of both:
what it takes is measured with the serving engine's loop (`gpu.serve.bench`).
"""

import time
import zlib
from typing import Protocol

from calibrate.gpu.engine import MAX_ROWS, Engine
from calibrate.gpu.stopwatch import Stopwatch
from calibrate.measure.seam import Timing
from calibrate.shapes import Limits, StepShape
from kernels.model.steps.runner import DECODE_SHAPES
from kernels.model.steps.step import Step


class Others(Protocol):
    """The other ranks of a model on several GPUs; nobody on one."""

    def prepare(self, shape: StepShape, seed: int) -> None:
        """Have them prepare a step."""

    def step(self) -> None:
        """Have them run it once."""


class TorchSteps:
    """`calibrate.measure.seam.StepBench`."""

    def __init__(self, engine: Engine, others: Others | None = None) -> None:
        self._engine, self._others = engine, others
        self._step: Step | None = None

    def prepare(self, shape: StepShape) -> None:
        """Tables, and the graph if it is the first of its shape (it is run once)."""
        seed = seed_of(shape)
        if self._others is not None:
            self._others.prepare(shape, seed)
        self._step = prepare_step(self._engine, shape, seed)

    def run(self, shape: StepShape) -> Timing:
        """The step that was prepared last, once more."""
        assert self._step is not None, "prepare comes first"
        runner = self._engine.runner
        staged = runner.stage(self._step)
        watch = Stopwatch()
        at = time.perf_counter()
        if self._others is not None:
            self._others.step()
        runner.launch(staged, sent=watch.start)
        watch.stop()
        runner.finish(staged)
        wall_s = time.perf_counter() - at
        return Timing(wall_s, watch.seconds())

    def kv_blocks(self) -> dict[str, int]:
        """The engine's pools."""
        return self._engine.kv_blocks()

    def limits(self) -> Limits:
        """Of the runner and the model."""
        return Limits(MAX_ROWS, DECODE_SHAPES[-1], self._engine.config.max_context)

    def close(self) -> None:
        """The engine's memory goes with the engine."""
        self._step = None


def seed_of(shape: StepShape) -> int:
    """Of the page tables: the same for the same shape, in every process."""
    return zlib.crc32(repr(shape).encode())


def prepare_step(engine: Engine, shape: StepShape, seed: int) -> Step:
    """The step of a shape, ready to run: it has been, which captures what is new of it."""
    step = engine.maker.step(shape, seed)
    engine.runner.run(step)
    return step
