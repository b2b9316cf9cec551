"""Random dialogues with real text, and a made-up model that answers them.

The model is one that a wrong page cannot deceive: the value that it stores for a token hangs on
every value that the token sees, in both pools, and its next token on that value. Drawn tokens hang
on seed and number too, and candidates are judged by the value that the last token was drawn from.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from random import Random
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibrate.engine.beams import Choice
from calibrate.engine.engine import Engine
from calibrate.engine.executor import Draw, FakeExecutor, StepPlan
from calibrate.engine.memory.free import Copy, Pool
from calibrate.engine.memory.pages import Piece
from calibrate.engine.requests import Request
from kaiju_sim.engine.limits import Limits

MS = 1_000_000
VOCABULARY = 97
MOST = 4096
WEIGHTS = np.random.default_rng(5).integers(1, 1 << 63, MOST).astype(np.uint64) | np.uint64(1)


def value_of(token: int, far: NDArray[np.uint64], near: NDArray[np.uint64]) -> np.uint64:
    """What a token stores that sees `far` in the global pool and `near` in the local one."""
    seen = int(np.dot(far, WEIGHTS[: far.size])) + 3 * int(np.dot(near, WEIGHTS[: near.size]))
    mixed = (seen + (token + 1) * 0x9E3779B97F4A7C15) & ((1 << 64) - 1)
    return np.uint64(((mixed ^ (mixed >> 29)) * 0xBF58476D1CE4E5B9) & ((1 << 64) - 1))


def token_of(value: np.uint64, draw: Draw | None = None) -> int:
    """The token that follows."""
    if draw is None or draw.temperature == 0:
        return int(value >> np.uint64(20)) % VOCABULARY
    mixed = (int(value) ^ draw.seed * 0x9E3779B97F4A7C15 ^ draw.made * 0xBF58476D1CE4E5B9) >> 20
    return mixed * 0x94D049BB133111EB % (1 << 64) % VOCABULARY


def score_of(value: np.uint64) -> int:
    """How good a candidate is whose last token was drawn from this."""
    return int(value >> np.uint64(7)) % 1009


class Text:
    """A text and what the model stores for it, in memory that is not paged."""

    def __init__(self, tokens: list[int], window: int) -> None:
        self.tokens: list[int] = []
        self.values = np.zeros(MOST, np.uint64)
        self.window = window
        for token in tokens:
            self.add(token)

    def add(self, token: int) -> None:
        n = len(self.tokens)
        near = self.values[max(0, n + 1 - self.window) : n]
        self.values[n] = value_of(token, self.values[:n], near)
        self.tokens.append(token)

    def copy(self) -> "Text":
        """Another one, which goes on by itself."""
        text = Text([], self.window)
        text.tokens, text.values = list(self.tokens), self.values.copy()
        return text

    @property
    def last(self) -> np.uint64:
        """What its last token stores."""
        return np.uint64(self.values[len(self.tokens) - 1])

    def answer(self, count: int) -> list[int]:
        """So many tokens more."""
        answer = []
        for _ in range(count):
            answer.append(token_of(self.last))
            self.add(answer[-1])
        return answer


class Branch(NamedTuple):
    """A candidate of the search below."""

    score: int
    text: Text
    said: list[int]
    seed: int


def searched(
    request: Request, window: int, candidates: int, chunk: int, cuts: Sequence[int] = ()
) -> list[int]:
    """The answer by beam search on texts. `cuts`: tokens that it had when it was preempted."""
    text, seed, said = Text(request.tokens.tolist(), window), request.seed, list[int]()
    while len(said) < request.most and not request.stops & set(said[-1:]):
        ends = [len(said) - len(said) % chunk + chunk, request.most, *cuts]
        count = min(end for end in ends if end > len(said)) - len(said)
        branches = [branch_of(text, seed, c, request, said, count) for c in range(candidates)]
        best = max(branches, key=lambda branch: branch.score)  # of equals the first
        text, seed, said = best.text, best.seed, best.said
    return said


def branch_of(
    text: Text, parent: int, candidate: int, request: Request, said: list[int], count: int
) -> Branch:
    """A candidate: so many tokens more, or as many as there are to a stop."""
    text, said = text.copy(), list(said)
    seed = (parent * 6364136223846793005 + 2 * candidate + 1) % (1 << 63)
    for _ in range(count):
        score = score_of(text.last)
        said.append(token_of(text.last, Draw(request.temperature, seed, len(said))))
        text.add(said[-1])
        if said[-1] in request.stops:
            break
    return Branch(score, text, said, seed)


class PagedExecutor(FakeExecutor):
    """The model on the engine's pages: takes a fake step's time, and computes the step."""

    def prepare(self, engine: Engine) -> None:
        """Memory for the engine's pages. What was never written there is not zero."""
        limits, mirror = engine.world.engine.limits, engine.mirror
        self.shift, self.window = limits.shift, limits.window
        pages, host = mirror.pages.free.total, mirror.pages.host.free.total
        self.far, far_host = self._memory(pages, 1), self._memory(host, 2)
        if mirror.rings is None:  # local KV lives with the global blocks
            self.near = self._memory(pages, 3)
            self.pools = {
                Pool.GLOBAL: [self.far, self.near], Pool.HOST: [far_host, self._memory(host, 4)]
            }  # fmt: skip
        else:
            rings = mirror.rings
            self.near = self._memory(rings.free.total, 3)
            near_host = self._memory(rings.host.free.total * (rings.ring - 1), 4)
            self.pools = {
                Pool.GLOBAL: [self.far], Pool.HOST: [far_host],
                Pool.LOCAL: [self.near], Pool.HOST_LOCAL: [near_host],
            }  # fmt: skip
        self.copied: Counter[tuple[Pool, Pool]] = Counter()
        self.loaded_at: set[int] = set()
        self.drawn_from: list[np.uint64] = []
        """For each token of the last step: what its row stored."""

    def _memory(self, pages: int, seed: int) -> NDArray[np.uint64]:
        size = (pages, 1 << self.shift)
        return np.random.default_rng(seed).integers(1, 1 << 63, size).astype(np.uint64).ravel()

    def copy(self, copies: Sequence[Copy]) -> None:
        size = 1 << self.shift
        for source, target, of, to in copies:
            for origin, goal in zip(self.pools[of], self.pools[to], strict=True):
                content = origin.reshape(-1, size)[source].copy()
                goal.reshape(-1, size)[target] = content
            self.copied[of, to] += 1
            if of in (Pool.HOST, Pool.HOST_LOCAL):
                self.loaded_at.add(self.clock.now_ns())

    def run(self, plan: StepPlan) -> list[int]:
        super().run(plan)
        self.copy(plan.copies)
        values = [self._row(plan, d.slot, d.token, d.keys - 1) for d in plan.decodes]
        for chunk in plan.chunks:
            for i, token in enumerate(chunk.tokens):
                last = self._row(plan, chunk.slot, int(token), chunk.start + i)
            values += [last] * len(chunk.draws)
        self.drawn_from = values
        pairs = zip(values, plan.draws, strict=True)
        return [token_of(value, draw) for value, (_, draw) in pairs]

    def _row(self, plan: StepPlan, slot: int, token: int, at: int) -> np.uint64:
        """Compute the token at place `at` of a sequence: what it stores."""
        places = np.arange(at + 1)
        offset = places & ((1 << self.shift) - 1)
        far = (plan.global_tables[slot, places >> self.shift] << self.shift) + offset
        near = (plan.local_tables[slot, places >> self.shift] << self.shift) + offset
        first = max(0, at + 1 - self.window)
        value = value_of(token, self.far[far[:at]], self.near[near[first:at]])
        self.far[far[at]] = self.near[near[at]] = value
        return value


