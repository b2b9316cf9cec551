"""A steady load for one engine: what the engine costs on the host is seen under it.

So many requests are inside, and one that ends is followed by another at once. Half of those that
follow go on with the dialogue that has just been answered, the others begin one, and all begin with
one of a few definitions: chunks come in at random, prompts hit the cache, windows are handed over.
It is no workload of anybody's: no prediction is judged by it.

The engine is advanced in the caller's thread, and requests are handed in between its steps, where
no time is taken.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from calibrate.engine.engine import Engine
from calibrate.engine.executor import Executor, StepPlan, Tokens
from calibrate.engine.memory.free import Copy
from calibrate.engine.memory.pages import Piece
from calibrate.engine.requests import Answer, Request, State
from calibrate.shapes import EngineStep

DEFINITIONS, DEFINITION_BLOCKS = 4, 24
FIRST, LATER, ANSWER = (64, 512), (16, 64), (40, 400)
"""Tokens of a dialogue's first message, of each later one, and of an answer; drawn evenly."""
LONGEST = 3000
"""Tokens of a history that is not gone on with."""
GOES_ON = 0.5
FULL = 0.9
"""Of the requests inside, the share that decodes when measuring begins."""


class Timed(Executor, Protocol):
    """An executor that knows what its last step took."""

    device_ns: int
    """From launch to tokens."""


class Watched:
    """An executor, and the last step that it ran."""

    def __init__(self, inner: Timed) -> None:
        self.inner = inner
        self.plan: StepPlan | None = None
        self.ended = 0
        """When its tokens were there, in ns of `time.perf_counter_ns`."""

    def run(self, plan: StepPlan) -> Tokens:
        """The inner one's tokens."""
        self.plan = plan
        tokens = self.inner.run(plan)
        self.ended = time.perf_counter_ns()
        return tokens

    def copy(self, copies: Sequence[Copy]) -> None:
        """The inner one's."""
        self.inner.copy(copies)


@dataclass
class Dialogue:
    """A dialogue whose last message is answered."""

    definition: int
    stream: int
    """Of its history."""
    history: NDArray[np.int32]
    answer: Answer

    @property
    def text(self) -> NDArray[np.int32]:
        """The history with what has been answered."""
        return np.concatenate([self.history, np.array(self.answer.tokens, np.int32)])


class SteadyLoad:
    """Keeps an engine busy, whose steps `watched` runs."""

    def __init__(self, engine: Engine, watched: Watched, vocabulary: int) -> None:
        self.engine, self._watched, self._vocabulary = engine, watched, vocabulary
        self._draw = np.random.default_rng(20)
        self._block = 1 << engine.world.engine.limits.shift
        size = DEFINITION_BLOCKS * self._block
        self._definitions = [self._words(size, size) for _ in range(DEFINITIONS)]
        self._open: list[Dialogue] = []
        self._streams = DEFINITIONS

    def run(self, requests: int, seconds: float) -> list[EngineStep]:
        """The steps of so many seconds with so many requests inside, once nearly all decode; they
        are waited for as long again, at most."""
        end = time.perf_counter() + seconds
        while len(self.engine.running) < FULL * requests and time.perf_counter() < end:
            self._step(requests)
        found = []
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            step = self._step(requests)
            if step is not None:
                found.append(step)
        return found

    def close(self) -> None:
        """Everybody leaves; nothing is left behind."""
        for dialogue in self._open:
            self.engine.door.cancel(dialogue.answer)
        self.engine.door.close()
        self.engine.run()
        self.engine.mirror.check()

    def _step(self, requests: int) -> EngineStep | None:
        """None if the engine had only waited."""
        self._follow(requests)
        self._watched.plan = None
        begin = time.perf_counter_ns()
        self.engine.advance()
        end = time.perf_counter_ns()
        plan = self._watched.plan
        if plan is None:
            return None
        step_s, counts = self._watched.inner.device_ns / 1e9, (plan.filling, len(plan.chunks))
        after = end - self._watched.ended
        decodes, rows = len(plan.decodes), plan.batch.rows
        return EngineStep((end - begin) / 1e9, step_s, decodes, *counts, rows, after)

    def _follow(self, requests: int) -> None:
        """As many are inside as shall be."""
        ended = [d for d in self._open if d.answer.state is not State.OPEN]
        self._open = [d for d in self._open if d.answer.state is State.OPEN]
        while len(self._open) < requests:
            before = ended.pop() if ended else None
            if before is None or len(before.text) > LONGEST or self._draw.random() > GOES_ON:
                self._begin()
            else:
                history = np.concatenate([before.text, self._words(*LATER)])
                self._submit(before.definition, before.stream, history)

    def _begin(self) -> None:
        self._streams += 1
        definition = int(self._draw.integers(DEFINITIONS))
        self._submit(definition, self._streams, self._words(*FIRST))

    def _submit(self, definition: int, stream: int, history: NDArray[np.int32]) -> None:
        blocks = len(history) // self._block
        path = (Piece(definition, DEFINITION_BLOCKS), Piece(stream, blocks))
        tokens = np.concatenate([self._definitions[definition], history])
        request = Request(tokens, int(self._draw.integers(*ANSWER)), path)
        answer = self.engine.door.submit(request)
        self._open.append(Dialogue(definition, stream, history, answer))

    def _words(self, least: int, most: int) -> NDArray[np.int32]:
        count = int(self._draw.integers(least, most + 1))
        return self._draw.integers(0, self._vocabulary, count).astype(np.int32)
