"""Arrays that grow between epochs: request, session and node records, each doubled when short."""

from typing import Any

import numpy as np

from kaiju_sim.engine.layout import DONE, FATE, NODE, PASS, REQUEST, SEGMENT, Arr
from kaiju_sim.engine.policy.kv.index import home
from kaiju_sim.fleet.records import LOG, NEED_NODES, NEED_REQUESTS, NEED_SESSIONS, Cell
from kaiju_sim.workload.sessions import HELD, NO_MESSAGE, SESSION


def larger(array: Arr, size: int, dtype: Any) -> Arr:
    """A copy with room for `size` records, the new ones zero."""
    bigger = np.zeros(size, dtype)
    bigger[: array.size] = array
    return bigger


def grow_requests(cell: Cell) -> Cell:
    """Twice the request records (at least as many as are due now)."""
    world = cell.world
    engine = world.engine
    old = engine.requests.size
    new = old * 2
    while new - old < int(cell.users.clock["due"][0]):
        new *= 2
    engine = engine._replace(
        requests=larger(engine.requests, new, REQUEST),
        segments=larger(engine.segments, new * engine.limits.stride, SEGMENT),
    )
    world = world._replace(
        engine=engine, fates=larger(world.fates, new, FATE), done=larger(world.done, new, DONE)
    )
    if engine.limits.gated:
        world = world._replace(passes=larger(world.passes, new, PASS))
    spare = np.zeros(new, np.int32)
    n = int(cell.desk["spare"][0])
    spare[:n] = cell.spare[:n]
    spare[n : n + new - old] = np.arange(new - 1, old - 1, -1)
    cell.desk["spare"] = n + new - old
    log = cell.log if cell.log.size >= 2 * new else larger(cell.log, 4 * new, LOG)
    return cell._replace(world=world, spare=spare, log=log)


def grow_sessions(cell: Cell) -> Cell:
    """Twice the session records."""
    users = cell.users
    old = users.sessions.size
    new = old * 2
    sessions = larger(users.sessions, new, SESSION)
    held = larger(users.held, new, HELD) if users.gated else users.held
    held["message"][old:] = NO_MESSAGE
    sessions["next"][old:] = np.arange(old + 1, new + 1)
    sessions["next"][-1] = users.clock["spare"][0]
    users.clock["spare"] = old
    due, due_at = larger(users.due, new, np.int32), larger(users.due_at, new, np.int64)
    return cell._replace(users=users._replace(sessions=sessions, due=due, due_at=due_at, held=held))


def grow_nodes(cell: Cell) -> Cell:
    """Twice the node records, and a new index of twice the size."""
    engine = cell.world.engine
    new = engine.nodes.size * 2
    nodes = larger(engine.nodes, new, NODE)
    index = rebuilt_index(nodes, engine.node_index)
    engine = engine._replace(nodes=nodes, node_index=index)
    return cell._replace(world=cell.world._replace(engine=engine))


def rebuilt_index(nodes: Arr, index: Arr) -> Arr:
    """An open-addressing index of twice the size over the same nodes (linear probing)."""
    waiting = np.sort(index[index >= 0])
    bigger = np.full(index.size * 2, -1, np.int32)
    stream = nodes["stream"][waiting]
    start = nodes["start"][waiting].astype(np.int64)
    slot = np.asarray(home(stream, start, bigger.size - 1))
    while waiting.size:
        free = np.flatnonzero(bigger[slot] < 0)
        _, first = np.unique(slot[free], return_index=True)
        placed = free[first]
        bigger[slot[placed]] = waiting[placed]
        rest = np.ones(waiting.size, bool)
        rest[placed] = False
        waiting = waiting[rest]
        slot = (slot[rest] + 1) & (bigger.size - 1)
    return bigger


def grown(cell: Cell, need: int) -> Cell:
    """The cell with more of what it needs."""
    if need == NEED_REQUESTS:
        return grow_requests(cell)
    if need == NEED_SESSIONS:
        return grow_sessions(cell)
    assert need == NEED_NODES, f"unknown shortage {need}"
    return grow_nodes(cell)
