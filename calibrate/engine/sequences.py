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
    """Room for prompt and answer."""
    length: int
    """Tokens so far; while it decodes, the last one's KV is not computed."""
    blocks: int = 0
    """Held while it decodes."""

    @property
    def made(self) -> int:
        """Tokens of its answer."""
        return len(self.answer.tokens)

    @property
    def is_over(self) -> bool:
        """Whether its last token ends the answer."""
        request = self.answer.request
        return self.made == request.most or int(self.text[self.length - 1]) in request.stops

    @property
    def draw(self) -> Draw:
        """Of its next token."""
        request = self.answer.request
        return Draw(request.temperature, request.seed, self.made)

    def add(self, token: int, at: int) -> None:
        """One more token, which its client gets."""
        self.text[self.length] = token
        self.length += 1
        self.answer.say(token, at)


def new_sequence(w: World, slot: int, answer: Answer) -> Sequence:
    """Writes a fresh record for a request that has arrived."""
    request, e = answer.request, w.engine
    prompt = len(request.tokens)
    fill_request(e, 0, slot, answer.arrival, prompt)
    e.requests[slot].tier = request.tier
    _write_path(w, slot, answer)
    fate = w.fates[slot]
    fate.first = -1
    fate.prompt = prompt
    text = np.zeros(prompt + request.most, np.int32)
    text[:prompt] = request.tokens
    return Sequence(slot, answer, text, prompt)


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
