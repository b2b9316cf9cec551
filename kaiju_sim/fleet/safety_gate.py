"""The safety gate of a cell: messages are judged before they are routed, answers at their end.

A message comes to the gate at its arrival. A pool of servers (`gate/pool.py`) judges it; it is
routed when it has passed, so that its wait is part of its time to first token, or leaves without
having touched a GPU. Whether its answer will be blocked is drawn with it, but acts when the answer
ends. What refused users do is in `messages/outcomes.py`; the control plane may change thresholds,
shift scores and take the gate down between two advances of the data plane (the last functions
here): verdicts from then on are by the new ones.

Not modelled: the time of the classifier of answers (it streams beside them), a verdict on every
chunk (an answer has one score), users who learn to avoid the gate.
"""

from kaiju_sim import rng
from kaiju_sim.engine.record import segment_of
from kaiju_sim.fleet.gate.pool import line_full, serve
from kaiju_sim.fleet.gate.records import Gate
from kaiju_sim.fleet.gate.scores import (
    answer_class,
    answer_score,
    class_of,
    message_score,
    note,
    wording,
)
from kaiju_sim.fleet.messages.outcomes import blocked, tries_of
from kaiju_sim.fleet.messages.prompts import dialogue_key, lay_aside
from kaiju_sim.fleet.messages.sending import arrive
from kaiju_sim.fleet.records import Cell
from kaiju_sim.sketch import bin_of
from kaiju_sim.workload.laws import draw
from kaiju_sim.workload.sessions import put_in_wheel, sort_due


def pass_gate(cell: Cell, stop: int) -> None:
    """Messages of the epoch go to the gate; due stays, in order, who leaves it before `stop`."""
    u = cell.users
    clock = u.clock[0]
    kept = 0
    for i in range(int(clock.due)):
        s = int(u.due[i])
        held = u.held[s]
        if held.message == -2:  # given up after it was gathered
            held.message = -1
            continue
        if held.message < 0 and not enter(cell, s):
            continue
        at = int(cell.world.passes[held.message].entered)
        u.sessions[s].at = at
        if at >= stop:
            put_in_wheel(u, s)
            continue
        u.due[kept] = s
        u.due_at[kept] = at
        kept += 1
    clock.due = kept
    sort_due(u, kept)


def enter(cell: Cell, s: int) -> bool:
    """Session s sends a message, which comes to the gate; False if it cannot be served at all."""
    q = arrive(cell, s)
    if cell.world.fates[q].failed:
        return False
    judge(cell, s, q)
    mine = cell.world.passes[q]
    mine.inside = 1
    cell.users.held[s].message = q
    state = cell.gate.state[0]
    state.inside += 1
    state.added += mine.entered - cell.world.engine.requests[q].arrival
    return True


def release(cell: Cell, s: int) -> int:
    """Session s's message leaves the gate: returns it, or -1 if it is refused."""
    held = cell.users.held[s]
    q = int(held.message)
    held.message = -1
    mine = cell.world.passes[q]
    mine.inside = 0
    cell.gate.state[0].inside -= 1
    if mine.verdict != 1:
        return q
    refuse_before(cell, s, q, int(mine.entered))
    return -1


def refuse_before(cell: Cell, s: int, q: int, t: int) -> None:
    """Message q is refused at t before the model has seen it."""
    w = cell.world
    v = w.engine.requests[q]
    segment = segment_of(w, int(v.arrival))
    if segment >= 0:
        w.tally[segment].blocked_pre += 1
        w.tally[segment].free_blocked += v.tier
        sums = cell.gate.sums[segment]
        stay = t - int(v.arrival)
        sums.blocked += 1
        sums.refusal += stay
        cell.gate.sketch[segment, 2, bin_of(stay)] += 1
    blocked(cell, s, q, t, 5)


