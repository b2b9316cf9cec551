"""A generator without a model: a script of tokens and probabilities, and pages that are counted.

It keeps books as a paged cache would: full pages are shared and counted by holder, a last page that
is not full is copied by a fork.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from kernels.model.guided.beam import Decoded
from kernels.model.guided.classifier import HeadNames

PAGE = 4


class Said(NamedTuple):
    """What one candidate of a round says."""

    metrics: Sequence[float]
    tokens: Sequence[int] | None = None
    ended: bool = False


Script = Callable[[int, int, int], Said]
"""By round, number of the root sequence, candidate."""


@dataclass
class Sequence_:  # noqa: N801
    """A sequence's tokens, pages, where it comes from, and its number among its siblings."""

    tokens: list[int]
    pages: list[int]
    root: int
    candidate: int = 0


@dataclass
class FakeGenerator:
    """`kernels.model.guided.beam.Generator`, with a limit of pages."""

    names: Sequence[str]
    script: Script
    limit: int = 1_000
    holders: Counter[int] = field(default_factory=Counter)
    sequences: dict[int, Sequence_] = field(default_factory=dict)
    decodes: list[tuple[int, int]] = field(default_factory=list)
    copied: int = 0
    most_pages: int = 0
    _last: int = 0
    _page: int = 0

    @property
    def heads(self) -> HeadNames:
        return HeadNames(self.names)

    @property
    def pages(self) -> int:
        """In use."""
        return len(self.holders)

    def start(self, length: int) -> int:
        """A prompt in the cache."""
        number = self._number()
        self.sequences[number] = Sequence_([], [], number)
        self._grow(number, range(-length, 0))
        return number

    def fork(self, sequences: Sequence[int], count: int) -> list[list[int]]:
        partial = sum(len(self.sequences[s].tokens) % PAGE > 0 for s in sequences)
        if self.pages + partial * count > self.limit:
            raise MemoryError("no pages")
        return [[self._child(s, candidate) for candidate in range(count)] for s in sequences]

    def decode(self, sequences: Sequence[int], steps: int) -> Decoded:
        self.decodes.append((len(sequences), steps))
        said = [self._say(number) for number in sequences]
        tokens = [
            list(each.tokens if each.tokens is not None else range(100, 100 + steps))
            for each in said
        ]
        for number, new in zip(sequences, tokens, strict=True):
            self._grow(number, new)
        return Decoded(tokens, [e.ended for e in said], torch.tensor([e.metrics for e in said]))

    def free(self, sequences: Sequence[int]) -> None:
        for number in sequences:
            for page in self.sequences.pop(number).pages:
                self.holders[page] -= 1
                if not self.holders[page]:
                    del self.holders[page]

    def _say(self, number: int) -> Said:
        sequence = self.sequences[number]
        return self.script(len(self.decodes) - 1, sequence.root, sequence.candidate)

    def _child(self, parent: int, candidate: int) -> int:
        old, number = self.sequences[parent], self._number()
        full = len(old.tokens) // PAGE
        child = Sequence_(list(old.tokens), old.pages[:full], old.root, candidate)
        self.holders.update(child.pages)
        if len(old.tokens) % PAGE:
            child.pages.append(self._new_page())
            self.copied += 1
        self.sequences[number] = child
        return number

    def _grow(self, number: int, tokens: Sequence[int]) -> None:
        sequence = self.sequences[number]
        for token in tokens:
            if len(sequence.tokens) % PAGE == 0:
                sequence.pages.append(self._new_page())
            assert self.holders[sequence.pages[-1]] == 1, "writes on a page that others read"
            sequence.tokens.append(token)

    def _number(self) -> int:
        self._last += 1
        return self._last

    def _new_page(self) -> int:
        if self.pages >= self.limit:
            raise MemoryError("no pages")
        self._page += 1
        self.holders[self._page] = 1
        self.most_pages = max(self.most_pages, self.pages)
        return self._page
