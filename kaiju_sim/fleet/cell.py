"""A cell: one router, its replicas and its users, advanced epoch by epoch.

In an epoch [t, t + W) load reports are taken at its start (after completions at t), arrivals are
routed one by one in order of time from what the router knows, then each unit runs to the epoch's
end: a replica by itself, or all of them where they share the central queue. The next turn of a
dialogue comes at least W after its cause, so units are independent inside an epoch and the result
is exact for the modelled system.
"""

from kaiju_sim import rng
from kaiju_sim.engine.layout import NEVER, Engine, World
from kaiju_sim.engine.lend import lend
from kaiju_sim.engine.loop import (
    advance,
    beyond,
    contested,
    enqueue,
    enqueue_centrally,
    first_event,
)
from kaiju_sim.engine.policy.batching import (
    admit,
    end_prefill,
    leave,
)
from kaiju_sim.engine.policy.routing import choose, see_report, take_report
from kaiju_sim.engine.record import in_cohort
from kaiju_sim.fleet.log import log_message
from kaiju_sim.fleet.prompts import (
    compose,
    compose_past,
    compose_row,
    dialogue_key,
    is_paid,
)
from kaiju_sim.fleet.records import Cell
from kaiju_sim.workload.laws import draw
from kaiju_sim.workload.sessions import Users, add_due, end_session, gather, put_in_wheel


def take_request(cell: Cell) -> int:
    """An unused request record."""
    cell.desk[0].spare -= 1
    return int(cell.spare[cell.desk[0].spare])


def give_request(cell: Cell, q: int) -> None:
    """Return a request record."""
    cell.spare[cell.desk[0].spare] = q
    cell.desk[0].spare += 1


def fill_fate(cell: Cell, q: int, out: int) -> bool:
    """What will become of message q; False when its prompt exceeds the engine's context."""
    v = cell.world.engine.requests[q]
    fate = cell.world.fates[q]
    room = cell.prompts.max_context - int(v.prompt)
    fate.first = -1
    fate.joined = 0
    fate.due = 0
    fate.born = 0
    fate.grows = 0
    fate.fresh = -1
    fate.prompt = v.prompt
    fate.failed = room <= 0
    fate.out = min(out, room) if room > 0 else 0
    fate.left = fate.out
    if room > 0 and out > room:
        cell.desk[0].cut += 1
    return room > 0


def note_turn(u: Users, s: int) -> None:
    """Count the time since the session's last message (the realised turn cycle)."""
    session = u.sessions[s]
    if session.last < NEVER:
        u.clock[0].gaps += 1
        u.clock[0].gap_sum += session.at - session.last
    session.last = session.at


def arrive(cell: Cell, s: int) -> int:
    """Session s sends its message: returns the request; `failed` says if it cannot be served."""
    e = cell.world.engine
    q = take_request(cell)
    if cell.users.clock[0].warming:
        compose_past(e, cell.prompts, cell.users, s, q)
        cell.world.fates[q].failed = 0
        return q
    if cell.users.replay:
        out = compose_row(e, cell.prompts, cell.users, s, q)
    else:
        out = compose(e, cell.prompts, cell.users, s, q)
    if cell.paid_share > 0.0 and is_paid(cell.prompts, cell.users, s, cell.paid_share):
        e.requests[q].tier = 0
    note_turn(cell.users, s)
    desk = cell.desk[0]
    desk.messages += 1
    if in_cohort(cell.world, int(e.requests[q].arrival)):
        desk.cohort += 1
        desk.cohort_free += e.requests[q].tier
        desk.prompt += e.requests[q].prompt
    if not fill_fate(cell, q, out):
        refuse(cell, s, q)
    return q


def refuse(cell: Cell, s: int, q: int) -> None:
    """Message q of session s cannot be served: it fails, and the session is over."""
    cell.desk[0].failed += 1
    if in_cohort(cell.world, int(cell.world.engine.requests[q].arrival)):
        cell.world.tally[0].failed += 1
    log_message(cell, s, q, -1, 1)
    give_request(cell, q)
    end_session(cell.users, s)


def into_inbox(e: Engine, k: int, q: int) -> None:
    """Message q will be delivered to unit k at its arrival time."""
    place = e.replicas[k]
    if place.inbox >= 0:
        e.requests[place.inbox_tail].next = q
    else:
        place.inbox = q
    place.inbox_tail = q


def route(cell: Cell) -> None:
    """Route the messages of the epoch into inboxes, in order of time.

    While caches are warmed, each dialogue's past goes into the cache of the replica chosen instead.
    """
    e = cell.world.engine
    warming = cell.users.clock[0].warming != 0
    for i in range(int(cell.users.clock[0].due)):
        s = int(cell.users.due[i])
        q = arrive(cell, s)
        if cell.world.fates[q].failed:
            continue
        if e.hub[0].central and not warming:
            into_inbox(e, 0, q)
            continue
        session = cell.users.sessions[s]
        key = dialogue_key(cell.prompts, cell.users, s)
        k = choose(e, cell.routing, q, int(session.character), key, int(session.replica))
        session.replica = k
        if warming:
            remember(e, k, q)
            give_request(cell, q)
        else:
            into_inbox(e, k, q)


def remember(e: Engine, k: int, q: int) -> None:
    """Leave request q's prompt in replica k's cache, as if its answer had just ended."""
    if admit(e, k, q, 0):
        end_prefill(e, k, q)
        context = int(e.requests[q].prompt) + 1
        leave(e, k, q, context, int(e.requests[q].blocks))


