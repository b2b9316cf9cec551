"""A message is sent: its record, its prompt, its fate, and who waits for it."""

from kaiju_sim.engine.layout import NEVER
from kaiju_sim.engine.patience import start_patience
from kaiju_sim.engine.record import segment_of
from kaiju_sim.fleet.messages.outcomes import refuse
from kaiju_sim.fleet.messages.prompts import compose, compose_past, compose_row, is_paid
from kaiju_sim.fleet.records import Cell
from kaiju_sim.workload.sessions import Users


def take_request(cell: Cell) -> int:
    """An unused request record."""
    cell.desk[0].spare -= 1
    return int(cell.spare[cell.desk[0].spare])


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
    fate.later = -2
    fate.prompt = v.prompt
    fate.failed = room <= 0
    fate.out = min(out, room) if room > 0 else 0
    fate.left = fate.out
    segment = segment_of(cell.world, int(v.arrival))
    if room > 0 and out > room and segment >= 0:
        cell.world.tally[segment].cut += 1
    return room > 0


def note_turn(u: Users, s: int) -> None:
    """Count the time since the session's last turn (the realised turn cycle)."""
    session = u.sessions[s]
    if session.swipe + session.attempt > 0:
        return
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
    cell.desk[0].messages += 1
    segment = segment_of(cell.world, int(e.requests[q].arrival))
    if segment >= 0:
        tally = cell.world.tally[segment]
        tally.arrived += 1
        tally.arrived_free += e.requests[q].tier
        tally.asked += e.requests[q].prompt
    if not fill_fate(cell, q, out):
        refuse(cell, s, q)
    elif e.limits.timeout_ns > 0:
        start_patience(cell.world, q)
    return q
