"""Limits and step times of small engines, for tests of the serving engine."""

from typing import Any

import numpy as np

from calibrate.engine.memory.candidates import extra_blocks
from kaiju_sim.engine.layout import NEVER
from kaiju_sim.engine.limits import Limits
from kaiju_sim.steptime.curves import Curves

STRIDE = 4


def constant_curves(step_ns: int = 10_000_000) -> Curves:
    """Every step takes as long."""
    none = np.zeros(1)
    return Curves(
        1,
        float(step_ns),
        0.0,
        none,
        none,
        np.zeros((5, 1)),
        np.zeros((5, 1)),
        np.zeros(1, int),
        each=False,
    )


def limits_with(**changes: Any) -> Limits:
    """Small limits of one replica with blocks of 4 tokens and a window of 12. Candidates have the
    blocks that they need."""
    limits = Limits(
        replicas=1, seed=0, policy=0, token_budget=48, max_seqs=8, shift=2, window=12, windows=14,
        retain=2, prefix_cache=1, cache_generated=1, stride=STRIDE, ring=64, warm_ns=0,
        horizon_ns=NEVER, segments=1, segment_ns=0, ttft_ns=NEVER, paid_ttft_ns=NEVER,
        tpot_ns=NEVER, e2e_ns=NEVER, priority=0, queue_limit=NEVER, shed_late=0, candidates=1,
        chunk=1, extra=0,
    )  # fmt: skip
    changed = limits._replace(**changes)
    return changed._replace(extra=extra_blocks(changed)) if changed.candidates > 1 else changed