class ValueScorer:
    """The candidate wins whose last token was drawn from the best value."""

    def __init__(self, executor: PagedExecutor) -> None:
        self.executor = executor

    def marks(self, rows: Sequence[int]) -> list[int]:
        return [score_of(self.executor.drawn_from[row]) for row in rows]

    def choose(self, groups: Sequence[Sequence[int]]) -> list[Choice]:
        return [Choice(scores.index(max(scores)), is_last=False) for scores in groups]


@dataclass(frozen=True)
class Message:
    """A request and when it comes."""

    at: int
    request: Request
    answer: list[int]
    """What the model will say."""
    order: int
    """In which it was made up."""


Cuts = Mapping[int, Sequence[int]]
"""By order of messages: how long answers were when they were preempted."""


class Crowd:
    """Dialogues with a few characters: shared definitions, histories that grow, swipes, cuts."""

    def __init__(
        self, seed: int, limits: Limits, dialogues: int, span_ns: int, cuts: Cuts | None = None
    ) -> None:
        """The same but for what is said, whatever `cuts` are. They matter with candidates."""
        self.again = partial(Crowd, seed, limits, dialogues, span_ns)
        self.draw, self.limits, self.cuts = Random(seed), limits, cuts or {}
        self.shift = limits.shift
        self.definitions = [self._words(self.draw.randrange(3, 60)) for _ in range(3)]
        self.messages: list[Message] = []
        self.streams = 10
        for _ in range(dialogues):
            self._dialogue(self.draw.randrange(span_ns))
        self.messages.sort(key=lambda message: message.at)

    def with_cuts(self, cuts: Cuts) -> "Crowd":
        """What is said if these answers are cut there: where candidates are judged early."""
        return self.again(cuts) if self.limits.candidates > 1 else self

    def _words(self, count: int) -> list[int]:
        return [self.draw.randrange(VOCABULARY) for _ in range(count)]

    def _stream(self) -> int:
        self.streams += 1
        return self.streams

    def _dialogue(self, at: int) -> None:
        character, persona = self.draw.randrange(3), self._words(self.draw.randrange(12))
        history: list[int] = []
        names = [1 + character, self._stream(), self._stream()]
        for _ in range(self.draw.randrange(1, 6)):
            history += self._words(self.draw.randrange(1, 30))
            if len(history) > 120:  # the oldest is cut: all that follows has moved
                history, names[2] = history[-70:], self._stream()
            before = [len(self.definitions[character]), len(persona)]
            prompt = [*self.definitions[character], *persona, *history]
            while self.draw.random() < 0.2:  # an answer that will be rejected
                self._message(at, prompt, before, [*names, self._stream()])
                at += self.draw.randrange(1000) * MS
            history += self._message(at, prompt, before, names)
            at += self.draw.randrange(2000) * MS

    def _message(
        self, at: int, prompt: list[int], before: list[int], names: list[int]
    ) -> list[int]:
        ends = [sum(before[:1]) >> self.shift, sum(before) >> self.shift, len(prompt) >> self.shift]
        blocks = [ends[0], ends[1] - ends[0], ends[2] - ends[1], 0]
        path = tuple(map(Piece, names, blocks))
        most = 1 if self.draw.random() < 0.1 else self.draw.randrange(1, 50)
        order, tier = len(self.messages), self.draw.randrange(2)
        request = Request(np.array(prompt, np.int32), most, path, seed=order, tier=tier)
        if self.limits.candidates > 1:
            request = replace(request, temperature=1.0)
        answer = self._answer(request, self.cuts.get(order, ()))
        self.messages.append(Message(at, request, answer, order))
        return answer

    def _answer(self, request: Request, cuts: Sequence[int]) -> list[int]:
        p = self.limits
        if p.candidates == 1:
            return Text(request.tokens.tolist(), p.window).answer(request.most)
        return searched(request, p.window, p.candidates, p.chunk, cuts)
