"""Random dialogues, through the simulator's reference loop and through the engine: two logs."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from serving_crowd import Message, PagedExecutor, ValueScorer
from serving_limits import STRIDE

from calibrate.engine.clock import FakeClock
from calibrate.engine.engine import Engine, Sizes
from calibrate.engine.executor import StepPlan
from calibrate.engine.journal import Event
from calibrate.engine.memory.free import Copy, Pool
from calibrate.engine.memory.host_tier import NO_HOST, Host
from calibrate.engine.memory.rings import reserve_pages
from calibrate.engine.requests import Answer
from kaiju_sim.engine.intake import enqueue
from kaiju_sim.engine.layout import NEVER, World
from kaiju_sim.engine.limits import Limits
from kaiju_sim.engine.make import make_engine, make_world
from kaiju_sim.engine.policy.kv.memory import blocks_of
from kaiju_sim.engine.reference import ReferenceLoop
from kaiju_sim.fleet.messages.prompts import fill_request
from kaiju_sim.fleet.reference import viewed
from kaiju_sim.steptime.curves import Curves

CONTEXT = 1024
RESERVE = 40


MemoryState = tuple[int, ...]
"""Of all memory: what is free, idle, kept, evicted, demoted, loaded, dropped so far, in both tiers,
and when the link is free."""


def state_of(e: Any) -> MemoryState:
    """Policy's record of the cache, and that of its link."""
    return (*e.caches.array[0].tolist(), *e.links.array[0].tolist())


class LoggedLoop(ReferenceLoop):
    """The reference loop, with a log of what it does; nothing of it is changed."""

    def prepare(self) -> "LoggedLoop":
        self.log: list[Event] = []
        self.states: list[MemoryState] = []
        self.admitted: dict[int, int] = {}
        self.done = 0
        return self

    def _note(self, t: int, what: str, q: int, value: int = 0) -> None:
        self.log.append(Event(t, what, q, value))

    def _start(self, k: int, t: int) -> None:
        e = self.world.engine
        before = int(e.replicas[0].admitted)
        super()._start(k, t)
        waiting, q = [], int(e.replicas[0].pre)
        while q >= 0:
            waiting.append(q)
            q = int(e.requests[q].next)
        new = [q for q in waiting if e.requests[q].number > before]
        for q in sorted(new, key=lambda q: int(e.requests[q].number)):
            self._note(t, "admit", q, int(e.requests[q].hit))
        self.note_done()
        for q in waiting:
            if e.requests[q].chunk:
                self._note(t, "chunk", q, int(e.requests[q].chunk))

    def _end(self, k: int, t: int) -> None:
        super()._end(k, t)
        self.note_done()
        e = self.world.engine
        self._note(t, "step", int(e.replicas[0].steps), int(e.caches[0].evicted))
        self.states.append(state_of(e))

    def _preempt(self, k: int, r: Any) -> None:
        before = {s.request: s.context for s in self.running[k]}
        t = int(self.world.engine.replicas[k].end)
        prompts = {q: int(self.world.engine.requests[q].prompt) for q in before}
        super()._preempt(k, r)
        (victim,) = set(before) - {s.request for s in self.running[k]}
        self._note(t, "preempt", victim, before[victim] - prompts[victim])

    def _first_token(self, k: int, r: Any, q: int, t: int) -> None:
        self._note(t, "first", q)
        super()._first_token(k, r, q, t)

    def note_done(self) -> None:
        """What the world's list of finished messages has new."""
        w = self.world
        for i in range(self.done, int(w.done_count[0])):
            done = w.done[i]
            q = int(done.request)
            if done.code:
                self._note(int(done.end), "shed", q)
            else:
                self._note(int(done.end), "end", q, int(w.fates[q].out))
        self.done = int(w.done_count[0])


class Expected(NamedTuple):
    """What the simulator makes of messages."""

    log: list[Event]
    states: list[MemoryState]
    """After each step."""
    world: World


