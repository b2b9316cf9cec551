"""What becomes of messages, and what their users do next.

A finished answer is logged; its user leaves, asks for another answer, ends the dialogue, or reads,
thinks and replies. A user who has waited too long for a first token gives the message up and sends
it again later, or leaves. One whom the safety gate refuses leaves, says it in other words, or drops
the turn and goes on. Whatever comes next comes at least one epoch after its cause.
"""

import math

from kaiju_sim import rng
from kaiju_sim.engine.patience import end_patience, first_of
from kaiju_sim.engine.policy.withdraw import withdraw
from kaiju_sim.engine.record import LOST, segment_of, withheld
from kaiju_sim.fleet.gate.scores import note, wording
from kaiju_sim.fleet.messages.log import log_message
from kaiju_sim.fleet.records import Cell
from kaiju_sim.workload.habits import ask_key, backoff_s, leaves, rejects
from kaiju_sim.workload.laws import draw, draw_count
from kaiju_sim.workload.sessions import Users, end_session, put_in_wheel, unfile


def give_request(cell: Cell, q: int) -> None:
    """Return a request record."""
    cell.spare[cell.desk[0].spare] = q
    cell.desk[0].spare += 1


def refuse(cell: Cell, s: int, q: int) -> None:
    """Message q of session s cannot be served: it fails, and the session is over."""
    cell.desk[0].failed += 1
    segment = segment_of(cell.world, int(cell.world.engine.requests[q].arrival))
    if segment >= 0:
        cell.world.tally[segment].failed += 1
    log_message(cell, s, q, -1, 1)
    give_request(cell, q)
    end_session(cell.users, s)


def answered(cell: Cell) -> None:
    """Log finished messages; each user goes on."""
    w = cell.world
    for i in range(int(w.done_count[0])):
        q = int(w.done[i].request)
        end = int(w.done[i].end)
        s = int(w.engine.requests[q].session)
        if s < 0:  # a shadow
            give_request(cell, q)
            continue
        if w.done[i].code != 0:
            turned_away(cell, s, q, end, int(w.done[i].code))
            continue
        if w.engine.limits.gated and w.passes[q].answer >= 0:
            note_answer(cell, q)
        if withheld(w, q):
            blocked(cell, s, q, end, 6)
            continue
        if w.engine.limits.gated and w.passes[q].answer >= 0:
            note_answer(cell, q)
        if withheld(w, q):
            blocked(cell, s, q, end, 6)
            continue
        log_message(cell, s, q, end, 0)
        go_on(cell, s, q, end)
        give_request(cell, q)
    w.done_count[0] = 0


def turned_away(cell: Cell, s: int, q: int, t: int, code: int) -> None:
    """Message q of session s was shed, or lost with its replica, at t.

    Its user sends it again later, or leaves.
    """
    w = cell.world
    if w.engine.limits.timeout_ns > 0:
        end_patience(w, q)
    segment = segment_of(w, int(w.engine.requests[q].arrival))
    if segment >= 0 and code == LOST:
        w.tally[segment].failed += 1
    elif segment >= 0:
        w.tally[segment].shed += 1
    log_message(cell, s, q, t, 1 if code == LOST else 3)
    try_again(cell, s, q, t)
    give_request(cell, q)


def go_on(cell: Cell, s: int, q: int, end: int) -> None:
    """Answer q has ended: its user leaves, asks for another one, or accepts it."""
    users = cell.users
    session = users.sessions[s]
    segment = segment_of(cell.world, int(cell.world.engine.requests[q].arrival))
    tally = cell.world.tally[max(segment, 0)]
    who, turn, swipe = int(session.id), int(session.turn), int(session.swipe)
    measured = segment >= 0
    session.attempt = 0
    last = (q + 1) * cell.world.engine.limits.stride - 1
    session.node = cell.world.engine.segments[last].node
    if leaves(users.habits, users.seed, who, turn, swipe):
        tally.abandoned += measured
        end_session(users, s)
    elif rejects(users.habits, users.seed, who, turn, swipe):
        tally.swiped += measured
        session.swipe += 1
        u = rng.uniform(users.seed, rng.SWIPE_DELAY, who, ask_key(turn, swipe))
        file_after(users, s, end, draw(users.laws, 5, u))
    else:
        session.history += cell.world.fates[q].out
        session.turn += 1
        session.swipe = 0
        next_turn(users, s, end)


def note_answer(cell: Cell, q: int) -> None:
    """The classifier of answers has judged message q's."""
    mine = cell.world.passes[q]
    segment = segment_of(cell.world, int(cell.world.engine.requests[q].arrival))
    age, kind, score = int(mine.age), int(mine.answer), float(mine.score)
    note(cell.gate, segment, 1, age, kind, score, withheld(cell.world, q))


def tries_of(u: Users, s: int) -> int:
    """How often session s has put this turn's message in other words."""
    held, session = u.held[s], u.sessions[s]
    return int(held.tries) if held.who == session.id and held.turn == session.turn else 0


