"""The sequences that decode, in columns: what a step needs of all of them at once.

Each has a column of one array, in the order of first tokens. So a step's rows, the sums that policy
looks at, and who ends or needs a block are a few operations on whole lines of it, however many
sequences there are.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from calibrate.engine.executor import Decodes
from calibrate.engine.sequences import Sequence

LENGTH, END, ROOM, SLOT, TOKEN, MADE, SEED, HEAT = range(8)
"""The lines: tokens so far, and at the answer's end; tokens that the blocks hold; the record; the
newest token; tokens of the answer; how the next one is drawn (`HEAT`: bits of the temperature)."""
LINES = 8


class Running:
    """Sequences that decode, in the order of their first tokens."""

    def __init__(self, most: int, shift: int) -> None:
        """For `most` sequences; `shift`: log2 of a block's tokens."""
        self._shift = shift
        self._all: list[Sequence] = []
        self._stopping: list[Sequence] = []
        """Those whose answers some tokens end."""
        self._room = np.zeros((LINES, most), np.int64)
        self._lines = self._room[:, :0]

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Sequence]:
        return iter(self._all)

    def __getitem__(self, place: int) -> Sequence:
        return self._all[place]

    def add(self, s: Sequence) -> None:
        """It has a token to go on from, and its blocks."""
        request, count = s.answer.request, len(self._all) + 1
        heat = np.float64(request.temperature).view(np.int64)
        end, room = len(request.tokens) + request.most, s.blocks << self._shift
        column = (s.length, end, room, s.slot, s.answer.tokens[-1], s.made, request.seed, heat)
        self._room[:, count - 1] = column
        self._lines = self._room[:, :count]
        self._all.append(s)
        if request.stops:
            self._stopping.append(s)

    def remove(self, s: Sequence) -> None:
        """It decodes no longer."""
        place, last = self._all.index(s), len(self._all) - 1
        self._room[:, place:last] = self._room[:, place + 1 : last + 1].copy()
        self._lines = self._room[:, :last]
        del self._all[place]
        if s.answer.request.stops:
            self._stopping.remove(s)

    def first(self, s: Sequence, tokens: list[int], at: int, t: int) -> None:
        """One that will be added has the token at place `at` of a step's, its first."""
        s.answer.say(tokens[at], t)

    def contexts(self, window: int) -> tuple[int, int]:
        """Sums over all: tokens, and tokens up to the window."""
        lengths = self._lines[LENGTH]
        return int(lengths.sum()), int(np.minimum(lengths, window).sum())

    def turning(self) -> list[tuple[int, int]]:
        """Slot and length of those whose newest token is the first of a block."""
        lengths = self._lines[LENGTH]
        places = _places((lengths - 1) & ((1 << self._shift) - 1) == 0)
        return [(self._all[place].slot, int(lengths[place])) for place in places]

    def decodes(self) -> Decodes:
        """The rows of a step, as they stand until the next tokens."""
        lines = self._lines
        heat = lines[HEAT].view(np.float64)
        return Decodes(lines[SLOT], lines[TOKEN], lines[LENGTH], heat, lines[SEED], lines[MADE])

    def say(self, tokens: NDArray[np.int32], at: int) -> list[Sequence]:
        """A token for each client. Those whose answers are over now."""
        lines = self._lines
        lines[TOKEN] = tokens
        lines[LENGTH] += 1
        lines[MADE] += 1
        for s, token in zip(self._all, tokens.tolist(), strict=True):
            s.answer.say(token, at)
        over = [self._all[place] for place in _places(lines[LENGTH] == lines[END])]
        return over + [s for s in self._stopping if s.is_over and s not in over]

    def short(self) -> int:
        """How many have tokens that their blocks do not hold."""
        return int(np.count_nonzero(self._lines[LENGTH] > self._lines[ROOM]))

    def grow(self) -> list[Sequence]:
        """Each that is short has one block more: those."""
        grown = []
        for place in _places(self._lines[LENGTH] > self._lines[ROOM]):
            self._lines[ROOM, place] += 1 << self._shift
            grown.append(self._all[place])
            grown[-1].blocks += 1
        return grown


def _places(mask: NDArray[np.bool_]) -> list[int]:
    """Where it is so."""
    places: list[int] = mask.nonzero()[0].tolist()
    return places
