"""Sessions in the data plane: who is alive, when each sends its next message.

A session waits in a wheel of epochs until its turn; new sessions come by a Poisson process whose
rate is piecewise constant. A trace is replayed as sessions of one turn each. Every draw is keyed by
(seed, stream, session, turn).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kaiju_sim import rng
from kaiju_sim.engine.layout import NEVER, Arr
from kaiju_sim.workload.habits import Habits
from kaiju_sim.workload.laws import Laws, draw_count, gamma
from kaiju_sim.workload.popularity import pick

# `history`: tokens of the dialogue in the prompt; `epoch` changes with every cut of it (and of what
# stands before it), `revision` when what stands before the persona changes. `swipe`: answers to
# this turn rejected so far; `attempt`: how often the message was sent in vain; `node`: where the
# history was last seen in a cache (a hint).
SESSION = np.dtype(
    [
        ("at", "i8"),
        ("id", "i8"),
        ("last", "i8"),
        ("head_key", "i8"),
        ("next", "i4"),
        ("character", "i4"),
        ("version", "i4"),
        ("history", "i4"),
        ("epoch", "i4"),
        ("revision", "i4"),
        ("turns", "i4"),
        ("turn", "i4"),
        ("replica", "i4"),
        ("node", "i4"),
        ("swipe", "i4"),
        ("attempt", "i4"),
    ],
    align=True,
)
# `spare`: unused sessions; `started`: sessions ever begun; `next_new`: arrival of the next one;
# `due`: sessions gathered for the epoch in hand, -1 before they are gathered; `clipped`: next turns
# put off to one epoch after their cause; `cold`: sessions still to be put into the caches
# while `warming`.
CLOCK = np.dtype(
    [
        ("now", "i8"),
        ("spare", "i4"),
        ("due", "i4"),
        ("live", "i8"),
        ("started", "i8"),
        ("next_new", "i8"),
        ("row", "i8"),
        ("clipped", "i8"),
        ("gaps", "i8"),
        ("gap_sum", "i8"),
        ("live_area", "i8"),
        ("cold", "i4"),
        ("warming", "i4"),
    ],
    align=True,
)
# A session's business with the safety gate (one record each where there is a gate). `message`: the
# request that is at the gate, NO_MESSAGE, or GIVEN_UP; `who`, `turn`: whose `tries` these are: how
# often that turn's message was put in other words.
HELD = np.dtype(
    [("who", "i8"), ("message", "i4"), ("turn", "i4"), ("tries", "i4"), ("pad", "i4")], align=True
)
NO_MESSAGE, GIVEN_UP = -1, -2
TURNS, THINK, USER, OUTPUT, HISTORY, SWIPE_DELAY = range(6)
"""Rows of the laws."""


class Users(NamedTuple):
    """Traffic of one cell."""

    seed: int
    cell: int
    cells: int
    epoch_ns: int
    horizon_ns: int
    replay: int
    laws: Laws
    habits: Habits
    sessions: Arr
    wheel: Arr
    due: Arr
    due_at: Arr
    """When each of the sessions in `due` sends its message: sorted with it."""
    clock: Arr
    rate: NDArray[np.float64]
    """New sessions per ns in each bin of the rate curve."""
    bin_ns: int
    gamma_shape: float
    """Gaps between new sessions are gamma of this shape in integrated rate (1: Poisson)."""
    threshold: NDArray[np.float64]
    alias: NDArray[np.int32]
    versions: Arr
    """Current version of each character's definition."""
    row_at: Arr
    """Replay: arrival of each row (ns)."""
    gated: int
    """Whether messages pass a safety gate."""
    held: Arr
    """Each session's business with it."""


def unit_gap(u: Users, who: int, first: bool) -> float:
    """A gamma gap with mean 1 before new session `who`; the first one is met at random.

    A gap met at random is drawn by length (shape + 1), and a uniform part of it is left.
    """
    if first:
        part = rng.uniform(u.seed, rng.ARRIVAL, who, 0)
        return part * gamma(u.seed, who, u.gamma_shape + 1.0) / u.gamma_shape
    return gamma(u.seed, who, u.gamma_shape) / u.gamma_shape


def next_arrival(u: Users, t: int, who: int) -> int:
    """Arrival of the next new session after t: a gap drawn in units of integrated rate."""
    left = rng.exponential(1.0, rng.uniform(u.seed, rng.ARRIVAL, who, 0))
    if u.gamma_shape != 1.0:
        left = unit_gap(u, who, t == 0)
    j = t // u.bin_ns
    at = float(t)
    while True:
        rate = u.rate[min(j, u.rate.size - 1)]
        end = (j + 1) * float(u.bin_ns)
        if j >= u.rate.size - 1 and rate <= 0.0:
            return NEVER
        if j >= u.rate.size - 1 or (end - at) * rate >= left:
            ns = at + left / rate
            return int(ns) if ns < 4e18 else NEVER
        left -= (end - at) * rate
        at = end
        j += 1


