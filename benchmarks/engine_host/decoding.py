"""The engine's own time in a step in which all sequences decode.

The executor does nothing, or stages the step as it would for a GPU (`staging`); its clock is one
that it moves itself.
"""

import gc
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from calibrate.engine.clock import FakeClock
from calibrate.engine.engine import Engine, Sizes
from calibrate.engine.executor import StepPlan, Tokens
from calibrate.engine.memory.rings import reserve_pages
from calibrate.engine.requests import Request
from kaiju_sim.engine.layout import NEVER
from kaiju_sim.engine.limits import Limits
from kaiju_sim.steptime.curves import Curves

CONTEXT, ANSWER = 8192, 2000
MODEL_CONTEXT = 32768
PROMPTS = (500, 6000)
"""Tokens of a prompt, drawn evenly from this range: sequences cross into new pages at any time."""


Run = Callable[[StepPlan], Tokens]


class Apart:
    """An executor whose time is noted apart from the engine's. A step takes ten milliseconds of
    the fake clock."""

    def __init__(self, clock: FakeClock, inner: Run) -> None:
        self.clock, self.inner = clock, inner
        self.took_ns = 0
        """Of the last step's `run`."""

    def run(self, plan: StepPlan) -> Tokens:
        """The inner one's tokens."""
        begin = time.perf_counter_ns()
        self.clock.advance(10_000_000)
        tokens = self.inner(plan)
        self.took_ns = time.perf_counter_ns() - begin
        return tokens


def nothing(plan: StepPlan) -> NDArray[np.int32]:
    """Computes nothing."""
    count = len(plan.decodes) + sum(len(chunk.draws) for chunk in plan.chunks)
    return np.full(count, 7, np.int32)


def limits_for(sequences: int) -> Limits:
    """Limits as of a 13B model on one H100: pages of 128 tokens, windows of 1,024."""
    return Limits(
        replicas=1, seed=0, policy=0, token_budget=512 + sequences, max_seqs=sequences, shift=7,
        window=1024, windows=sequences + 50, retain=2, prefix_cache=1, cache_generated=1, stride=4,
        ring=64, warm_ns=0, horizon_ns=NEVER, segments=1, segment_ns=0, ttft_ns=NEVER,
        paid_ttft_ns=NEVER, tpot_ns=NEVER, e2e_ns=NEVER, priority=0, queue_limit=NEVER,
        shed_late=0, candidates=1, chunk=1, extra=0,
    )  # fmt: skip


def no_curves() -> Curves:
    """No policy predicts here."""
    none = np.zeros(1)
    rounds = np.zeros(1, np.int64)
    context = np.zeros((5, 1))
    return Curves(1, 1e7, 0.0, none, none, context, context.copy(), rounds, each=False)


def decoding(sequences: int, inner: Run) -> tuple[Engine, Apart]:
    """An engine in which so many sequences decode, and go on to do so."""
    limits, clock = limits_for(sequences), FakeClock()
    executor = Apart(clock, inner)
    blocks = sequences * CONTEXT >> limits.shift
    sizes = Sizes(blocks, reserve_pages(limits), MODEL_CONTEXT, sequences)
    engine = Engine(limits, no_curves(), sizes, executor, clock)
    draw = np.random.default_rng(sequences)
    for prompt in draw.integers(*PROMPTS, sequences):
        engine.door.submit(Request(np.zeros(prompt, np.int32), ANSWER), at=0)
    while len(engine.running) < sequences:
        engine.advance()
    return engine, executor


def step_times(sequences: int, steps: int, inner: Run) -> NDArray[np.float64]:
    """Milliseconds of the engine's own and of its executor, by step: [2, steps]."""
    engine, executor = decoding(sequences, inner)
    gc.collect()
    gc.freeze()
    found = np.zeros((2, steps))
    for i in range(steps):
        begin = time.perf_counter_ns()
        engine.advance()
        took = time.perf_counter_ns() - begin
        found[:, i] = took - executor.took_ns, executor.took_ns
    gc.unfreeze()
    return found / 1e6
