"""Candidates: a message decodes as several sequences, and of each chunk the best is its answer.

All candidates of a message go on from the text that was chosen so far. When they have added a
chunk of tokens, or have all come to an end token, a scorer judges them by what the step said of the
row that each one's last token was drawn from. The winner's tokens go to the client at once, and the
next chunk begins. A message that is preempted in the middle of a chunk is judged there: the best
text stays, waits for the chunk's other tokens, and is delivered with them.

Each candidate draws with a seed of its own, a function of its parent's and of its number, so greedy
candidates would all be the same: such requests are refused at the door.
"""

from collections.abc import Iterator
from collections.abc import Sequence as Many
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from calibrate.engine.executor import Decodes, Draw
from calibrate.engine.memory.mirror import Mirror
from calibrate.engine.sequences import Sequence
from kaiju_sim.engine.layout import World
from kaiju_sim.engine.policy.kv.memory import blocks_of

Mark = Any
"""What a scorer has noted of a candidate at its end; nobody else looks into it."""


class Choice(NamedTuple):
    """What a scorer says of one message's candidates."""

    winner: int | None
    """Number of the best one; None: none of them may be said."""
    is_last: bool
    """Whether the answer ends with this, since no candidate passes."""


class Scorer(Protocol):
    """Judges candidates, on whatever runs the steps."""

    def marks(self, rows: Many[int]) -> Many[Mark]:
        """Of the step that ended last, what has to be known of these tokens, given by their places
        among those that the executor returned."""

    def choose(self, groups: Many[Many[Mark]]) -> Many[Choice]:
        """For each message, given the marks of its candidates in their order."""


def child_seed(seed: int, candidate: int) -> int:
    """The seed of a candidate of a text with this seed (Knuth's multiplier, mod 2^63): the same as
    in the model's own search (`kernels/model/guided/paged.py`), which this side cannot import."""
    return (seed * 6364136223846793005 + 2 * candidate + 1) % (1 << 63)


@dataclass
class Candidate:
    """A continuation of the chosen text."""

    seed: int
    tokens: list[int] = field(default_factory=list)
    row: int = -1
    """Of its newest token, in the step that ended last."""
    mark: Mark = None
    """At its end token."""
    is_over: bool = False
    """Whether it has come to an end token."""


@dataclass(eq=False)
class BeamSequence(Sequence):
    """A request in the engine, with candidates."""

    seed: int = 0
    """Of the text that was chosen so far."""
    chosen: list[int] = field(default_factory=list)
    """Tokens of the answer. The last of them are not delivered yet where a message was preempted in
    the middle of a chunk."""
    step: int = 0
    """Tokens of the chunk in hand, of the longest candidate."""
    candidates: list[Candidate] = field(default_factory=list)
    """In the chunk in hand."""
    ended: bool = False

    def __post_init__(self) -> None:
        self.seed = self.answer.request.seed

    @property
    def length(self) -> int:
        """Tokens of prompt and chosen text, and the chunk in hand."""
        return len(self.answer.request.tokens) + len(self.chosen) + self.step

    @property
    def is_over(self) -> bool:
        """Whether its last chunk was chosen."""
        return self.ended

    @property
    def has_stopped(self) -> bool:
        """Whether all its candidates have come to an end token."""
        return all(one.is_over for one in self.candidates)

    def first_draws(self, candidates: int) -> list[Draw]:
        """A chunk begins with its prompt's last row."""
        self.begin(candidates)
        heat, made = self.answer.request.temperature, len(self.chosen)
        return [Draw(heat, one.seed, made) for one in self.candidates]

    def begin_again(self) -> None:
        """It was preempted: what was chosen is prompt."""
        chosen = np.array(self.chosen, np.int32)
        self.text = np.concatenate([self.answer.request.tokens, chosen])

    def begin(self, count: int) -> None:
        """A chunk begins: so many candidates of the chosen text."""
        self.candidates = [Candidate(child_seed(self.seed, c)) for c in range(count)]

    def size(self, chunk: int) -> int:
        """Tokens of the chunk in hand when it is complete."""
        made = len(self.chosen)
        return min(chunk - made % chunk, self.answer.request.most - made)

    def keep(self, tokens: list[int]) -> None:
        """Of the chunk in hand these tokens are chosen; the candidates are no more."""
        self.chosen += tokens
        self.step = 0
        self.candidates = []

    def drop(self) -> None:
        """Nothing of the chunk in hand is chosen. If it was begun, its first token still counts in
        the length: the KV of the token before it is computed."""
        self.step = min(self.step, 1)
        self.candidates = []


