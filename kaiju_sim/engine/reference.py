"""The reference loop: the specification of a replica, in plain Python, one step at a time.

It calls the same policy as the compiled loop, and looks at every running sequence in every step: no
ring of buckets, no residues, no running sums, no fast-forward. A GPU engine is this loop with
another executor and another clock. Tests compare its event log with the compiled loop's exactly.
"""

from dataclasses import dataclass, field

from kaiju_sim.engine.crash import lose, lose_rest, stop
from kaiju_sim.engine.layout import NEVER, Rec, World
from kaiju_sim.engine.loop import duration_ns
from kaiju_sim.engine.policy.batching import computed, form_batch, requeue, victim_before, wake_time
from kaiju_sim.engine.policy.kv.memory import blocks_of, end_prefill, leave
from kaiju_sim.engine.policy.kv.prefix import take
from kaiju_sim.engine.policy.pacing import attention_ns
from kaiju_sim.engine.record import deliver, hand_over_shed, record_gap, record_prompt
from kaiju_sim.steptime.curves import after_ns, decode_ns, fixed_ns


@dataclass(slots=True)
class Sequence:
    """A message that decodes."""

    request: int
    context: int
    """Tokens so far, the last one's KV not yet computed."""
    left: int
    """Tokens still to come: the simulated world knows, policy does not."""
    blocks: int
    last_ns: int
    """When its last token was delivered."""


