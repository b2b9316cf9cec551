"""A request inside the engine: its record, its path, its text."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibrate.engine.executor import Draw
from calibrate.engine.requests import Answer
from kaiju_sim.engine.layout import World
from kaiju_sim.fleet.messages.prompts import fill_request


@dataclass(eq=False)
class Sequence:
    """A request in the engine."""

    slot: int
    """Its record."""
    answer: Answer
    text: NDArray[np.int32]
    """What it computes before it decodes: its prompt, after a preemption with what it has said."""
    blocks: int = 0
    """Held while it decodes."""

    @property
    def length(self) -> int:
        """Tokens so far; while it decodes, the last one's KV is not computed."""
        return len(self.answer.request.tokens) + self.made

    @property
    def made(self) -> int:
        """Tokens of its answer."""
        return len(self.answer.tokens)

    @property
    def is_over(self) -> bool:
        """Whether its last token ends the answer."""
        request = self.answer.request
        return self.made == request.most or self.answer.tokens[-1] in request.stops

    @property
    def draw(self) -> Draw:
        """Of its next token."""
        request = self.answer.request
        return Draw(request.temperature, request.seed, self.made)

    def first_draws(self, candidates: int) -> list[Draw]:
        """Of the tokens that its prompt gives: one here."""
        assert candidates == 1, "who has candidates draws for each"
        return [self.draw]

    def begin_again(self) -> None:
        """It was preempted: what it has said is prompt."""
        said = np.array(self.answer.tokens, np.int32)
        self.text = np.concatenate([self.answer.request.tokens, said])


def new_sequence(w: World, slot: int, answer: Answer, kind: type[Sequence] = Sequence) -> Sequence:
    """Writes a fresh record for a request that has arrived."""
    request, e = answer.request, w.engine
    prompt = len(request.tokens)
    fill_request(e, 0, slot, answer.arrival, prompt)
    e.requests[slot].tier = request.tier
    _write_path(w, slot, answer)
    fate = w.fates[slot]
    fate.first = -1
    fate.prompt = prompt
    return kind(slot, answer, request.tokens)


def _write_path(w: World, slot: int, answer: Answer) -> None:
    """The path's pieces: the first of several at the front, where policy looks for a definition,
    the others at the end, where the last one is extended by the answer."""
    e, path = w.engine, answer.request.path
    lo, hi = slot * e.limits.stride, (slot + 1) * e.limits.stride
    places = [*range(hi - len(path), hi)]
    if len(path) > 1:
        places[0] = lo
    for s in range(lo, hi):  # nobody shares a stream that is the request's own
        e.segments[s].stream = -1 - answer.number
        e.segments[s].node = -1
    for s, piece in zip(places, path, strict=True):
        e.segments[s].stream, e.segments[s].n = piece
