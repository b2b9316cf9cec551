"""Requests and their answers, and the door through which they come in.

The door may be used from any thread. It is bounded: who finds no room is told so at once. Beside
it stands policy's own bound on the queue (`Limits.queue_limit`): who is over that is shed.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibrate.engine.clock import Clock
from calibrate.engine.memory.pages import Piece
from kaiju_sim.engine.layout import NEVER
from kaiju_sim.engine.limits import Limits
from kaiju_sim.engine.policy.kv.memory import blocks_of


class RefusedError(Exception):
    """The engine does not take a request; the message says why."""


class FullError(RefusedError):
    """There is no room now: come again later."""


class ClosedError(RefusedError):
    """It takes nothing any more."""


class State(Enum):
    """What has become of a request."""

    OPEN = "open"
    DONE = "done"
    SHED = "shed"
    CANCELLED = "cancelled"
    FAILED = "failed"


@dataclass(frozen=True)
class Request:
    """What a client asks for."""

    tokens: NDArray[np.int32]
    """The prompt."""
    most: int
    """Tokens of the answer at most; cut where the model's context ends."""
    path: tuple[Piece, ...] = ()
    """Names of the prompt's whole blocks, in pieces of streams; what shares a name shares tokens.
    The answer's blocks go on in the last one's stream. Empty: nothing is shared."""
    stops: frozenset[int] = frozenset()
    """Tokens that end the answer."""
    temperature: float = 0.0
    """0: greedy."""
    seed: int = 0
    tier: int = 1
    """0 paid, 1 free."""


@dataclass(eq=False)
class Answer:
    """A request in the engine, and what has come of it. Times are the engine's, in ns."""

    request: Request
    arrival: int
    number: int
    """In order of arrival."""
    told: Callable[["Answer"], None] | None = None
    """Called in the engine's thread after each token and at the end; must be quick."""
    tokens: list[int] = field(default_factory=list)
    token_at: list[int] = field(default_factory=list)
    """When each token was there."""
    admitted: int = -1
    cached: int = 0
    """Prompt tokens that were found in the cache at the first admission."""
    preempted: int = 0
    flagged: bool = False
    """Whether it ended since no candidate passed the rules."""
    ended: int = -1
    state: State = State.OPEN
    over: threading.Event = field(default_factory=threading.Event)
    """Set when the state is no longer open."""

    def say(self, token: int, at: int) -> None:
        """One more token."""
        self.tokens.append(token)
        self.token_at.append(at)
        if self.told is not None:
            self.told(self)

    def say_all(self, tokens: Sequence[int], at: int) -> None:
        """Several tokens more, at once."""
        self.tokens += tokens
        self.token_at += [at] * len(tokens)
        if tokens and self.told is not None:
            self.told(self)

    def end(self, state: State, at: int) -> None:
        """Nothing more will come."""
        self.state, self.ended = state, at
        self.over.set()
        if self.told is not None:
            self.told(self)


class Bounds(NamedTuple):
    """What a request may be at most, on one engine."""

    context: int
    """Tokens of prompt and answer."""
    blocks: int
    """Of the global pool, for prompt and answer."""
    shift: int
    """log2 of a block's tokens."""
    pieces: int
    """Of a path."""
    waiting: int
    """Requests that are in the engine or before its door."""
    names: bool
    """Whether prompts are cached, so that paths mean something."""
    candidates: int = 1
    """Sequences that a message decodes as."""


def bounds_of(limits: Limits, blocks: int, context: int, waiting: int) -> Bounds:
    """Of an engine with these limits and so many global blocks, of which candidates need some."""
    cached = limits.prefix_cache != 0
    own = blocks - limits.extra
    return Bounds(context, own, limits.shift, limits.stride, waiting, cached, limits.candidates)


