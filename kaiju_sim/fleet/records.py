"""The records of a cell, and the cell itself."""

from typing import NamedTuple

import numpy as np

from kaiju_sim.engine.layout import Arr, World
from kaiju_sim.engine.policy.routing import Routing
from kaiju_sim.fleet.gate.records import Gate
from kaiju_sim.fleet.messages.prompts import Prompts
from kaiju_sim.workload.sessions import Users

DONE, NEED_REQUESTS, NEED_SESSIONS, NEED_NODES, NEED_LOG = range(5)
"""Why `run_until` returned: all done, or an array has to grow (or be emptied) first."""
COMPLETED, FAILED, IN_FLIGHT, SHED, CANCELLED, BLOCKED_PRE, BLOCKED_POST = range(7)
"""Fate of a message, in the log."""

LOG = np.dtype(
    [
        ("session", "i8"),
        ("arrival", "i8"),
        ("admit", "i8"),
        ("first", "i8"),
        ("end", "i8"),
        ("turn", "i4"),
        ("swipe", "i4"),
        ("attempt", "i4"),
        ("character", "i4"),
        ("replica", "i4"),
        ("prompt", "i4"),
        ("cached", "i4"),
        ("cached_host", "i4"),
        ("out", "i4"),
        ("preempted", "i4"),
        ("status", "i4"),
        ("tier", "i4"),
    ],
    align=True,
)
# Totals of the cell; `log` and `spare`: how many there are in hand; `crashes`: replicas that die at
# this instant. Retry budget: what it still allows, and the first sendings counted towards it.
DESK = np.dtype(
    [
        ("log", "i8"),
        ("spare", "i8"),
        ("failed", "i8"),
        ("messages", "i8"),
        ("shadows", "i8"),
        ("crashes", "i8"),
        ("retried", "i8"),
        ("earned_by", "i8"),
        ("allowance", "f8"),
    ],
    align=True,
)


class Cell(NamedTuple):
    """Everything that one cell is made of."""

    world: World
    users: Users
    prompts: Prompts
    routing: Routing
    spare: Arr
    """Stack of unused request records (desk.spare of them)."""
    log: Arr
    desk: Arr
    sample: int
    """Sessions whose hash is below this are logged."""
    report_epochs: int
    delay_epochs: int
    paid_share: float
    """Share of dialogues that are of the paid tier."""
    gate: Gate