def judge(cell: Cell, s: int, q: int) -> None:
    """What the gate makes of message q, which session s has just sent."""
    g, u = cell.gate, cell.users
    session = u.sessions[s]
    who, turn = int(session.id), int(session.turn)
    mine = cell.world.passes[q]
    mine.entered = cell.world.engine.requests[q].arrival
    mine.verdict = 0
    mine.answer = -1
    mine.age = rng.uniform(u.seed, rng.AGE, dialogue_key(cell.prompts, u, s), 0) < g.teens
    mine.kind = class_of(g, u.seed, int(mine.age), who, turn)
    if g.pre != 0:
        screen(cell, s, q)
    if g.post != 0 and mine.verdict == 0:
        foresee(cell, s, q)
    if mine.verdict == 2 and cell.prompts.asides and cell.world.engine.limits.prefix_cache:
        lay_aside(cell.world.engine, u, session, q)


def screen(cell: Cell, s: int, q: int) -> None:
    """The classifier of messages: when q leaves the gate, and with which verdict."""
    g = cell.gate
    now = int(cell.world.engine.requests[q].arrival)
    mine = cell.world.passes[q]
    segment = segment_of(cell.world, now)
    stops = 2 if g.pre == 2 else 1
    if g.state[0].down != 0 or line_full(g, now):
        opens = g.open_failed if g.state[0].down != 0 else g.open_full
        mine.verdict = unjudged(g, segment, opens, stops)
        return
    wait, leaves, known = serve(g, now, work_ns(cell, s))
    if g.pre == 1:
        mine.entered = leaves
    record_stay(g, segment, wait, leaves - now)
    if not known:
        mine.verdict = unjudged(g, segment, g.open_failed, stops)
        return
    score = score_of(cell, s, q)
    stopped = bool(score >= g.limit[0, int(mine.age)])
    note(g, segment, 0, int(mine.age), int(mine.kind), score, stopped)
    if stopped:
        mine.verdict = stops


def score_of(cell: Cell, s: int, q: int) -> float:
    """Log-odds of the score of session s's message q."""
    session, mine = cell.users.sessions[s], cell.world.passes[q]
    who, turn, tries = int(session.id), int(session.turn), tries_of(cell.users, s)
    return message_score(
        cell.gate, cell.users.seed, int(mine.age), int(mine.kind), who, turn, tries
    )


def work_ns(cell: Cell, s: int) -> int:
    """Service time of session s's message, at least a nanosecond."""
    session = cell.users.sessions[s]
    what = wording(int(session.turn), int(session.swipe), int(session.attempt))
    u = rng.uniform(cell.users.seed, rng.GATE_SERVICE, int(session.id), what)
    return max(1, int(min(draw(cell.gate.laws, 0, u), 1e9) * 1e9 + 0.5))


def unjudged(g: Gate, segment: int, opens: int, stops: int) -> int:
    """The verdict on a message that nobody judges in time."""
    if segment >= 0:
        g.sums[segment].unchecked += opens
        g.sums[segment].refused += 1 - opens
    return 0 if opens else stops


def record_stay(g: Gate, segment: int, wait: int, stay: int) -> None:
    """Times of a message of the measured cohort at the gate."""
    if segment < 0:
        return
    sums = g.sums[segment]
    sums.served += 1
    sums.wait += wait
    sums.stay += stay
    g.sketch[segment, 0, bin_of(wait)] += 1
    g.sketch[segment, 1, bin_of(stay)] += 1


def foresee(cell: Cell, s: int, q: int) -> None:
    """What will be made of message q's answer: drawn now, known to nobody until it ends."""
    g, seed = cell.gate, cell.users.seed
    session, mine, fate = cell.users.sessions[s], cell.world.passes[q], cell.world.fates[q]
    p = cell.world.engine.limits
    who, age = int(session.id), int(mine.age)
    what = wording(int(session.turn), int(session.swipe), tries_of(cell.users, s))
    mine.answer = answer_class(g, seed, int(mine.kind), who, what)
    mine.score = answer_score(
        g, seed, age, int(mine.answer), who, what, p.candidates if g.post == 2 else 1
    )
    if mine.score < g.limit[1, age]:
        return
    mine.verdict = 2
    if g.post == 2:
        chunks = (int(fate.out) + p.chunk - 1) // p.chunk
        last = 1 + int(rng.uniform(seed, rng.FILTERED_CHUNK, who, what) * chunks)
        fate.out = min(int(fate.out), last * p.chunk)
        fate.left = fate.out
        segment = segment_of(cell.world, int(cell.world.engine.requests[q].arrival))
        if segment >= 0:
            g.sums[segment].cut += last < chunks
