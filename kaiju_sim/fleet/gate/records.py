"""The records of a cell's safety gate.

Axes of its arrays: stage (messages, answers), age tier (adult, teen), class (benign, intense,
violating). Scores are held as log-odds, natural logarithm.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kaiju_sim.engine.layout import Arr
from kaiju_sim.workload.laws import Laws

MESSAGES, ANSWERS = range(2)
"""Stages."""
ADULT, TEEN = range(2)
"""Age tiers."""
BENIGN, INTENSE, VIOLATING = range(3)
"""Classes."""
OFF, BEFORE, AFTER = range(3)
"""When messages are judged."""
NOBODY, CLASSIFIER, HEAD = range(3)
"""Who judges answers."""
SERVICE, PAUSE = range(2)
"""Rows of the laws."""
CHECKED, STOPPED = range(2)
"""Counts: how many had a verdict, and for how many it was to block."""
WAIT, STAY, REFUSAL = range(3)
"""Sketches: wait for a server, time at the gate, time to the refusal."""
SCORE_BINS = 1024
"""Bins of log-odds, 1/32 wide, from -16 to 16; what lies beyond is in the outer ones."""

# `down`: the gate gives no verdicts; `inside`: messages at the gate; `lined`: entries ever made in
# the line; `busy`: work ever taken on by its servers (ns), `added`: time ever spent at the gate,
# `blocked` and `wrongly`: messages and answers ever blocked, and those of them that do not violate.
GATE = np.dtype(
    [(name, "i8") for name in ("down", "inside", "lined", "busy", "added", "blocked", "wrongly")],
    align=True,
)
# Of the measured cohort, by segment. `served`, `wait`, `stay`: messages that came to the gate while
# it worked, and their times (ns); `unchecked`: passed without a verdict, `refused`: refused
# without one; `blocked`, `refusal`: messages refused before the model, and their time (ns);
# `wrongly`: messages and answers blocked that do not violate; `left`, `reworded`, `dropped`: what
# users did; `cut`: answers that ended because all candidates were dropped.
SUMS = np.dtype(
    [
        (name, "i8")
        for name in (
            *("served", "wait", "stay", "unchecked", "refused", "blocked", "refusal"),
            *("wrongly", "left", "reworded", "dropped", "cut"),
        )
    ],
    align=True,
)


class Gate(NamedTuple):
    """The safety gate of one cell."""

    pre: int
    post: int
    queue_limit: int
    """Messages that may wait (NEVER: any number)."""
    timeout_ns: int
    open_full: int
    """Whether messages pass unchecked that find the queue full."""
    open_failed: int
    """Whether messages pass that have no verdict in time."""
    teens: float
    """Share of dialogues of the teen tier."""
    classes: NDArray[np.float64]
    """(tier, 2): shares of intense and of violating messages."""
    centre: NDArray[np.float64]
    """(stage, tier, class): mean log-odds."""
    spread: NDArray[np.float64]
    """(stage, tier, class): their standard deviation."""
    risk: NDArray[np.float64]
    """(class): probability that an answer to it violates."""
    likeness: float
    """Correlation of candidates."""
    laws: Laws
    leave: float
    reword: float
    limit: NDArray[np.float64]
    """(stage, tier): log-odds from which on is blocked; may be changed between epochs."""
    shift: NDArray[np.float64]
    """(stage, tier, class): added to the log-odds; may be changed between epochs."""
    state: Arr
    free: NDArray[np.int64]
    """When each server is free (a heap)."""
    line: NDArray[np.int64]
    """When the last messages left the line: a ring as long as the line may be."""
    totals: NDArray[np.int64]
    """(stage, tier, class, CHECKED or STOPPED): of all messages so far, for the control plane."""
    sums: Arr
    counts: NDArray[np.int64]
    """(segment, stage, tier, class, CHECKED or STOPPED)."""
    scores: NDArray[np.int64]
    """(segment, stage, tier, class, bin)."""
    sketch: NDArray[np.int64]
    """(segment, WAIT, STAY or REFUSAL, bin)."""