@dataclass
class ReferenceLoop:
    """All replicas of a cell; `world` holds record arrays viewed as rows."""

    world: World
    running: list[list[Sequence]] = field(default_factory=list)
    left: dict[int, int] = field(default_factory=dict)
    """Tokens still to come of preempted messages."""
    last_ns: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.running = [[] for _ in range(self.world.engine.limits.replicas)]

    def advance_unit(self, first: int, last: int, until: int) -> None:
        """Every event of replicas [first, last) in order: completions, then starts, by replica.

        Completions at `until` are included, starts are not (arrivals of that instant come first).
        """
        while True:
            at, phase, k = min(self._next(k) for k in range(first, last))
            if at > until or (phase == 1 and at == until):
                return
            if phase == 1:
                self.world.engine.replicas[k].pending = -1
                self._start(k, at)
            else:
                self._end(k, at)

    def crash(self, k: int, t: int) -> None:
        """Replica k dies at time t: `engine.crash`, but for where running sequences are kept."""
        r = self.world.engine.replicas[k]
        for s in sorted(self.running[k], key=self._number):
            self._leave(k, r, s)
            lose(self.world, k, s.request, t)
        before = int(self.world.done_count[0])
        lose_rest(self.world, k, t)
        for i in range(before, int(self.world.done_count[0])):  # preempted ones are among them
            q = int(self.world.done[i].request)
            self.left.pop(q, None)
            self.last_ns.pop(q, None)
        stop(self.world, k, t)

    def _next(self, k: int) -> tuple[int, int, int]:
        r = self.world.engine.replicas[k]
        return (int(r.pending), 1, k) if r.pending >= 0 else (int(r.end), 0, k)

    def _start(self, k: int, t: int) -> None:
        w = self.world
        e = w.engine
        r = e.replicas[k]
        contexts = [s.context for s in self.running[k] for _ in range(e.limits.candidates)]
        r.context = sum(contexts)
        r.window = sum(min(context, e.limits.window) for context in contexts)
        batch = form_batch(e, k, t)
        r.decoding = batch.decodes
        hand_over_shed(w, r, t)
        if batch.rows + batch.decodes == 0:
            r.end = NEVER
            r.pending = wake_time(e, k)
            return
        group = int(r.group)
        rows, prompts = batch.rows + batch.decodes, int(r.filling)
        r.fixed = fixed_ns(e.curves, rows, batch.decodes + prompts, prompts, group)
        decode = 0.0
        if batch.decodes:
            decode = decode_ns(e.curves, int(r.context), int(r.window), batch.decodes, group)
        prefill = attention_ns(e.curves, batch, group)
        dt = duration_ns(w, k, int(r.steps), float(r.fixed), decode, prefill)
        if batch.decodes:
            r.decode_ns += dt
            r.decode_steps += 1
        r.begin = t
        r.end = t + dt
        r.rest = after_ns(e.curves, batch.decodes, prompts, group)
        r.busy += dt + int(r.rest)
        r.prefill_rows_ns += dt * batch.rows // (batch.rows + batch.decodes)
        r.steps += 1

    def _end(self, k: int, t: int) -> None:
        r = self.world.engine.replicas[k]
        if r.decoding > 0:
            self._end_decode(k, r, t)
        self._end_prefills(k, r, t)
        r.end = NEVER
        r.ended = t
        r.pending = t + int(r.rest)

    def _end_decode(self, k: int, r: Rec, t: int) -> None:
        batch = self.running[k]
        p = self.world.engine.limits
        for s in batch:
            s.context += 1
            s.left -= 1
            r.generated += p.candidates
            self._deliver_tokens(r, s, t)
        for s in sorted(batch, key=self._number):
            if s.left == 0:
                self._leave(k, r, s)
                deliver(self.world, r, s.request, t)
        self._grow(k, r)

    def _deliver_tokens(self, r: Rec, s: Sequence, t: int) -> None:
        """A chunk that is complete, or the answer's end: a gap before its tokens, none between."""
        fate, chunk = self.world.fates[s.request], self.world.engine.limits.chunk
        made = int(fate.out) - s.left
        if s.left > 0 and made % chunk > 0:
            return
        if self.world.engine.requests[s.request].session < 0:
            return
        tokens = made % chunk or chunk
        if fate.first < 0:
            fate.first = t
        else:
            record_gap(self.world, t - s.last_ns, 1)
        for _ in range(tokens - 1):
            record_gap(self.world, 0, 1)
        s.last_ns = t
        r.tokens += tokens

    def _number(self, s: Sequence) -> int:
        return int(self.world.engine.requests[s.request].number)

    def _leave(self, k: int, r: Rec, s: Sequence) -> None:
        e = self.world.engine
        self.running[k].remove(s)
        r.running -= 1
        leave(e, k, s.request, s.context, s.blocks + e.limits.extra)

    def _grow(self, k: int, r: Rec) -> None:
        e = self.world.engine
        c = e.caches[k]
        while True:
            short = [s for s in self.running[k] if blocks_of(s.context, e.limits.shift) > s.blocks]
            if len(short) <= c.free + c.idle:
                break
            self._preempt(k, r)
        take(c, e.nodes, e.node_index, e.node_pool[0], len(short))
        for s in short:
            s.blocks += 1

    def _preempt(self, k: int, r: Rec) -> None:
        victim = self.running[k][0]
        for s in self.running[k]:
            if victim_before(self._number(s), self._number(victim)):
                victim = s
        q = victim.request
        self._leave(k, r, victim)
        self.left[q] = victim.left
        self.last_ns[q] = victim.last_ns
        made = victim.context - int(self.world.engine.requests[q].prompt)
        requeue(self.world.engine, k, q, made)

    def _end_prefills(self, k: int, r: Rec, t: int) -> None:
        e = self.world.engine
        previous = -1
        q = int(r.pre)
        while q >= 0:
            following = int(e.requests[q].next)
            if computed(e, k, q, previous):
                self._first_token(k, r, q, t)
            else:
                previous = q
            q = following

    def _first_token(self, k: int, r: Rec, q: int, t: int) -> None:
        w = self.world
        v = w.engine.requests[q]
        fate = w.fates[q]
        p = w.engine.limits
        end_prefill(w.engine, k, q)
        r.generated += p.candidates
        if v.preempted == 0:
            record_prompt(w, r, q)
        left = self.left.pop(q, int(fate.out)) - 1
        blocks = int(v.blocks) - p.extra
        s = Sequence(q, int(v.prompt) + 1, left, blocks, self.last_ns.pop(q, t))
        self._deliver_tokens(r, s, t)
        if left > 0:
            self.running[k].append(s)
            r.running += 1
            return
        leave(w.engine, k, q, s.context, s.blocks + p.extra)
        deliver(w, r, q, t)
