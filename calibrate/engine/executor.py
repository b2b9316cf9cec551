"""What runs a step, as a seam: the GPU, or a fake that only lets time pass."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from calibrate.engine.clock import Clock, FakeClock
from calibrate.engine.memory.free import Copy
from calibrate.engine.memory.host_tier import ring_pages
from kaiju_sim.engine.limits import Limits
from kaiju_sim.engine.policy.pacing import Batch, attention_ns
from kaiju_sim.steptime.curves import Curves, after_ns, decode_ns, fixed_ns, step_ns


class Draw(NamedTuple):
    """How a token is drawn."""

    temperature: float
    seed: int
    made: int
    """Number of the token in its answer."""


Ints = NDArray[np.int64]


class DecodeRow(NamedTuple):
    """A sequence that decodes."""

    slot: int
    """Its row of the page tables."""
    token: int
    """Its newest token."""
    keys: int
    """Tokens that it sees, the newest included."""
    draw: Draw


@dataclass(frozen=True)
class Decodes:
    """Sequences that decode, as columns; read while the step is run, not kept."""

    slots: Ints
    tokens: Ints
    keys: Ints
    temperatures: NDArray[np.float64]
    seeds: Ints
    made: Ints

    def __len__(self) -> int:
        return len(self.slots)

    def __iter__(self) -> Iterator[DecodeRow]:
        """One by one: for fakes, and where time does not matter."""
        draws = map(Draw, *(x.tolist() for x in (self.temperatures, self.seeds, self.made)))
        columns = (self.slots.tolist(), self.tokens.tolist(), self.keys.tolist(), draws)
        return map(DecodeRow, *columns)


def no_decodes() -> Decodes:
    """Of a step without decodes."""
    none = np.zeros(0, np.int64)
    return Decodes(none, none, none, np.zeros(0), none, none)


class ChunkRows(NamedTuple):
    """A piece of one prompt."""

    slot: int
    tokens: NDArray[np.int32]
    start: int
    """Tokens before it, whose KV is there."""
    draws: Sequence[Draw] = ()
    """How its token is drawn, if it ends its prompt; with candidates, one token for each."""


@dataclass(frozen=True)
class StepPlan:
    """One step: what is computed, and where KV lies and goes."""

    decodes: Decodes
    chunks: Sequence[ChunkRows]
    copies: Sequence[Copy]
    """Pages to copy first, as if one after the other in this order."""
    global_tables: NDArray[np.int32]
    """`[slots, entries]`; read while the step is run, not kept."""
    local_tables: NDArray[np.int32]
    batch: Batch
    """The same as policy decided it."""
    filling: int
    """Prompts under way."""
    context: int
    window: int
    """Sums over running sequences: contexts, and contexts up to the window."""
    at: int = 0
    """When policy decided it, in ns of the engine's clock."""

    @property
    def draws(self) -> list[tuple[int, Draw]]:
        """Of each token of the step, in order: row of the page tables, and how it is drawn."""
        draws = [(row.slot, row.draw) for row in self.decodes]
        return draws + [(chunk.slot, draw) for chunk in self.chunks for draw in chunk.draws]


Tokens = Sequence[int] | NDArray[np.int32]
"""Of a step, in the order of its rows."""


class Executor(Protocol):
    """Runs steps, one at a time."""

    def run(self, plan: StepPlan) -> Tokens:
        """Run a step to its end: a token of each decode, then of each prompt that ends (with
        candidates: one of each of them)."""

    def copy(self, copies: Sequence[Copy]) -> None:
        """Copy pages while there is no step to run: those that come from host memory are waited
        for. It may go on beside what follows, but whatever reads the pages finds them there."""


def predicted_after_ns(curves: Curves, plan: StepPlan) -> int:
    """What lies between its tokens and the next step by the curves, as the loops compute it."""
    return after_ns(curves, plan.batch.decodes, plan.filling)


def predicted_ns(curves: Curves, plan: StepPlan) -> int:
    """The step's duration by the simulator's curves, as its loops compute it."""
    batch = plan.batch
    rows, seqs = batch.rows + batch.decodes, batch.decodes + plan.filling
    fixed = fixed_ns(curves, rows, seqs, plan.filling)
    decode = decode_ns(curves, plan.context, plan.window, batch.decodes) if batch.decodes else 0.0
    return step_ns(fixed, decode, attention_ns(curves, batch, 0))


class StepTime(NamedTuple):
    """A step that was run."""

    begin: int
    """When its plan was handed over, in ns of the engine's clock."""
    took: int
    predicted: int
    """By the simulator's curves."""
    decodes: int
    chunks: int
    rows: int
    """New prompt tokens of all chunks."""
    context: int
    """Sum of the running sequences' contexts."""
    pairs: int
    """Query-key pairs of the chunks."""
    copies: int


class TransferTime(NamedTuple):
    """Pages that went to host memory or came from there, together."""

    begin: int
    """When they were handed over, in ns of the engine's clock."""
    took: int
    """ns from the moment at which the way was free for them."""
    load: bool
    """Into HBM; else out of it."""
    blocks: int
    """Pages of the global pool."""
    local_pages: int


def link_ns(limits: Limits, transfer: TransferTime) -> float:
    """How long the same takes on the link that policy reckons with. A window is all the pages of
    its ring there, of which all but one hold something and are copied."""
    windows = transfer.local_pages / ring_pages(limits)
    if transfer.load:
        return transfer.blocks * limits.load_ns + windows * limits.window_load_ns
    return transfer.blocks * limits.store_ns + windows * limits.window_store_ns


class TimedExecutor:
    """Another executor, with what each step took beside what the curves say. What is between one
    step's end and the next one's begin, while there is work, is the engine's own."""

    def __init__(self, inner: Executor, clock: Clock, curves: Curves) -> None:
        self.steps: list[StepTime] = []
        self._inner, self._clock, self._curves = inner, clock, curves

    def run(self, plan: StepPlan) -> Tokens:
        """The inner one's tokens."""
        begin = self._clock.now_ns()
        tokens = self._inner.run(plan)
        took, predicted = self._clock.now_ns() - begin, predicted_ns(self._curves, plan)
        counts = len(plan.decodes), len(plan.chunks), plan.batch.rows, plan.context
        pairs, copies = plan.batch.pairs, len(plan.copies)
        self.steps.append(StepTime(begin, took, predicted, *counts, pairs, copies))
        return tokens

    def copy(self, copies: Sequence[Copy]) -> None:
        """The inner one's."""
        self._inner.copy(copies)


@dataclass
class FakeExecutor:
    """Lets time pass on a fake clock as the curves say, and makes tokens up."""

    clock: FakeClock
    curves: Curves
    token: Callable[[int, int], int] = field(default=lambda slot, made: (slot + made) % 97)
    """From the slot and the number of the token."""

    def run(self, plan: StepPlan) -> list[int]:
        """Nothing is computed."""
        self.clock.advance(predicted_ns(self.curves, plan))
        return [self.token(slot, draw.made) for slot, draw in plan.draws]

    def copy(self, copies: Sequence[Copy]) -> None:
        """There is nothing to copy."""
