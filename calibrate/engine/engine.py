"""The engine: the simulator's reference loop, with another executor and another clock.

Every decision is policy's, by the very functions that the simulator runs: who is admitted, what a
step computes, who is preempted, what is evicted. This module carries on: it plans the step that
policy has decided, has it run, and hands out tokens. Where the simulated world knows how long an
answer will be, here the text says when it ends.

Order at one instant, as in the simulator: completions, then arrivals, then step starts.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibrate.engine.beams import Beams, BeamSequence, Scorer
from calibrate.engine.clock import Clock
from calibrate.engine.executor import ChunkRows, Executor, StepPlan, Tokens, no_decodes
from calibrate.engine.journal import Event, Journal
from calibrate.engine.memory.host_tier import NO_HOST, Host
from calibrate.engine.memory.mirror import Mirror
from calibrate.engine.requests import Door, State, bounds_of
from calibrate.engine.running import Running
from calibrate.engine.sequences import Sequence, new_sequence
from kaiju_sim.engine.intake import enqueue
from kaiju_sim.engine.layout import NEVER, World
from kaiju_sim.engine.limits import Limits
from kaiju_sim.engine.make import make_engine, make_world
from kaiju_sim.engine.policy.batching import computed, form_batch, requeue, victim_before, wake_time
from kaiju_sim.engine.policy.kv.memory import blocks_of, end_prefill, leave
from kaiju_sim.engine.policy.kv.prefix import take
from kaiju_sim.engine.policy.pacing import Batch
from kaiju_sim.engine.policy.queues import count_load
from kaiju_sim.engine.policy.withdraw import leave_line, withdraw
from kaiju_sim.engine.record import deliver, hand_over_shed, record_prompt
from kaiju_sim.fleet.reference import viewed
from kaiju_sim.steptime.curves import Curves


class Sizes(NamedTuple):
    """What memory holds, and what the engine takes at most."""

    blocks: int
    """Of the global pool (the windows of the local one are in `Limits`)."""
    reserve: int
    """Pages of the local pool beside its windows."""
    context: int
    """Tokens of a sequence."""
    inside: int
    """Requests that are in the engine or before its door."""
    host: Host = NO_HOST
    """Of host memory."""


class Engine:
    """One replica. `door` takes requests, from any thread; `run` serves them, in one thread."""

    def __init__(
        self, limits: Limits, curves: Curves, sizes: Sizes, executor: Executor, clock: Clock,
        journal: Journal | None = None, scorer: Scorer | None = None,
    ) -> None:  # fmt: skip
        """An empty engine. `curves`: step times that policy may predict with; `scorer`: needed
        where messages have candidates."""
        assert limits.replicas == 1, "an engine is one replica"
        limits = limits._replace(timeout_ns=0)  # patience is the clients': they cancel
        nodes = sizes.blocks + sizes.host.blocks + 64
        arrays = make_engine(
            limits, curves, sizes.blocks, requests=sizes.inside, nodes=nodes, host=sizes.host
        )
        entries = blocks_of(sizes.context, limits.shift)
        self.mirror = Mirror(arrays, sizes.reserve, entries)
        self.mirror.on_admit = self._admitted
        self.world: World = viewed(make_world(arrays)._replace(engine=self.mirror.engine))
        self.door = Door(clock, bounds_of(limits, sizes.blocks, sizes.context, sizes.inside))
        self._beams = Beams(self.world, self.mirror, scorer) if limits.candidates > 1 else None
        plain = Running(limits.max_seqs, limits.shift)
        self.running: Running | Beams = plain if self._beams is None else self._beams
        self._inside: dict[int, Sequence] = {}
        self._spare = list(range(sizes.inside - 1, -1, -1))
        self._executor, self._clock = executor, clock
        self._journal: Journal = journal or (lambda event: None)
        self._e = self.mirror.engine
        self._r = self._e.replicas[0]
        self._now = 0

    def run(self) -> None:
        """Serve until the door is closed and everybody has left. If a step fails, all open answers
        end as failed and the error goes on."""
        try:
            while self.advance():
                pass
        except BaseException:
            self.door.close()
            waiting = self.door.arrived(NEVER)
            for answer in [*waiting, *(s.answer for s in self._inside.values())]:
                answer.end(State.FAILED, self._clock.now_ns())
            raise
        assert not self._inside, "somebody is left behind"

    def advance(self) -> bool:
        """One step if there is work, else a wait. False: nothing will ever come."""
        now, r = self._clock.now_ns(), self._r
        self._take_in(now + 1)
        for answer in self.door.cancelled():
            for s in [s for s in self._inside.values() if s.answer is answer]:
                self._cancel(s, now)
        if 0 <= r.pending <= now:
            r.pending = -1
            self._step(now)
            return True
        return self.door.wait(int(r.pending) if r.pending >= 0 else NEVER)

    def _take_in(self, before: int) -> None:
        for answer in self.door.arrived(before):
            slot = self._spare.pop()
            kind = Sequence if self._beams is None else BeamSequence
            self._inside[slot] = new_sequence(self.world, slot, answer, kind)
            enqueue(self.world, 0, slot)
        self._part()

    def _part(self) -> None:
        """Those that have ended leave: the world's list of what is done."""
        w = self.world
        for i in range(int(w.done_count[0])):
            done = w.done[i]
            answer = self._inside[int(done.request)].answer
            what, state = ("shed", State.SHED) if done.code else ("end", State.DONE)
            self._log(int(done.end), what, int(done.request), len(answer.tokens))
            self._forget(int(done.request), state, int(done.end))
        w.done_count[0] = 0

    def _forget(self, q: int, state: State, t: int) -> None:
        answer = self._inside.pop(q).answer
        self._spare.append(q)
        self.door.gone()
        answer.end(state, t)

    def _log(self, t: int, what: str, q: int, value: int = 0) -> None:
        self._journal(Event(t, what, self._inside[q].answer.number, value))

    def _admitted(self, q: int) -> None:
        """The mirror has given request q its pages: policy has just admitted it."""
        answer, v = self._inside[q].answer, self._e.requests[q]
        if answer.admitted < 0:
            answer.admitted, answer.cached = int(v.admit), int(v.cached)
        self._log(self._now, "admit", q, int(v.hit))

    def _step(self, t: int) -> None:
        """Form the batch at time t and run it; an empty batch leaves the engine idle."""
        w, e, r = self.world, self._e, self._r
        self._now = t
        r.context, r.window = self.running.contexts(e.limits.window)
        batch = form_batch(e, 0, t)
        r.decoding = batch.decodes
        hand_over_shed(w, r, t)
        self._part()
        if batch.rows + batch.decodes == 0:
            if r.pre >= 0:  # all of these wait for host memory
                self._executor.copy(self.mirror.take_copies())
            r.end = NEVER
            r.pending = wake_time(e, 0)
            return
        r.begin = r.end = t  # in flight: who arrives does not wake the replica
        plan = self._plan(batch)
        tokens = self._executor.run(plan)
        end = self._clock.now_ns()
        self._count(batch, end - t)
        self._take_in(end)
        self._end(plan, tokens, end)
        r.end = NEVER
        r.pending = end

    def _count(self, batch: Batch, dt: int) -> None:
        """Totals of the replica, of which policy's pacing looks at the decodes'."""
        r = self._r
        if batch.decodes:
            r.decode_ns += dt
            r.decode_steps += 1
        r.busy += dt
        r.prefill_rows_ns += dt * batch.rows // (batch.rows + batch.decodes)
        r.steps += 1

    def _plan(self, batch: Batch) -> StepPlan:
        """The step that policy has decided, with pages for its tokens."""
        decodes = no_decodes()
        if batch.decodes:
            for q, length in self.running.turning():
                self.mirror.begin(q, length - 1, 1)
            decodes = self.running.decodes()
        chunks: list[ChunkRows] = []
        q = int(self._r.pre)
        while q >= 0:
            if self._e.requests[q].chunk > 0:
                chunks.append(self._chunk(q))
            q = int(self._e.requests[q].next)
        mirror, r = self.mirror, self._r
        return StepPlan(
            decodes, chunks, mirror.take_copies(), mirror.global_tables, mirror.local_tables,
            batch, int(r.filling), int(r.context), int(r.window), self._now,
        )  # fmt: skip

    def _chunk(self, q: int) -> ChunkRows:
        v, s = self._e.requests[q], self._inside[q]
        start, count = int(v.prompt - v.todo), int(v.chunk)
        self._log(self._now, "chunk", q, count)
        self.mirror.begin(q, start, count)
        draws = s.first_draws(self._e.limits.candidates) if v.chunk == v.todo else []
        return ChunkRows(q, s.text[start : start + count], start, draws)

    def _end(self, plan: StepPlan, tokens: Tokens, t: int) -> None:
        """The step is through: tokens are handed out, and who is done leaves."""
        decodes, made = len(plan.decodes), np.asarray(tokens, np.int32)
        if decodes:
            self._end_decode(made[:decodes], t)
        self._end_prefills(plan, made.tolist(), t)
        self._part()
        self.mirror.conserve()
        self._journal(Event(t, "step", int(self._r.steps), int(self._e.caches[0].evicted)))

    def _end_decode(self, tokens: NDArray[np.int32], t: int) -> None:
        self._count_tokens(len(self.running))
        for s in sorted(self.running.say(tokens, t), key=self._number):
            self._leave(s)
            self._done(s, t)
        self._grow()

    def _count_tokens(self, messages: int) -> None:
        """These have sampled; with candidates, tokens are counted as they are delivered."""
        self._r.generated += messages * self._e.limits.candidates
        if self._beams is None:
            self._r.tokens += messages

    def _number(self, s: Sequence) -> int:
        return int(self._e.requests[s.slot].number)

    def _leave(self, s: Sequence) -> None:
        """A sequence that decodes gives up its memory."""
        self.running.remove(s)
        self._r.running -= 1
        leave(self._e, 0, s.slot, s.length, s.blocks + self._e.limits.extra)
        self.mirror.left(s.slot)

    def _done(self, s: Sequence, t: int) -> None:
        self.world.fates[s.slot].out = s.made
        deliver(self.world, self._r, s.slot, t)

    def _grow(self) -> None:
        """Sequences that cross into a new block take it; while there is none, preempt."""
        e = self._e
        c = e.caches[0]
        while True:
            short = self.running.short()
            if short <= c.free + c.idle:
                break
            self._preempt()
        take(c, e.nodes, e.node_index, e.node_pool[0], short)
        self.mirror.settle()
        for s in self.running.grow():
            self.mirror.grew(s.slot)

    def _preempt(self) -> None:
        """The running sequence that policy names goes back to the queue."""
        victim = self.running[0]
        for s in self.running:
            if victim_before(self._number(s), self._number(victim)):
                victim = s
        t = self._clock.now_ns()
        made = victim.length - int(self._e.requests[victim.slot].prompt)
        self._log(t, "preempt", victim.slot, made)
        if self._beams is not None:
            self._beams.cut(victim, t)
        self._leave(victim)
        if victim.is_over:  # none of its candidates may go on, or the best one has ended
            self._done(victim, t)
            return
        victim.answer.preempted += 1
        victim.begin_again()
        requeue(self._e, 0, victim.slot, made)

    def _end_prefills(self, plan: StepPlan, tokens: list[int], t: int) -> None:
        """Prompts that are complete give their first token, after a preemption their next one."""
        chunks, at = {chunk.slot: chunk for chunk in plan.chunks}, len(plan.decodes)
        previous = -1
        q = int(self._r.pre)
        while q >= 0:
            following = int(self._e.requests[q].next)
            if computed(self._e, 0, q, previous):
                self._first_token(q, tokens, at, t)
                at += self._e.limits.candidates
            else:
                if q in chunks:
                    self.mirror.end(q, chunks[q].start + len(chunks[q].tokens))
                previous = q
            q = following

    def _first_token(self, q: int, tokens: list[int], at: int, t: int) -> None:
        s, v = self._inside[q], self._e.requests[q]
        end_prefill(self._e, 0, q)
        self.mirror.computed(q)
        if v.preempted == 0:
            record_prompt(self.world, self._r, q)
        self._log(t, "first", q)
        if self._beams is None and not s.answer.tokens:
            self.world.fates[q].first = t
        self._count_tokens(1)
        self.running.first(s, tokens, at, t)
        s.blocks = int(v.blocks) - self._e.limits.extra
        self.running.add(s)
        self._r.running += 1
        if s.is_over:
            self._leave(s)
            self._done(s, t)

    def _cancel(self, s: Sequence, t: int) -> None:
        """Its client has gone: it ends here and now, between two steps."""
        q, r = s.slot, self._r
        if self._beams is not None:
            self._beams.drop(s, t)
        if s in self.running:
            self._leave(s)
            self._unload(t)
        elif q in self.mirror.pages.blocks:
            withdraw(self._e, q, t)
            self.mirror.left(q)
        elif s.answer.preempted:  # it waits again: policy's withdrawal is for who had no token yet
            leave_line(self._e, r, q)
            self._unload(t)
        else:
            withdraw(self._e, q, t)
        self._log(t, "cancel", q)
        self._forget(q, State.CANCELLED, t)

    def _unload(self, t: int) -> None:
        r = self._r
        count_load(r, int(r.load), t)
        r.load -= 1
        r.blocked = 0
