"""Random rules, memory and dialogues: both clocks decide alike, and no page is mistaken."""

from random import Random
from typing import Any

import pytest
from serving_crowd import MS, Crowd
from serving_limits import constant_curves, limits_with
from serving_twin import cuts_of, largest, reference_log, serve

from calibrate.engine.memory.host_tier import Host
from calibrate.engine.requests import State
from kaiju_sim.engine.layout import NEVER

PARTS, EACH = 8, 8


def rules_of(draw: Random) -> dict[str, Any]:
    """Any limits that the engine takes, small."""
    cached = draw.random() < 0.9
    candidates = draw.choice([1, 1, 2, 4])
    windows = draw.choice([0, 4, 6, 10, 16])
    block_ns, window_ns = (draw.choice([0, 0.2, 2, 30]) * MS for _ in range(2))
    return {
        "load_ns": block_ns,
        "store_ns": block_ns * draw.choice([0.5, 1, 2]),
        "window_load_ns": window_ns,
        "window_store_ns": window_ns,
        "policy": draw.randrange(3),
        "priority": draw.randrange(3),
        "queue_limit": draw.choice([2, 5, NEVER]),
        "shed_late": draw.randrange(2),
        "ttft_ns": draw.choice([100, 400]) * MS,
        "paid_ttft_ns": draw.choice([50, 100]) * MS,
        "token_budget": draw.choice([9, 20, 48, 100]),
        "max_seqs": draw.choice([1, 4, 8]),
        "candidates": candidates,
        "chunk": draw.choice([2, 5, 16]) if candidates > 1 else 1,
        "shift": draw.choice([1, 2, 3]),
        "window": draw.choice([5, 8, 12, 17]),
        "windows": windows,
        "retain": draw.randrange(4) if cached and windows else 0,
        "prefix_cache": int(cached),
        "cache_generated": draw.randrange(2) if cached else 0,
    }


@pytest.mark.parametrize("part", range(PARTS))
def test_random_rules(part: int) -> None:
    for seed in range(part * EACH, (part + 1) * EACH):
        draw = Random(seed)
        limits = limits_with(**rules_of(draw))
        dialogues = draw.choice([6, 15])
        crowd = Crowd(seed, limits, dialogues, span_ns=3000 * MS)
        blocks = largest(crowd.messages, limits.shift) + limits.extra + draw.choice([2, 20, 60])
        host = Host(draw.choice([0, 3, 40, 600]), draw.choice([0, 1, 5, 60]))
        expected = reference_log(limits, constant_curves(), blocks, crowd.messages, host)
        crowd = crowd.with_cuts(cuts_of(expected.log, crowd.messages))
        served = serve(limits, constant_curves(), blocks, crowd.messages, host=host)
        assert served.log == expected.log, f"seed {seed}"
        assert served.states == expected.states, f"seed {seed}"
        for answer, message in zip(served.answers, crowd.messages, strict=True):
            assert answer.tokens == (message.answer if answer.state is State.DONE else [])
