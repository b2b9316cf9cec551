"""From a scenario to the safety gate of a cell, with nobody at it."""

import math

import numpy as np

from kaiju_sim.engine.layout import NEVER, Arr
from kaiju_sim.fleet.gate.records import GATE, SCORE_BINS, SUMS, Gate
from kaiju_sim.scenario.parts.laws import (
    ConstantTime,
    Distribution,
    ExponentialTime,
    LognormalTime,
)
from kaiju_sim.scenario.parts.safety import Pool, Safety, Thresholds
from kaiju_sim.sketch import BINS
from kaiju_sim.workload.laws import make_laws

PRE = ("none", "before", "after")
POST = ("none", "classifier", "head")


def log_odds(share: float) -> float:
    """ln(p / (1 - p)); infinite at 0 and 1."""
    if share <= 0.0:
        return -math.inf
    return math.inf if share >= 1.0 else math.log(share / (1.0 - share))


def service_law(pool: Pool) -> Distribution:
    """The law of a message's work, in seconds."""
    mean = pool.service_mean_s.value
    if pool.service == "constant":
        return ConstantTime(value=mean)
    if pool.service == "exponential":
        return ExponentialTime(kind="exponential", mean=mean)
    return LognormalTime(kind="lognormal", mean=mean, sigma=pool.service_sigma.value)


def thresholds(s: Thresholds) -> list[float]:
    """Log-odds of the thresholds, by age tier."""
    return [log_odds(s.adult), log_odds(s.teen)]


def score_laws(s: Safety) -> tuple[Arr, Arr]:
    """Means and standard deviations of the log-odds by (stage, tier, class)."""
    laws = [
        [[scores.benign, scores.intense, scores.violating] for scores in stage]
        for stage in ((s.adult.messages, s.teen.messages), (s.adult.answers, s.teen.answers))
    ]
    centre = [[[log_odds(x.median.value) for x in tier] for tier in stage] for stage in laws]
    spread = [[[x.spread.value for x in tier] for tier in stage] for stage in laws]
    return np.array(centre), np.array(spread)


def make_gate(s: Safety, segments: int) -> Gate:
    """The gate of one cell; its counts are small where there is none."""
    pool, risk = s.pool, s.post.risk
    centre, spread = score_laws(s)
    rows = segments if s.on else 1
    pause = ExponentialTime(kind="exponential", mean=max(s.refused.pause_s.value, 1e-9))
    return Gate(
        pre=PRE.index(s.pre),
        post=POST.index(s.post.kind),
        queue_limit=pool.queue_limit or NEVER,
        timeout_ns=NEVER if pool.timeout is None else int(pool.timeout * 1e9 + 0.5),
        open_full=int(pool.overload == "open"),
        open_failed=int(pool.failure == "open"),
        teens=s.teen_share.value,
        classes=np.array(
            [[t.classes.intense.value, t.classes.violating.value] for t in (s.adult, s.teen)]
        ),
        centre=centre,
        spread=spread,
        risk=np.array([risk.benign.value, risk.intense.value, risk.violating.value]),
        likeness=s.post.likeness.value,
        laws=make_laws([service_law(pool), pause]),
        leave=s.refused.leave.value,
        reword=s.refused.reword.value,
        limit=np.array([thresholds(s.thresholds), thresholds(s.answer_thresholds)]),
        shift=np.zeros((2, 2, 3)),
        state=np.zeros(1, GATE),
        free=np.zeros(pool.servers, np.int64),
        line=np.zeros(pool.queue_limit or 1, np.int64),
        totals=np.zeros((2, 2, 3, 2), np.int64),
        sums=np.zeros(rows, SUMS),
        counts=np.zeros((rows, 2, 2, 3, 2), np.int64),
        scores=np.zeros((rows, 2, 2, 3, SCORE_BINS if s.on else 1), np.int64),
        sketch=np.zeros((rows, 3, BINS if s.on else 1), np.int64),
    )