def checked(request: Request, bounds: Bounds) -> Request:
    """The request, its answer cut to the context. RefusedError if it can never
    be served."""
    prompt, block = len(request.tokens), 1 << bounds.shift
    if bounds.candidates > 1 and request.temperature <= 0:
        raise RefusedError(
            f"temperature: must be more than 0: {bounds.candidates} greedy candidates are the same"
        )
    room = bounds.context - prompt
    if prompt < 1 or request.most < 1:
        raise RefusedError("prompt and answer must have at least one token each")
    if room < 1:
        raise RefusedError(f"prompt: {prompt} tokens, must be under {bounds.context}, the context")
    most = min(request.most, room)
    if blocks_of(prompt + most, bounds.shift) > bounds.blocks:
        raise RefusedError(f"prompt and answer: {prompt + most} tokens exceed all KV memory")
    named = sum(piece.blocks for piece in request.path)
    if named > prompt >> bounds.shift or any(piece.blocks < 0 for piece in request.path):
        raise RefusedError(f"path: names {named} blocks, the prompt has {prompt // block}")
    if len(request.path) > bounds.pieces:
        raise RefusedError(f"path: {len(request.path)} pieces, must be {bounds.pieces} at most")
    path = request.path if bounds.names else ()
    return Request(
        request.tokens, most, path, request.stops, request.temperature, request.seed, request.tier
    )


class Door:
    """Where requests come in: in order of arrival, bounded, from any thread."""

    def __init__(self, clock: Clock, bounds: Bounds) -> None:
        self.bounds = bounds
        self.news = threading.Condition()
        self._clock = clock
        self._line: deque[Answer] = deque()
        self._cancelled: list[Answer] = []
        self._inside = 0
        self._count = 0
        self._closed = False

    @property
    def inside(self) -> int:
        """Requests that are here or in the engine."""
        return self._inside

    def now_ns(self) -> int:
        """The engine's time."""
        return self._clock.now_ns()

    def submit(
        self, request: Request, told: Callable[[Answer], None] | None = None, at: int | None = None
    ) -> Answer:
        """Hand a request in; `at`: when it arrives, if not now (not before those handed in so far).
        Raises FullError when as many are inside as may be, RefusedError for what never fits."""
        request = checked(request, self.bounds)
        with self.news:
            if self._closed:
                raise ClosedError("the engine is shutting down")
            if self._inside >= self.bounds.waiting:
                raise FullError(f"{self._inside} requests are inside, which is all that are taken")
            arrival = self._clock.now_ns() if at is None else at
            if self._line:
                arrival = max(arrival, self._line[-1].arrival)
            answer = Answer(request, arrival, self._count, told)
            self._line.append(answer)
            self._inside += 1
            self._count += 1
            self.news.notify()
        return answer

    def cancel(self, answer: Answer) -> None:
        """Its client has gone: it ends before the next step, wherever it is."""
        with self.news:
            if answer in self._line:
                self._line.remove(answer)
                self._inside -= 1
                answer.end(State.CANCELLED, self._clock.now_ns())
                return
            self._cancelled.append(answer)
            self.news.notify()

    def close(self) -> None:
        """Take nothing more; what is inside goes on."""
        with self.news:
            self._closed = True
            self.news.notify()

    def arrived(self, before: int) -> list[Answer]:
        """Those that arrived before this time and have not been fetched yet."""
        with self.news:
            found = []
            while self._line and self._line[0].arrival < before:
                found.append(self._line.popleft())
            return found

    def cancelled(self) -> list[Answer]:
        """Those that were cancelled since the last call and are still open."""
        with self.news:
            found, self._cancelled = self._cancelled, []
        return [answer for answer in found if answer.state is State.OPEN]

    def gone(self) -> None:
        """One that was inside has ended."""
        with self.news:
            self._inside -= 1

    def wait(self, until: int) -> bool:
        """Until that time, or until something happens here. False: nothing will ever."""
        with self.news:
            if self._cancelled:
                return True
            first = min(until, self._line[0].arrival) if self._line else until
            if first == NEVER and self._closed:
                return False
            self._clock.wait(first, self.news)
            return True
