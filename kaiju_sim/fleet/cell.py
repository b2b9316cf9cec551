"""A cell: one router, its replicas and its users, advanced epoch by epoch.

In an epoch [t, t + W) load reports are taken at its start (after completions at t), arrivals are
routed one by one in order of time from what the router knows, then each unit runs to the epoch's
end: a replica by itself, or all of them where they share the central queue. The next turn of a
dialogue comes at least W after its cause, so units are independent inside an epoch and the result
is exact for the modelled system.
"""

from kaiju_sim.engine.crash import crash
from kaiju_sim.engine.intake import enqueue, enqueue_centrally, routed_at
from kaiju_sim.engine.jit.lend import lend
from kaiju_sim.engine.layout import Engine, World
from kaiju_sim.engine.loop import advance, beyond, contested, first_event
from kaiju_sim.engine.policy.kv.host import settle
from kaiju_sim.engine.policy.kv.warmth import forget_released, remember
from kaiju_sim.engine.policy.routing import choose, see_report, shadow_of, take_report
from kaiju_sim.fleet.messages.outcomes import answered, give_request, give_up
from kaiju_sim.fleet.messages.prompts import copy_request, dialogue_key
from kaiju_sim.fleet.messages.sending import arrive, fill_fate, take_request
from kaiju_sim.fleet.records import Cell
from kaiju_sim.fleet.safety_gate import pass_gate, release
from kaiju_sim.workload.sessions import Users, add_due, gather


def into_inbox(e: Engine, k: int, q: int) -> None:
    """Message q will be delivered to replica k, through its unit's inbox, at its arrival time."""
    e.requests[q].replica = k
    place = e.replicas[k - k % e.limits.link_replicas]
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
    gated = e.limits.gated != 0 and not warming
    for i in range(int(cell.users.clock[0].due)):
        s = int(cell.users.due[i])
        q = release(cell, s) if gated else arrive(cell, s)
        if q < 0 or cell.world.fates[q].failed:
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
            if cell.routing.state[0].shadowing != 0:
                shadow(cell, q, shadow_of(e, cell.routing, int(session.character), key, k))


def shadow(cell: Cell, q: int, k: int) -> None:
    """Send a copy of message q to replica k (-1: none): one token, which nobody will see."""
    if k < 0:
        return
    c = take_request(cell)
    copy_request(cell.world.engine, q, c)
    fill_fate(cell, c, 1)
    if cell.world.engine.limits.gated:
        cell.world.passes[c].entered = cell.world.passes[q].entered
        cell.world.passes[c].verdict = 0
        cell.world.passes[c].inside = 0
    cell.routing.sent[k] += 1
    cell.desk[0].shadows += 1
    into_inbox(cell.world.engine, k, c)


def run_units(w: World, until: int) -> None:
    """Deliver each unit's inbox and run it to `until`, one unit after the other.

    A unit is a replica; a node, where replicas share a link to host memory; the whole cell with the
    central queue. Its inbox is that of its first replica. While messages wait in the central queue
    its replicas compete for them, and those of a node always for the link: events are taken in
    order of time, completions before starts, ties by replica. Otherwise they are independent.
    """
    e = w.engine
    central = e.hub[0].central != 0
    size = e.limits.replicas if central else e.limits.link_replicas
    for first in range(0, e.limits.replicas, size):
        last = first + size
        q = int(e.replicas[first].inbox)
        e.replicas[first].inbox = -1
        while True:
            stop = until if q < 0 else routed_at(w, q)
            turn = first
            while True:
                race = contested(w) or e.limits.link_replicas > 1
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
                enqueue(w, int(e.requests[q].replica), q)
            q = following


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
    if cell.routing.state[0].shadowing != 0:
        due *= 2
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
        session = u.sessions[clock.cold]
        if session.turn + session.swipe > 0:
            add_due(u, int(clock.cold))


def end_warming(cell: Cell) -> None:
    """When every dialogue is in the caches, the router has sent nothing yet."""
    clock = cell.users.clock[0]
    clock.due = -1
    if clock.cold > 0:
        return
    clock.warming = 0
    settle(cell.world.engine)
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


def lose_crashed(cell: Cell, now: int) -> None:
    """Replicas that die now: what was under way on them is lost."""
    for k in range(cell.world.engine.limits.replicas):
        if cell.world.engine.replicas[k].crashed != 0:
            cell.world.engine.replicas[k].crashed = 0
            crash(cell.world, k, now)
    cell.desk[0].crashes = 0
    answered(cell)


def run_until(cell: Cell, until: int) -> int:
    """Epochs up to `until` (ns), the last one cut there: DONE, or what has to grow first.

    One function on purpose: it is the entry of the compiled loop, and every level above the
    epochs would be optimised as a whole once more.
    """
    lent = lend(cell)
    users = lent.users
    clock = users.clock[0]
    forget_released(lent.world.engine)
    while clock.now < until:
        now = int(clock.now)
        stop = min((now // users.epoch_ns + 1) * users.epoch_ns, until)
        short = prepare(lent, now, stop)
        if short != 0:
            return short
        if not clock.warming:
            if lent.desk[0].crashes != 0:
                lose_crashed(lent, now)
            give_up(lent, now)
            reports(lent, now)
            if lent.world.engine.limits.gated:
                pass_gate(lent, stop)
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