def reference_log(
    limits: Limits, curves: Curves, blocks: int, messages: list[Message], host: Host = NO_HOST
) -> Expected:
    """The simulator's reference loop on these messages; request i has record i."""
    nodes = blocks + host.blocks + 64
    arrays = make_engine(limits, curves, blocks, requests=len(messages), nodes=nodes, host=host)
    w: World = viewed(make_world(arrays))
    loop = LoggedLoop(w).prepare()
    for q, message in enumerate(messages):
        loop.advance_unit(0, 1, message.at)
        _write(w, q, message)
        enqueue(w, 0, q)
        loop.note_done()
    loop.advance_unit(0, 1, NEVER - 1)
    loop.note_done()
    return Expected(loop.log, loop.states, w)


def _write(w: World, q: int, message: Message) -> None:
    """A request's record and fate, as the fleet writes them."""
    e, request = w.engine, message.request
    fill_request(e, 0, q, message.at, len(request.tokens))
    e.requests[q].tier = request.tier
    path = list(request.path)
    lo, last = q * STRIDE, (q + 1) * STRIDE - 1
    places = [*range(last + 1 - len(path), last + 1)]
    places[0] = lo
    for s in range(lo, last + 1):
        e.segments[s].node = -1
    for s, piece in zip(places, path, strict=True):
        e.segments[s].stream = piece.stream
        e.segments[s].n = piece.blocks if e.limits.prefix_cache else 0
    fate = w.fates[q]
    fate.first, fate.prompt = -1, len(request.tokens)
    fate.out = fate.left = request.most


class CheckedExecutor(PagedExecutor):
    """The made-up model, which looks over all of the engine's pages before each step."""

    engine: Engine | None = None
    spoil: str = ""
    """The tables of which one entry is to be wrong; `host`: what comes from there is."""

    def copy(self, copies: Sequence[Copy]) -> None:
        assert self.engine is not None
        self.engine.mirror.check()
        if self.spoil == "host":
            for pool in self.pools.keys() & {Pool.HOST, Pool.HOST_LOCAL}:
                pages = [content.size >> self.shift for content in self.pools[pool]]
                self.pools[pool] = [self._memory(count, 9) for count in pages]
        super().copy(copies)

    def run(self, plan: StepPlan) -> list[int]:
        if self.spoil.endswith("tables") and len(plan.decodes):
            tables = getattr(plan, self.spoil).copy()
            row = next(iter(plan.decodes))
            entry = row.slot, (row.keys - 2) >> self.shift
            tables[entry] = tables[entry] - 1 if tables[entry] else 1
            plan = replace(plan, **{self.spoil: tables})
        return super().run(plan)


class Served(NamedTuple):
    """What came of messages on the engine."""

    log: list[Event]
    states: list[MemoryState]
    engine: Engine
    answers: list[Answer]
    copied: Counter[tuple[Pool, Pool]]
    """Pages, by where they lay and where they went."""
    loaded_at: set[int]
    """When pages came from host memory: while nothing runs, or at the end of a fake step."""


def serve(
    limits: Limits, curves: Curves, blocks: int, messages: list[Message], spoil: str = "",
    host: Host = NO_HOST,
) -> Served:  # fmt: skip
    """The engine on these messages, with a fake clock and a made-up model."""
    clock, log, states = FakeClock(), list[Event](), list[MemoryState]()

    def note(event: Event) -> None:
        log.append(event)
        if event.what == "step":
            states.append(state_of(engine.world.engine))

    executor = CheckedExecutor(clock, curves)
    reserve = reserve_pages(limits, host=any(host))
    sizes = Sizes(blocks, reserve, CONTEXT, len(messages), host)
    scorer = ValueScorer(executor)
    engine = Engine(limits, curves, sizes, executor, clock, note, scorer)
    executor.engine, executor.spoil = engine, spoil
    executor.prepare(engine)
    answers = [engine.door.submit(message.request, at=message.at) for message in messages]
    engine.door.close()
    engine.run()
    engine.mirror.check()
    return Served(log, states, engine, answers, executor.copied, executor.loaded_at)


def largest(messages: list[Message], shift: int) -> int:
    """Blocks of the largest message (of one candidate)."""
    return max(blocks_of(len(m.request.tokens) + m.request.most, shift) for m in messages)


def cuts_of(log: Sequence[Event], messages: Sequence[Message]) -> dict[int, list[int]]:
    """How long answers were when they were preempted, by order of messages."""
    cuts: dict[int, list[int]] = {}
    for event in log:
        if event.what == "preempt":
            made = cuts.setdefault(messages[event.request].order, [0])
            made.append(made[-1] + event.value)
    return cuts
