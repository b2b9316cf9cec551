"""The log of messages: one row each, for a deterministic sample of dialogues."""

from kaiju_sim import rng
from kaiju_sim.fleet.records import Cell


def sampled(cell: Cell, session: int) -> bool:
    """Whether a session's messages are logged: a deterministic sample by session id."""
    return rng.hash_of(cell.users.seed, rng.SAMPLE, session, 0) < cell.sample


def log_message(cell: Cell, s: int, q: int, end: int, status: int) -> None:
    """Append message q of session s to the log."""
    session = cell.users.sessions[s]
    if not sampled(cell, int(session.id)):
        return
    v = cell.world.engine.requests[q]
    fate = cell.world.fates[q]
    row = cell.log[int(cell.desk[0].log)]
    cell.desk[0].log += 1
    row.session = session.id
    row.arrival = v.arrival
    row.admit = v.admit
    row.first = fate.first
    row.end = end
    row.turn = session.turn
    row.swipe = session.swipe
    row.attempt = session.attempt
    row.character = session.character
    row.replica = v.replica
    row.prompt = fate.prompt
    row.cached = v.cached
    row.cached_host = v.cached_host
    row.out = fate.out
    row.preempted = v.preempted
    row.status = status
    row.tier = v.tier
