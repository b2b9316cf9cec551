"""Runs steps: eagerly, or on a GPU as CUDA graphs that are captured once for each shape of step.

A step's rows are padded to a shape (`steps.step.padded_rows`). The head is a graph of its own, by
the number of sequences that get a token.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from kernels.common.device import capture
from kernels.common.schedule import DecodePlan
from kernels.model.head import Head
from kernels.model.model import KaijuModel
from kernels.model.steps.cache import KVCache
from kernels.model.steps.step import Draws, Shape, Step, StepInputs, padded_rows
from kernels.model.steps.visible import Plans, make_plans

DECODE_SHAPES = (16, 64, 128, 256, 512)
MOST_CHUNKS = 16


def shape_of(step: Step) -> Shape:
    """The shape that a step is run as."""
    rows, decodes = padded_rows(step.rows), len(step.decodes.tokens)
    if decodes > DECODE_SHAPES[-1] or len(step.chunks) > MOST_CHUNKS:
        raise ValueError(
            f"step: {decodes} decodes and {len(step.chunks)} chunks, must be "
            f"{DECODE_SHAPES[-1]} and {MOST_CHUNKS} at most"
        )
    room = min(n for n in DECODE_SHAPES if n >= decodes) if decodes else 0
    shape = Shape(rows, min(room, rows), MOST_CHUNKS if step.chunks else 0)
    if step.samples > shape.samples:
        raise ValueError(f"step: gives {step.samples} tokens, must give {shape.samples} at most")
    return shape


class Result(NamedTuple):
    """What a step gave, on the host: for each sampled sequence, in order."""

    tokens: NDArray[np.int32]
    """`[samples]`."""
    metrics: NDArray[np.float32] | None
    """`[samples, heads]`, probabilities of the classifier's heads; None without a classifier."""


@dataclass(frozen=True)
class Captured:
    """Work of a fixed shape: what it reads, how it is run, and what must live as long: a graph
    holds addresses only."""

    inputs: StepInputs
    run: Callable[[], object]
    plans: dict[str, Plans]


class Staged(NamedTuple):
    """A step whose integers lie ready on the host."""

    layers: Captured
    head: Callable[[], object] | None
    """Runs the head; None where no sequence gets a token."""
    samples: int
    turn: int
    """Which of the two sets of integers."""


class Runner:
    """A model with its cache, ready for steps of up to `rows` rows."""

    def __init__(
        self, model: KaijuModel, cache: KVCache, rows: int, head: Head | None = None, *,
        graphs: bool | None = None,
    ) -> None:  # fmt: skip
        """`graphs`: capture CUDA graphs; by default on a GPU."""
        self.model, self.cache, self.rows = model, cache, rows
        self.head = head or Head(model)
        self.graphs = model.device.type == "cuda" if graphs is None else graphs
        self.work = model.make_work(padded_rows(rows))
        self._launched: Staged | None = None
        self._layers: dict[Shape, Captured] = {}
        self._heads: dict[int, Callable[[], object]] = {}
        self._scratch: dict[tuple[int, ...], DecodePlan] = {}
        if self.graphs:
            # One stream for all captures: the products' workspace is the stream's.
            self._stream = torch.cuda.Stream(model.device)
            self._pool = torch.cuda.graph_pool_handle()

    @torch.no_grad()
    def run(self, step: Step, draws: Draws | None = None) -> Result:
        """One step, from the host's integers to the tokens on the host; waits for them.

        Raises ValueError for a step that is too large.
        """
        staged = self.stage(step, draws)
        self.launch(staged)
        return self.finish(staged)

    @torch.no_grad()
    def stage(self, step: Step, draws: Draws | None = None) -> Staged:
        """The host's part of a step: an engine does it while the step before runs."""
        layers, samples = self.prepare(step), step.samples
        head = self._head(padded_rows(samples)) if samples else None
        return Staged(layers, head, samples, layers.inputs.fill(step, draws))

    @torch.no_grad()
    def launch(self, staged: Staged, sent: Callable[[], None] | None = None) -> None:
        """Queue a step on the device. `sent` is called between the copy of its integers and its
        kernels: measurements mark there where the device's part begins. A step that was staged
        while another ran is launched before a third is staged."""
        self._launched = staged
        staged.layers.inputs.send(staged.turn)
        if sent is not None:
            sent()
        staged.layers.run()
        if staged.head is not None:
            staged.head()

    def finish(self, staged: Staged) -> Result:
        """Wait for the step that was launched last; its results."""
        assert staged is self._launched, "results are fetched before the next is launched"
        if self.model.device.type == "cuda":
            torch.cuda.current_stream(self.model.device).synchronize()
        return Result(*self.head.results(padded_rows(staged.samples), staged.samples))

    def release(self) -> None:
        """Give up all graphs; the next step of each shape is captured anew. Ranks do so before they
        part: a communicator cannot be destroyed while a graph holds one of its sums."""
        self._launched = None
        self._layers.clear()
        self._heads.clear()
        if self.model.device.type == "cuda":
            torch.cuda.synchronize(self.model.device)

    @torch.no_grad()
    def prepare(self, step: Step) -> Captured:
        """What runs such a step; captured now if it is the first of its shape."""
        if step.rows > self.rows:
            raise ValueError(f"step: has {step.rows} rows, must have {self.rows} at most")
        shape = shape_of(step)
        if shape not in self._layers:
            self._layers[shape] = self._make(shape)
        return self._layers[shape]

    def _make(self, shape: Shape) -> Captured:
        model = self.model
        inputs = StepInputs(shape, model.config, model.device)
        plans = {kind: self._lend(p) for kind, p in make_plans(model.config, inputs).items()}

        def forward() -> None:
            self.head.take(inputs)
            self.head.put_tokens(inputs["tokens"])
            model.forward(inputs, plans, self.cache, self.work)

        return Captured(inputs, self._captured(forward), plans)

    def _lend(self, plans: Plans) -> Plans:
        """The same plan, its room for parts shared by all plans of that size: only one is in use at
        a time."""
        if plans.decode is None:
            return plans
        mine = self._scratch.setdefault(tuple(plans.decode.mass.shape), plans.decode)
        shared = plans.decode._replace(partial=mine.partial, mass=mine.mass)
        return plans._replace(decode=shared)

    def _head(self, size: int) -> Callable[[], object]:
        if size not in self._heads:
            with self.head.kept():
                self._heads[size] = self._captured(lambda: self.head.forward(self.work, size))
        return self._heads[size]

    def _captured(self, work: Callable[[], object]) -> Callable[[], object]:
        """The work as a graph. It is run once before: to compile, and since what it allocates on
        first use must not lie in a graph's memory."""
        if not self.graphs:
            return work
        torch.cuda.synchronize(self.model.device)
        with torch.cuda.stream(self._stream):
            work()
        torch.cuda.synchronize(self.model.device)
        with torch.cuda.stream(self._stream):
            return capture(work, self._pool).replay