def put_in_wheel(u: Users, s: int) -> None:
    """Session s waits for its next turn."""
    v = u.sessions[s]
    j = (int(v.at) // u.epoch_ns) & (u.wheel.size - 1)
    v.next = u.wheel[j]
    u.wheel[j] = s


def unfile(u: Users, s: int) -> bool:
    """Take session s out of the wheel (rare: walks its bucket); False if it is not in there."""
    j = (int(u.sessions[s].at) // u.epoch_ns) & (u.wheel.size - 1)
    at = int(u.wheel[j])
    if at == s:
        u.wheel[j] = u.sessions[s].next
        return True
    while at >= 0 and u.sessions[at].next != s:
        at = int(u.sessions[at].next)
    if at >= 0:
        u.sessions[at].next = u.sessions[s].next
    return at >= 0


def begin_session(u: Users, s: int, i: int, at: int) -> None:
    """A new session, the i-th of this cell, with its first message at `at`."""
    v = u.sessions[s]
    v.id = i * u.cells + u.cell
    v.at = at
    v.last = NEVER
    who = int(v.id)
    v.character = pick(u.threshold, u.alias, rng.uniform(u.seed, rng.CHARACTER, who, 0))
    v.version = u.versions[v.character]
    v.head_key = -1
    v.history = draw_count(u.laws, 4, rng.uniform(u.seed, rng.HISTORY, who, 0))
    v.turns = max(1, draw_count(u.laws, 0, rng.uniform(u.seed, rng.TURNS, who, 0)))
    v.epoch = 0
    v.revision = 0
    v.turn = 0
    v.replica = -1
    v.node = -1
    v.swipe = 0
    v.attempt = 0


def take_session(u: Users) -> int:
    """An unused session record, or -1."""
    clock = u.clock[0]
    s = int(clock.spare)
    if s >= 0:
        clock.spare = u.sessions[s].next
        clock.live += 1
    return s


def end_session(u: Users, s: int) -> None:
    """Session s is over."""
    clock = u.clock[0]
    u.sessions[s].next = clock.spare
    clock.spare = s
    clock.live -= 1


def add_due(u: Users, s: int) -> None:
    """Session s sends a message in the epoch in hand."""
    clock = u.clock[0]
    u.due[clock.due] = s
    u.due_at[clock.due] = u.sessions[s].at
    clock.due += 1


def gather_new(u: Users, until: int) -> bool:
    """New sessions that begin before `until`; False when there is no record for the next."""
    clock = u.clock[0]
    while clock.next_new < until:
        s = take_session(u)
        if s < 0:
            return False
        i = int(clock.started)
        begin_session(u, s, i, int(clock.next_new))
        add_due(u, s)
        clock.started = i + 1
        clock.next_new = next_arrival(u, int(clock.next_new), (i + 1) * u.cells + u.cell)
    return True


def gather_rows(u: Users, until: int) -> bool:
    """Rows of the trace that arrive before `until`, as sessions of one turn."""
    clock = u.clock[0]
    while clock.row < u.row_at.size and u.row_at[clock.row] < until:
        s = take_session(u)
        if s < 0:
            return False
        v = u.sessions[s]
        v.at = u.row_at[clock.row]
        v.id = clock.row
        v.turns = 1
        v.turn = 0
        v.last = NEVER
        v.replica = -1
        v.swipe = 0
        v.attempt = 0
        add_due(u, s)
        clock.row += 1
        clock.started += 1
    return True


def leaves_gate(u: Users, s: int, stop: int) -> bool:
    """Whether session s's message is at the gate and leaves it before `stop`.

    0 and above is a request; there is no other record where there is no gate.
    """
    return bool(u.gated and u.held[s].message >= 0 and u.sessions[s].at < stop)


def gather_waiting(u: Users, now: int, until: int, stop: int) -> None:
    """Sessions in the wheel who speak before `until`, or leave the gate before `stop`."""
    j = (now // u.epoch_ns) & (u.wheel.size - 1)
    s = int(u.wheel[j])
    u.wheel[j] = -1
    while s >= 0:
        v = u.sessions[s]
        following = int(v.next)
        if v.at < until or leaves_gate(u, s, stop):
            add_due(u, s)
        else:  # a later turn of the wheel, or a later part of a cut epoch
            v.next = u.wheel[j]
            u.wheel[j] = s
        s = following


def gather(u: Users, now: int, until: int) -> bool:
    """Collect who sends a message in [now, until), in order of time, ties by session id.

    False when session records ran out; call again once there are more.
    """
    clock = u.clock[0]
    stop = until
    until = min(until, u.horizon_ns)
    if clock.due < 0:
        clock.due = 0
        gather_waiting(u, now, until, stop)
    if not (gather_rows(u, until) if u.replay else gather_new(u, until)):
        return False
    sort_due(u, int(clock.due))
    return True


def later(u: Users, j: int, at: int, s: int) -> bool:
    """Whether the j-th due session's turn comes after session s's, which comes at `at`."""
    other = u.due_at[j]
    return bool(other > at or (other == at and u.sessions[u.due[j]].id > u.sessions[s].id))


def sort_due(u: Users, n: int) -> None:
    """Shell sort of the due sessions (gaps n/2.25^i: Tokuda's ratio)."""
    gap = 1
    while gap * 9 // 4 + 1 < n:
        gap = gap * 9 // 4 + 1
    while gap >= 1:
        for i in range(gap, n):
            s = int(u.due[i])
            at = int(u.due_at[i])
            j = i
            while j >= gap and later(u, j - gap, at, s):
                u.due[j] = u.due[j - gap]
                u.due_at[j] = u.due_at[j - gap]
                j -= gap
            u.due[j] = s
            u.due_at[j] = at
        gap = gap * 4 // 9 if gap > 1 else 0