class Beams:
    """The sequences that decode, each of several candidates: in place of `Running`."""

    def __init__(self, world: World, mirror: Mirror, scorer: Scorer | None) -> None:
        """ValueError without a scorer."""
        if scorer is None or mirror.candidates is None:
            raise ValueError("candidates: need a scorer")
        self._world, self._scorer = world, scorer
        self._pages, limits = mirror.candidates, world.engine.limits
        self.count, self._chunk, self._shift = limits.candidates, limits.chunk, limits.shift
        self._all: list[BeamSequence] = []

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Sequence]:
        return iter(self._all)

    def __getitem__(self, place: int) -> Sequence:
        return self._all[place]

    def add(self, s: Sequence) -> None:
        """It has its first tokens, and its blocks."""
        self._all.append(cast(BeamSequence, s))

    def remove(self, s: Sequence) -> None:
        """It decodes no longer."""
        self._all.remove(cast(BeamSequence, s))

    def contexts(self, window: int) -> tuple[int, int]:
        """Sums over all candidates: tokens, and tokens up to the window. Those that have ended
        count to the chunk's end."""
        lengths = [s.length for s in self._all]
        near = sum(min(length, window) for length in lengths)
        return self.count * sum(lengths), self.count * near

    def turning(self) -> list[tuple[int, int]]:
        """Slot and length of those whose newest token is the first of a block."""
        mask = (1 << self._shift) - 1
        return [(s.slot, s.length) for s in self._all if (s.length - 1) & mask == 0]

    def decodes(self) -> Decodes:
        """The next step's rows: of each message, its candidates that go on."""
        rows = [row for place, s in enumerate(self._all) for row in self._rows(s, place)]
        slots, tokens, keys, seeds, made, places = np.array(rows, np.int64).T
        heat = np.array([s.answer.request.temperature for s in self._all], np.float64)
        return Decodes(slots, tokens, keys, heat[places], seeds, made)

    def _rows(self, s: BeamSequence, place: int) -> list[tuple[int, ...]]:
        """Slot, token, keys, seed, number of the token, and place among the messages."""
        pages, keys, made = self._pages, s.length, len(s.chosen) + s.step
        if not s.candidates:
            s.begin(self.count)
        if pages.start(s.slot) is None:
            pages.fork(s.slot, keys - 1, s.size(self._chunk) - s.step)
        return [
            (pages.row(s.slot, c), (one.tokens or s.chosen)[-1], keys, one.seed, made, place)
            for c, one in enumerate(s.candidates)
            if not one.is_over
        ]

    def first(self, s: Sequence, tokens: Many[int], at: int, t: int) -> None:
        """The candidates of a message that will be added have their first tokens, from place `at`
        of a step's on."""
        self._extend([cast(BeamSequence, s)], tokens, at, t)

    def say(self, tokens: NDArray[np.int32], at: int) -> list[Sequence]:
        """A token for each candidate. Those whose answers are over now."""
        self._extend(self._all, tokens.tolist(), 0, at)
        return [s for s in self._all if s.ended]

    def short(self) -> int:
        """How many have tokens that their blocks do not hold."""
        return len(self._short())

    def grow(self) -> list[Sequence]:
        """Each that is short has one block more: those."""
        grown = self._short()
        for s in grown:
            s.blocks += 1
        return [*grown]

    def _short(self) -> list[BeamSequence]:
        return [s for s in self._all if blocks_of(s.length, self._shift) > s.blocks]

    def cut(self, sequence: Sequence, t: int) -> None:
        """A message is to be preempted: what it has of a chunk is judged. If that is the end of its
        answer, it is delivered, and the message is over."""
        s = cast(BeamSequence, sequence)
        if s.candidates:
            self._settle(s, *self._judge([s]))
        if s.ended:
            self._deliver(s, t)

    def drop(self, sequence: Sequence, t: int) -> None:
        """A message is cancelled: it is told what was chosen, since that may have names."""
        s = cast(BeamSequence, sequence)
        s.drop()
        self._deliver(s, t)

    def _extend(self, sequences: Many[BeamSequence], tokens: Many[int], at: int, t: int) -> None:
        """These have a token for each candidate that goes on. Who has a whole chunk is judged."""
        ended: list[Candidate] = []
        for s in sequences:
            stops = s.answer.request.stops
            for one in [one for one in s.candidates if not one.is_over]:
                one.tokens.append(tokens[at])
                one.row = at
                if tokens[at] in stops:
                    one.is_over = True
                    ended.append(one)
                at += 1
            s.step += 1
        self._mark(ended)
        through = [s for s in sequences if s.step == s.size(self._chunk) or s.has_stopped]
        for s, choice in zip(through, self._judge(through), strict=True):
            self._settle(s, choice)
            self._deliver(s, t)

    def _mark(self, candidates: Many[Candidate]) -> None:
        new = [one for one in candidates if one.mark is None]
        if new:
            marks = self._scorer.marks([one.row for one in new])
            for one, mark in zip(new, marks, strict=True):
                one.mark = mark

    def _judge(self, sequences: Many[BeamSequence]) -> Many[Choice]:
        self._mark([one for s in sequences for one in s.candidates])
        groups = [[one.mark for one in s.candidates] for s in sequences]
        return self._scorer.choose(groups) if groups else []

    def _settle(self, s: BeamSequence, choice: Choice) -> None:
        """The chosen candidate's text and pages are the message's."""
        s.answer.flagged = s.ended = choice.is_last
        if choice.winner is None:
            s.drop()
            return
        winner = s.candidates[choice.winner]
        self._pages.choose(s.slot, choice.winner, s.length - 1)
        s.keep(winner.tokens)
        s.seed = winner.seed
        s.ended |= winner.is_over or len(s.chosen) == s.answer.request.most

    def _deliver(self, s: BeamSequence, t: int) -> None:
        """What was chosen, to the client."""
        fate, new = self._world.fates[s.slot], s.chosen[len(s.answer.tokens) :]
        if fate.first < 0:
            fate.first = t
        self._world.engine.replicas[0].tokens += len(new)
        s.answer.say_all(new, t)