def run_units(w: World, until: int) -> None:
    """Deliver each unit's inbox and run it to `until`, one unit after the other.

    A unit is a replica; with the central queue it is the whole cell, whose inbox is replica 0's.
    While messages wait in the central queue its replicas compete for them: events are taken in
    order of time, completions before starts, ties by replica. Otherwise they are independent.
    """
    e = w.engine
    central = e.hub[0].central != 0
    for first in range(1 if central else e.limits.replicas):
        last = e.limits.replicas if central else first + 1
        q = int(e.replicas[first].inbox)
        e.replicas[first].inbox = -1
        while True:
            stop = until if q < 0 else int(e.requests[q].arrival)
            turn = first
            while True:
                race = contested(w)
                k = first_event(w, first, last) if race else turn
                if k == last or (race and beyond(e.replicas[k], stop)):
                    break
                advance(w, k, stop, race)
                turn += 0 if race else 1
            if q < 0:
                break
            following = int(e.requests[q].next)
            if central:
                enqueue_centrally(w, q)
            else:
                enqueue(w, first, q)
            q = following


def answered(cell: Cell) -> None:
    """Log finished messages; each dialogue's next turn comes after reading and thinking."""
    users = cell.users
    w = cell.world
    for i in range(int(w.done_count[0])):
        q = int(w.done[i].request)
        end = int(w.done[i].end)
        s = int(w.engine.requests[q].session)
        if w.done[i].code == 1:
            turned_away(cell, s, q)
            continue
        log_message(cell, s, q, end, 0)
        session = users.sessions[s]
        session.history += w.fates[q].out
        session.turn += 1
        give_request(cell, q)
        if session.turn >= session.turns:
            end_session(users, s)
        else:
            next_turn(users, s, end)
    w.done_count[0] = 0


def turned_away(cell: Cell, s: int, q: int) -> None:
    """Message q of session s was shed: the session is over."""
    if in_cohort(cell.world, int(cell.world.engine.requests[q].arrival)):
        cell.world.tally[0].shed += 1
    log_message(cell, s, q, -1, 3)
    give_request(cell, q)
    end_session(cell.users, s)


def next_turn(users: Users, s: int, end: int) -> None:
    """File session s for its next message, at least one epoch after the answer's end."""
    session = users.sessions[s]
    u = rng.uniform(users.seed, rng.THINK, int(session.id), int(session.turn))
    think = int(min(draw(users.laws, 1, u), 1e9) * 1e9 + 0.5)
    if think < users.epoch_ns:
        users.clock[0].clipped += 1
        think = users.epoch_ns
    session.at = end + think
    put_in_wheel(users, s)


def reports(cell: Cell, now: int) -> None:
    """At the start of an epoch: take a load report if one is due, use the newest that has arrived.

    A report is due every `report_epochs`, and arrives `delay_epochs` after it was taken.
    """
    e = cell.world.engine
    g = cell.routing
    rows = g.reports.shape[0]
    epoch = now // cell.users.epoch_ns
    if now % cell.users.epoch_ns == 0 and epoch % cell.report_epochs == 0:
        take_report(e, g, (epoch // cell.report_epochs) % rows)
    arrived = max(0, epoch - cell.delay_epochs) // cell.report_epochs
    see_report(e, g, arrived % rows)


def shortage(cell: Cell) -> int:
    """What has to grow before the epoch in hand can run, or DONE."""
    e = cell.world.engine
    desk = cell.desk[0]
    due = int(cell.users.clock[0].due)
    if desk.spare < due:
        return 1
    busy = e.requests.size - int(desk.spare) + due
    pool = e.node_pool[0]
    if e.nodes.size - pool.live < 3 * e.limits.stride * busy + 64:
        return 3
    if cell.log.size - desk.log < busy:
        return 4
    return 0


def gather_cold(u: Users) -> None:
    """The next dialogues that are under way at the start and not in the caches yet."""
    clock = u.clock[0]
    if clock.due >= 0:
        return
    clock.due = 0
    while clock.cold > 0 and clock.due < 4096:
        clock.cold -= 1
        if u.sessions[clock.cold].turn > 0:
            add_due(u, int(clock.cold))


def end_warming(cell: Cell) -> None:
    """When every dialogue is in the caches, the router has sent nothing yet."""
    clock = cell.users.clock[0]
    clock.due = -1
    if clock.cold > 0:
        return
    clock.warming = 0
    for k in range(cell.world.engine.limits.replicas):
        cell.routing.sent[k] = 0
        cell.routing.seen[k] = 0


def prepare(cell: Cell, now: int, stop: int) -> int:
    """Collect who is due in [now, stop) (or to be remembered first): 0, or what has to grow."""
    if cell.users.clock[0].warming:
        gather_cold(cell.users)
    elif not gather(cell.users, now, stop):
        return 2
    return shortage(cell)


def run_until(cell: Cell, until: int) -> int:
    """Epochs up to `until` (ns), the last one cut there: DONE, or what has to grow first.

    One function on purpose: it is the entry of the compiled loop, and every level above the
    epochs would be optimised as a whole once more.
    """
    lent = lend(cell)
    users = lent.users
    clock = users.clock[0]
    while clock.now < until:
        now = int(clock.now)
        stop = min((now // users.epoch_ns + 1) * users.epoch_ns, until)
        short = prepare(lent, now, stop)
        if short != 0:
            return short
        if not clock.warming:
            reports(lent, now)
        route(lent)
        if clock.warming:
            end_warming(lent)
            continue
        run_units(lent.world, stop)
        answered(lent)
        clock.live_area += clock.live * (stop - now)
        clock.due = -1
        clock.now = stop
    return 0
