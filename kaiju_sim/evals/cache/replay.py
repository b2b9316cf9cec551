"""Messages of a fleet replayed through its prompts and prefix caches, without engine steps.

Users are the scenario's own (arrivals, turns, thinking, swipes), prompts are composed and cut by
the simulator's code and then laid out in the format under test, and memory is given and taken by
the policy functions of the engine. What is left out is time: prefill takes none, a token takes
`evals.cache.token_time`, and nothing queues; a message that finds no memory is answered from none.
Only the dialogues of a few replicas are followed. Who goes where follows from the router's policy:
by character (a hot one has as many copies as it takes replicas, at most `router.max_copies`), by
dialogue, or anywhere.
"""

import heapq
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from kaiju_sim import rng
from kaiju_sim.engine.layout import SEGMENT, Rec
from kaiju_sim.engine.policy.kv.memory import admit, blocks_of, end_prefill, leave
from kaiju_sim.engine.policy.kv.prefix import take
from kaiju_sim.errors import UserError
from kaiju_sim.evals.cache import paths
from kaiju_sim.evals.change import Format
from kaiju_sim.fleet.cell import prepare
from kaiju_sim.fleet.messages.outcomes import give_request, go_on
from kaiju_sim.fleet.messages.prompts import compose, compose_past
from kaiju_sim.fleet.messages.sending import fill_fate, take_request
from kaiju_sim.fleet.records import Cell
from kaiju_sim.fleet.reference import viewed
from kaiju_sim.fleet.setup.build import Plant, build_cell, ns
from kaiju_sim.fleet.setup.grow import grown
from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.workload.popularity import zipf_shares
from kaiju_sim.workload.sessions import end_session, put_in_wheel

TIERS = ("head", "middle", "tail")
BY_CHARACTER = ("affinity", "rendezvous")
BY_DIALOGUE = ("sticky", "prefix_aware")
NO_MEMORY, NOT_KEPT = "(no memory)", "(not kept)"
"""Why a prompt was computed although nothing in it was new."""
MOST_SCATTERED = 200_000
"""Live dialogues at most where messages go anywhere, so that all of them must be followed."""
MOST_IN_VAIN = 60
"""The replay ends, short of requests, after this many times the messages asked for."""


@dataclass
class Tally:
    """What became of one tier's requests."""

    requests: int = 0
    prompt: int = 0
    hit: int = 0
    first_requests: int = 0
    first_prompt: int = 0
    first_hit: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    """Prompt tokens computed, by the part that was new."""
    breaks: Counter[str] = field(default_factory=Counter)
    """Requests, by the part that was new."""
    no_memory: int = 0

    def add(self, prompt: int, hit: int, first: bool, cause: str) -> None:
        """One more request."""
        self.requests += 1
        self.prompt += prompt
        self.hit += hit
        if first:
            self.first_requests += 1
            self.first_prompt += prompt
            self.first_hit += hit
        self.lost[cause] += prompt - hit
        self.breaks[cause] += 1


def tiers_of(scenario: Scenario) -> tuple[np.ndarray, np.ndarray]:
    """The tier (0 head, 1 middle, 2 tail) and the share of each character, by popularity."""
    c, gate = scenario.characters, scenario.evals.cache
    share = zipf_shares(c.count, c.zipf, c.head_cap)
    below = np.cumsum(share) - share / 2  # a character's middle: the first one is never tail
    tier = (below > gate.head_share).astype(np.int64) + (below > 1 - gate.tail_share)
    tier[0] = 0
    return tier, share