def blocked(cell: Cell, s: int, q: int, t: int, status: int) -> None:
    """The safety gate refuses message q, or takes its answer back: what its user does next."""
    g, users = cell.gate, cell.users
    segment = segment_of(cell.world, int(cell.world.engine.requests[q].arrival))
    sums, measured = g.sums[max(segment, 0)], segment >= 0
    mine = cell.world.passes[q]
    wrongly = (mine.kind if mine.answer < 0 else mine.answer) < 2
    g.state[0].blocked += 1
    g.state[0].wrongly += wrongly
    sums.wrongly += measured and wrongly
    if cell.world.engine.limits.timeout_ns > 0:
        end_patience(cell.world, q)
    log_message(cell, s, q, t, status)
    give_request(cell, q)
    session = users.sessions[s]
    who, turn, tries = int(session.id), int(session.turn), tries_of(users, s)
    what = wording(turn, int(session.swipe), tries)
    u = rng.uniform(users.seed, rng.REFUSED, who, what)
    if u < g.leave:
        sums.left += measured
        end_session(users, s)
    elif u < g.leave + g.reword and tries < 127:
        sums.reworded += measured
        session.attempt += 1
        held = users.held[s]
        held.who, held.turn, held.tries = who, turn, tries + 1
        pause = draw(g.laws, 1, rng.uniform(users.seed, rng.REWORD_PAUSE, who, what))
        file_after(users, s, t, pause)
    else:
        sums.dropped += measured
        drop_turn(cell, s, t)


def drop_turn(cell: Cell, s: int, t: int) -> None:
    """Session s gives this turn up: what was said is forgotten, the next turn comes."""
    users = cell.users
    session = users.sessions[s]
    if not users.replay:
        u = rng.uniform(users.seed, rng.USER_TOKENS, int(session.id), int(session.turn))
        session.history = max(0, int(session.history) - draw_count(users.laws, 2, u))
    session.turn += 1
    session.swipe = 0
    session.attempt = 0
    next_turn(users, s, t)


def leave_gate(cell: Cell, q: int, now: int) -> None:
    """Message q is given up at the gate, which goes on to judge it for nobody."""
    mine = cell.world.passes[q]
    s = int(cell.world.engine.requests[q].session)
    mine.inside = 0
    cell.gate.state[0].inside -= 1
    cell.gate.state[0].added -= mine.entered - now
    cell.users.held[s].message = -1 if unfile(cell.users, s) else -2  # -2: it is due


def give_up(cell: Cell, now: int) -> None:
    """At an epoch's start: users whose patience has ended give up, in the order of sending."""
    w = cell.world
    p = w.engine.limits
    if p.timeout_ns == 0 or now % p.epoch_ns != 0:
        return
    q = first_of(w, now)
    while q >= 0:
        following = int(w.fates[q].later)
        if w.engine.requests[q].arrival + p.timeout_ns <= now:  # else in a later turn of the wheel
            end_patience(w, q)
            if w.engine.limits.gated and w.passes[q].inside:
                leave_gate(cell, q, now)
            else:
                withdraw(w.engine, q, now)
            segment = segment_of(w, int(w.engine.requests[q].arrival))
            if segment >= 0:
                w.tally[segment].cancelled += 1
            s = int(w.engine.requests[q].session)
            log_message(cell, s, q, now, 4)
            try_again(cell, s, q, now)
            give_request(cell, q)
        q = following


def try_again(cell: Cell, s: int, q: int, now: int) -> None:
    """Message q got no answer: session s sends it again after a pause, or is over."""
    users = cell.users
    session = users.sessions[s]
    segment = segment_of(cell.world, int(cell.world.engine.requests[q].arrival))
    tally = cell.world.tally[max(segment, 0)]
    measured = segment >= 0
    attempt = int(session.attempt)
    if attempt >= users.habits.retries or not affords(cell):
        tally.gave_up += measured
        end_session(users, s)
        return
    tally.retries += measured
    who, turn, swipe = int(session.id), int(session.turn), int(session.swipe)
    session.attempt = attempt + 1
    file_after(users, s, now, backoff_s(users.habits, users.seed, who, turn, swipe, attempt))


def affords(cell: Cell) -> bool:
    """Take a retry out of the cell's retry budget, if it has one left: a token bucket.

    Every message sent for the first time earns a part of a retry; it holds 100 at most.
    """
    each = cell.users.habits.retry_budget
    if each == math.inf:
        return True
    desk = cell.desk[0]
    first = int(desk.messages) - int(desk.retried)
    if first > desk.earned_by:  # a retry that is granted but not sent yet makes it too small
        earned = (first - int(desk.earned_by)) * each
        desk.allowance = min(100.0, float(desk.allowance) + earned)
        desk.earned_by = first
    if desk.allowance < 1.0:
        return False
    desk.allowance -= 1.0
    desk.retried += 1
    return True


def next_turn(users: Users, s: int, end: int) -> None:
    """An answer is accepted: the user thinks and replies, or the dialogue is over."""
    session = users.sessions[s]
    if session.turn >= session.turns:
        end_session(users, s)
        return
    u = rng.uniform(users.seed, rng.THINK, int(session.id), int(session.turn))
    file_after(users, s, end, draw(users.laws, 1, u))


def file_after(users: Users, s: int, cause: int, pause_s: float) -> None:
    """File session s for a message, a pause and at least one epoch after its cause."""
    pause = int(min(pause_s, 1e9) * 1e9 + 0.5)
    if pause < users.epoch_ns:
        users.clock[0].clipped += 1
        pause = users.epoch_ns
    users.sessions[s].at = cause + pause
    put_in_wheel(users, s)
