"""The search's generator on a model: sequences on the paged cache, decoded by the runner's steps.

A sequence is its pages and its newest token, whose K and V the next step writes. A prompt is
prefilled but for its last token, so that the candidates of the first round differ from their first
token on. Random numbers are the sequence's own: a fork draws a new seed for each candidate from its
parent's, and the number of a token in its sequence is the step.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from kernels.model.guided.beam import Decoded
from kernels.model.guided.classifier import HeadNames
from kernels.model.steps.runner import Result
from kernels.model.steps.sequences import SequenceKV, SequenceStore, step_of
from kernels.model.steps.step import Draws, Ints, Step


class StepRunner(Protocol):
    """What runs a step: `kernels.model.steps.runner.Runner`, whose head has a classifier."""

    rows: int
    """Rows of a step at most."""

    def run(self, step: Step, draws: Draws | None = None) -> Result:
        """Tokens and metrics of the step's sampled rows."""


@dataclass
class Live:
    """A sequence: everything but its newest token is in the cache."""

    kv: SequenceKV
    """Its pages."""
    newest: int
    """The token that the next step reads."""
    seed: int
    """Of its random numbers."""


class PagedGenerator:
    """`kernels.model.guided.beam.Generator` on a model.

    `temperature` 0 is greedy: all candidates are then the same. Raises NoPages when pages are short
    and ValueError for a step that is too large; neither loses a page.
    """

    def __init__(
        self, runner: StepRunner, store: SequenceStore, heads: HeadNames, *,
        end_tokens: Iterable[int] = (), temperature: float = 1.0,
    ) -> None:  # fmt: skip
        self._runner, self._store, self._heads = runner, store, heads
        self._end_tokens, self._temperature = frozenset(end_tokens), temperature
        self._live: dict[int, Live] = {}
        self._last = 0

    @property
    def heads(self) -> HeadNames:
        """Of the classifier."""
        return self._heads

    def start(self, prompt: Ints, seed: int = 0) -> int:
        """A sequence that holds a prompt of at least one token, prefilled but for the last."""
        if len(prompt) < 1:
            raise ValueError("prompt: is empty, must have a token")
        kv = self._store.new()
        try:
            for piece in _pieces(prompt[:-1], self._runner.rows):
                self._runner.run(step_of(self._store.config, [], [(kv, piece, False)]))
                kv.advance(len(piece))
        except BaseException:
            kv.free()
            raise
        return self._add(Live(kv, int(prompt[-1]), seed))

    def fork(self, sequences: Sequence[int], count: int) -> list[list[int]]:
        """As `Generator.fork`."""
        children: list[Live] = []
        try:
            for parent in (self._live[s] for s in sequences):
                for candidate in range(count):
                    seed = child_seed(parent.seed, candidate)
                    children.append(Live(parent.kv.fork(), parent.newest, seed))
        except BaseException:
            for child in children:
                child.kv.free()
            raise
        numbers = [self._add(child) for child in children]
        return [numbers[i : i + count] for i in range(0, len(numbers), count)]

    def decode(self, sequences: Sequence[int], steps: int) -> Decoded:
        """As `Generator.decode`. A sequence that has reached its end takes part in no step more."""
        tokens: list[list[int]] = [[] for _ in sequences]
        metrics = np.zeros((len(sequences), len(self._heads)), np.float32)
        running = list(range(len(sequences)))
        for _ in range(steps):
            result = self._step([self._live[sequences[i]] for i in running])
            if result.metrics is None:
                raise ValueError("runner: its head has no classifier")
            metrics[running] = result.metrics
            for i, token in zip(running, result.tokens.tolist(), strict=True):
                tokens[i].append(token)
            running = [i for i in running if tokens[i][-1] not in self._end_tokens]
            if not running:
                break
        ended = [each[-1] in self._end_tokens for each in tokens]
        return Decoded(tokens, ended, torch.from_numpy(metrics))

    def free(self, sequences: Sequence[int]) -> None:
        """As `Generator.free`."""
        for sequence in sequences:
            self._live.pop(sequence).kv.free()

    def _step(self, live: Sequence[Live]) -> Result:
        """One more token of each."""
        count = len(live)
        draws = Draws(
            np.full(count, self._temperature, np.float32),
            np.array([each.seed for each in live], np.int64),
            np.array([each.kv.length for each in live], np.int32),
        )
        step = step_of(self._store.config, [(each.kv, each.newest) for each in live])
        result = self._runner.run(step, draws)
        for each, token in zip(live, result.tokens.tolist(), strict=True):
            each.kv.advance(1)
            each.newest = token
        return result

    def _add(self, live: Live) -> int:
        self._last += 1
        self._live[self._last] = live
        return self._last


def _pieces(tokens: Ints, most: int) -> list[Ints]:
    """A prompt in chunks of at most so many tokens."""
    return [tokens[i : i + most] for i in range(0, len(tokens), most)]


def child_seed(seed: int, candidate: int) -> int:
    """Another seed for each candidate of each parent (Knuth's multiplier, mod 2^63)."""
    return (seed * 6364136223846793005 + 2 * candidate + 1) % (1 << 63)