class Replay:
    """One cell's dialogues under one prompt format."""

    def __init__(self, plant: Plant, fmt: Format) -> None:
        s = self.scenario = plant.scenario
        check(s)
        self.format = fmt
        self.tier, share = tiers_of(s)
        self.replicas = s.fleet.replicas // s.fleet.cells
        self.copies = np.clip(
            np.ceil(share * self.replicas), 1, min(s.router.max_copies, self.replicas)
        ).astype(np.int64)
        self.scattered = s.router.policy not in BY_CHARACTER + BY_DIALOGUE
        self.sampled = self.replicas if self.scattered else s.evals.cache.replicas
        self.sampled = min(self.sampled, self.replicas)
        versions = np.zeros(s.characters.count, np.int32)
        self.cell = self._laid_out(build_cell(plant, 0, versions))
        self.rows: Cell = viewed(self.cell)
        self.persona = s.prompt.persona_tokens
        self.ending: list[tuple[int, int, int, int]] = []
        self.seen: set[tuple[int, int]] = set()
        self.last: dict[int, tuple[list[int] | None, int]] = {}
        self.tallies = [Tally() for _ in TIERS]
        self.most = s.evals.cache.requests
        self.messages = 0

    def _laid_out(self, cell: Cell) -> Cell:
        """The cell with paths long enough for the format and prompts of its length."""
        engine = cell.world.engine
        stride = max(int(engine.limits.stride), len(self.format) + 1)
        engine = engine._replace(
            limits=engine.limits._replace(stride=stride),
            segments=np.zeros(engine.requests.size * stride, SEGMENT),
        )
        extra = paths.fixed_tokens(self.format)
        persona = sum(p.share for p in self.format if p.source == "persona") > 0
        before = extra + (self.scenario.prompt.persona_tokens if persona else 0)
        prompts = cell.prompts._replace(date_tokens=0, persona_tokens=before)
        if int(prompts.definition.max()) + before >= prompts.limit:
            raise UserError("--change: the longest prompt leaves no room for history")
        return cell._replace(world=cell.world._replace(engine=engine), prompts=prompts)

    def place(self, session: Rec) -> int:
        """The replica that a session's next message goes to."""
        seed, who = self.scenario.seed, int(session.id)
        if self.scattered:
            key = int(session.turn) * 128 + int(session.swipe)
            return rng.hash_of(seed, rng.ROUTER, who, key) % self.replicas
        if self.scenario.router.policy in BY_DIALOGUE or self._by_session():
            return rng.hash_of(seed, rng.ROUTER, who, 0) % self.replicas
        c = int(session.character)
        copy = rng.hash_of(seed, rng.ROUTER, who, 1) % int(self.copies[c])
        first = rng.hash_of(seed, rng.HOME, c, 0) % self.replicas
        return (first + copy) % self.replicas

    def _by_session(self) -> bool:
        router = self.scenario.router
        return router.policy == "rendezvous" and router.rendezvous_key == "session"

    def run(self) -> list[Tally]:
        """Replay until every tier has its requests (or far too many messages were in vain)."""
        self._warm()
        epoch = self.rows.users.epoch_ns
        while not self._enough():
            self._epoch(epoch)
        return self.tallies

    def _enough(self) -> bool:
        if self.messages > MOST_IN_VAIN * self.most * len(TIERS):
            return True
        if int(self.rows.users.clock[0].now) >= self.rows.users.horizon_ns:
            return True
        return all(t.requests >= self.most for t in self.tallies)

    def _warm(self) -> None:
        """Keep the sampled replicas' dialogues, and put their past into the caches."""
        clock, users = self.rows.users.clock[0], self.rows.users
        clock.warming = 0
        users.wheel[:] = -1
        for s in range(int(clock.started)):
            session = users.sessions[s]
            if self.place(session) >= self.sampled:
                end_session(users, s)
                continue
            put_in_wheel(users, s)
            if self.scenario.run.start == "warm" and session.turn + session.swipe > 0:
                self._remember(s)

    def _remember(self, s: int) -> None:
        """What a session said and heard before time 0."""
        self._grow()
        session = self.rows.users.sessions[s]
        q = take_request(self.rows)
        e = self.rows.world.engine
        prompt = compose_past(e, self.rows.prompts, self.rows.users, s, q)
        k = self.place(session)
        marks = self._path(q, session, prompt, -1.0 - int(session.id) % 50)
        if admit(e, k, q, 0):
            self._note(k, session, prompt, marks)
            end_prefill(e, k, q)
            leave(e, k, q, prompt + 1, int(e.requests[q].blocks))
        give_request(self.rows, q)

    def _path(self, q: int, session: Rec, prompt: int, now_s: float) -> list[paths.Mark]:
        """Lay request q out in the format."""
        p, e = self.rows.prompts, self.rows.world.engine
        definition = int(p.definition[session.character])
        history = max(0, prompt - definition - int(p.persona_tokens))
        sizes = paths.tokens_of(self.format, definition, self.persona, history)
        sizes[-1] += prompt - sum(sizes)
        pinned = p.pin_session != 0
        version = int(session.version if pinned else self.rows.users.versions[session.character])
        now = paths.Moment(now_s, p.day_offset_ns * 1e-9)
        said = now_s >= 0  # else it is of before the start, and no later message is the same
        message = (int(session.id) << 40) + (int(session.turn) << 8) + int(session.swipe) + 1
        message = message if said else -message
        pieces, marks = paths.laid_out(self.format, sizes, session, version, message, now)
        if e.limits.prefix_cache:
            paths.write(e, self.rows.users, session, q, pieces)
        return marks

    def _grow(self) -> None:
        """Room for one epoch's messages."""
        while need := prepare(self.rows, 0, 0):
            self._more(need)
        self.rows.users.clock[0].due = -1

    def _more(self, need: int) -> None:
        self.cell = grown(self.cell, need)
        self.rows = viewed(self.cell, self.rows)

    def _epoch(self, epoch_ns: int) -> None:
        """One epoch: its messages in order of time, answers that end between them."""
        clock = self.rows.users.clock[0]
        now = int(clock.now)
        stop = now + epoch_ns
        while need := prepare(self.rows, now, stop):
            self._more(need)
        clock = self.rows.users.clock[0]
        for i in range(int(clock.due)):
            s = int(self.rows.users.due[i])
            self._end_until(int(self.rows.users.due_at[i]))
            self._message(s)
        self._end_until(stop)
        clock.due = -1
        clock.now = stop

    def _message(self, s: int) -> None:
        """Session s sends a message; if it is not of the sampled replicas, it is forgotten."""
        session = self.rows.users.sessions[s]
        k = self.place(session)
        if k >= self.sampled:
            end_session(self.rows.users, s)
            return
        self.messages += 1
        q = take_request(self.rows)
        e = self.rows.world.engine
        at = int(session.at)
        out = compose(e, self.rows.prompts, self.rows.users, s, q)
        if not fill_fate(self.rows, q, out):
            give_request(self.rows, q)
            end_session(self.rows.users, s)
            return
        marks = self._path(q, session, int(e.requests[q].prompt), at * 1e-9)
        held = admit(e, k, q, at)
        self._count(session, q, k, marks, held)
        if held:
            self._note(k, session, int(e.requests[q].prompt), marks)
            end_prefill(e, k, q)
        wait = ns(self.scenario.evals.cache.token_time * int(self.rows.world.fates[q].out))
        heapq.heappush(self.ending, (at + wait, s, q, k if held else -1))

    def _count(self, session: Rec, q: int, k: int, marks: Sequence[paths.Mark], ok: bool) -> None:
        tally = self.tallies[int(self.tier[session.character])]
        if tally.requests >= self.most:
            return
        v = self.rows.world.engine.requests[q]
        first = int(session.turn) + int(session.swipe) == 0
        hit = int(v.cached) if ok else 0
        tally.no_memory += not ok
        cause = self._cause(session, k, marks, hit) if ok else NO_MEMORY
        tally.add(int(v.prompt), hit, first, cause)

    def _cause(self, session: Rec, k: int, marks: Sequence[paths.Mark], hit: int) -> str:
        """The first part that is not as it was: in the dialogue's last prompt, or, for its first
        one, in any that this replica has seen. If all are: the cache has not kept them, or what is
        new is what the history has gained."""
        chains, tokens = self.last.get(int(session.id), (None, 0))
        for i, mark in enumerate(marks):
            new = mark.chain != chains[i] if chains else (k, mark.chain) not in self.seen
            if new:
                return mark.part
        slack = 2 << self.rows.world.engine.limits.shift
        return marks[-1].part if hit >= tokens - slack else NOT_KEPT

    def _note(self, k: int, session: Rec, prompt: int, marks: Sequence[paths.Mark]) -> None:
        self.seen.update((k, mark.chain) for mark in marks)
        self.last[int(session.id)] = ([mark.chain for mark in marks], prompt)

    def _end_until(self, t: int) -> None:
        """Answers that end up to t: their KV is left in the cache, their users go on."""
        while self.ending and self.ending[0][0] <= t:
            end, s, q, k = heapq.heappop(self.ending)
            if k >= 0:
                self._leave(q, k)
            go_on(self.rows, s, q, end)
            give_request(self.rows, q)

    def _leave(self, q: int, k: int) -> None:
        """Message q gives up its memory, with the blocks that its answer needed."""
        e = self.rows.world.engine
        v, c = e.requests[q], e.caches[k]
        context = int(v.prompt) + int(self.rows.world.fates[q].out)
        held = int(v.blocks)
        need = max(0, blocks_of(context, e.limits.shift) + e.limits.extra - held)
        if need <= c.free + c.idle:
            take(c, e.nodes, e.node_index, e.node_pool[0], need)
            held += need
        context = min(context, (held - e.limits.extra) << e.limits.shift)
        leave(e, k, q, context, held)


def check(s: Scenario) -> None:
    """UserError for scenarios whose messages cannot be replayed so."""
    if s.traffic.kind == "replay":
        raise UserError("traffic.kind is replay: a trace does not say what its prompts are made of")
    scattered = s.router.policy not in BY_CHARACTER + BY_DIALOGUE
    if scattered and s.traffic.sessions.live // s.fleet.cells > MOST_SCATTERED:
        raise UserError(
            f"router.policy {s.router.policy} sends messages anywhere: at most {MOST_SCATTERED:,}"
            " live dialogues of a cell can be followed (traffic.sessions.live)"
        )
