"""One scheduler, two clocks: the engine decides what the simulator decides, event by event."""

import ast
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving_crowd import MS, Crowd, Message, Text
from serving_limits import constant_curves, limits_with
from serving_twin import largest, reference_log, serve

import calibrate.engine.engine
import kaiju_sim.engine.reference
from calibrate.engine.memory.free import Pool
from calibrate.engine.memory.host_tier import Host
from calibrate.engine.memory.pages import Piece
from calibrate.engine.requests import Request, State
from kaiju_sim.catalog.gpus import find_gpu
from kaiju_sim.catalog.models import find_model
from kaiju_sim.steptime.roofline import Rank, roofline_curves, usual_efficiency

RULES: list[dict[str, Any]] = [
    {},
    {"policy": 1},
    {"retain": 1, "windows": 5},
    {"retain": 3, "token_budget": 9},
    {"cache_generated": 0, "policy": 1},
    {"windows": 0, "retain": 0},
    {"prefix_cache": 0, "retain": 0},
    {"priority": 1, "queue_limit": 3},
    {"policy": 2, "priority": 2, "ttft_ns": 400 * MS, "paid_ttft_ns": 100 * MS, "shed_late": 1},
]


@pytest.mark.parametrize("rules", RULES, ids=lambda rules: "-".join(rules) or "plain")
def test_the_engine_decides_as_the_simulator_and_reads_the_right_pages(
    rules: dict[str, Any],
) -> None:
    """Too little memory, shared prefixes, swipes, preemption. The logs are the same, and each
    answer is what the model says to the whole prompt, so no page is ever mistaken."""
    limits = limits_with(**rules)
    for seed in (1, 2):
        crowd = Crowd(seed, limits, dialogues=20, span_ns=4000 * MS)
        blocks = largest(crowd.messages, limits.shift) + 30
        expected, states, world = reference_log(limits, constant_curves(), blocks, crowd.messages)
        served = serve(limits, constant_curves(), blocks, crowd.messages)
        assert served.log == expected
        assert served.states == states
        assert served.engine.world.tally[0].ttft == world.tally[0].ttft > 0
        for answer, message in zip(served.answers, crowd.messages, strict=True):
            assert answer.tokens == (message.answer if answer.state is State.DONE else [])
        counts = Counter(event.what for event in served.log)
        assert counts["preempt"] > 2
        assert (counts["shed"] > 2) == ("queue_limit" in rules or "shed_late" in rules)
        hits = sum(event.value > 0 for event in served.log if event.what == "admit")
        assert (hits > 30) == bool(limits.prefix_cache)
        c = world.engine.caches[0]
        assert (c.evicted > 300) == bool(limits.prefix_cache)
        assert c.windows_evicted > 20 or limits.retain < 2
        assert (served.copied.total() > 50) == (limits.retain > 0)


SLOW_LINK = {
    "load_ns": 3.0 * MS, "store_ns": 2.0 * MS,
    "window_load_ns": 20.0 * MS, "window_store_ns": 15.0 * MS,
}  # fmt: skip
HOST_RULES: list[dict[str, Any]] = [
    {},
    {"policy": 1},
    {"retain": 3, "token_budget": 9},
    {"windows": 0, "retain": 0},
    {"policy": 2, "priority": 2, "ttft_ns": 400 * MS, "paid_ttft_ns": 100 * MS, "shed_late": 1},
]


@pytest.mark.parametrize("host", [Host(25, 4), Host(3000, 300)], ids=["small", "large"])
@pytest.mark.parametrize("rules", HOST_RULES, ids=lambda rules: "-".join(rules) or "plain")
def test_with_host_memory_too(rules: dict[str, Any], host: Host) -> None:
    """What leaves HBM comes back from host memory: the same is demoted, loaded and dropped at the
    same steps, the link is busy until the same moments, and what was loaded is the right KV."""
    limits = limits_with(**SLOW_LINK | {"windows": 6} | rules)
    crowd = Crowd(5, limits, dialogues=25, span_ns=6000 * MS)
    blocks = largest(crowd.messages, limits.shift) + 10
    expected = reference_log(limits, constant_curves(), blocks, crowd.messages, host)
    served = serve(limits, constant_curves(), blocks, crowd.messages, host=host)
    assert served.log == expected.log
    assert served.states == expected.states
    for answer, message in zip(served.answers, crowd.messages, strict=True):
        assert answer.tokens == (message.answer if answer.state is State.DONE else [])
    c, copied = expected.world.engine.caches[0], served.copied
    assert copied[Pool.HOST, Pool.GLOBAL] == c.loaded > 50
    assert copied[Pool.GLOBAL, Pool.HOST] > 200
    assert (c.dropped > 100) == (host.blocks < 100)
    assert (c.windows_loaded > 5) == (limits.windows > 0)
    assert (copied[Pool.HOST_LOCAL, Pool.LOCAL] > 10) == (limits.windows > 0)


@pytest.mark.parametrize("windows", [0, 14])
def test_what_comes_from_host_memory_is_read(windows: int) -> None:
    """The test above can fail: other KV in host memory gives other answers."""
    limits = limits_with(windows=windows, retain=2 if windows else 0)
    crowd = Crowd(5, limits, dialogues=25, span_ns=6000 * MS)
    blocks = largest(crowd.messages, limits.shift) + 10
    served = serve(limits, constant_curves(), blocks, crowd.messages, "host", Host(300, 30))
    pairs = zip(served.answers, crowd.messages, strict=True)
    assert sum(answer.tokens != message.answer for answer, message in pairs) > 5


def test_who_waits_for_host_memory_lets_time_pass() -> None:
    """Alone, and with nothing to compute: pages are under way at once, and the first step is when
    policy reckons that they are there."""
    limits = limits_with(**SLOW_LINK)
    prompt = np.arange(40, dtype=np.int32)
    other = np.append(prompt[:8], np.arange(50, 82, dtype=np.int32))
    names = [(Piece(1, 2), Piece(stream, 8)) for stream in (7, 8, 7)]
    texts = [prompt, other, np.append(prompt, prompt[:2])]
    requests = [Request(text, 1, path) for text, path in zip(texts, names, strict=True)]
    answers = [Text(text.tolist(), limits.window).answer(1) for text in texts]
    times = (0, 1000 * MS, 2000 * MS)
    messages = list(map(Message, times, requests, answers, range(3)))
    expected = reference_log(limits, constant_curves(), 12, messages, Host(50, 9))
    served = serve(limits, constant_curves(), 12, messages, host=Host(50, 9))
    assert served.log == expected.log
    assert [answer.tokens for answer in served.answers] == answers
    back = served.answers[2]
    assert (back.admitted, back.cached) == (2000 * MS, 40)
    assert served.copied[Pool.HOST, Pool.GLOBAL] == 7
    assert served.loaded_at == {2000 * MS}
    assert back.token_at[0] == (2000 + 7 * 3 + 10) * MS


def test_on_the_curves_of_a_gpu_too() -> None:
    """Step times of 13B on one H100 by roofline, and a policy that predicts with them."""
    rank = Rank(find_gpu("H100-80GB"), find_model("kaiju-13b"), 1, usual_efficiency(0.66, 0.8))
    curves = roofline_curves(rank, 0.001, 80, 16)
    limits = limits_with(
        policy=2, priority=2, tpot_ns=8 * MS, ttft_ns=40 * MS, paid_ttft_ns=25 * MS
    )
    crowd = Crowd(7, limits, dialogues=25, span_ns=1500 * MS)
    blocks = largest(crowd.messages, limits.shift) + 60
    expected = reference_log(limits, curves, blocks, crowd.messages).log
    served = serve(limits, curves, blocks, crowd.messages)
    assert served.log == expected
    assert len({event.at for event in expected}) > 500


def test_a_wrong_page_deceives_nobody() -> None:
    """The test above can fail: one table entry that is off by one page, in either pool."""
    limits = limits_with()
    crowd = Crowd(3, limits, dialogues=12, span_ns=2000 * MS)
    blocks = largest(crowd.messages, limits.shift) + 30
    for pool in ("global_tables", "local_tables"):
        served = serve(limits, constant_curves(), blocks, crowd.messages, spoil=pool)
        pairs = zip(served.answers, crowd.messages, strict=True)
        assert any(answer.tokens != message.answer for answer, message in pairs)


def policy_names(module: Any) -> dict[str, str]:
    """What a module imports of policy and of its curves: name to module."""
    tree = ast.parse(Path(str(module.__file__)).read_text())
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and "engine.policy" in str(node.module):
            found |= {alias.name: str(node.module) for alias in node.names}
    return found


def test_both_clocks_call_the_same_functions() -> None:
    """The engine imports every policy function that the reference loop calls, and has none of its
    own by those names: the objects are the same."""
    theirs = policy_names(kaiju_sim.engine.reference)
    ours = vars(calibrate.engine.engine)
    assert {"form_batch", "computed", "requeue", "victim_before", "take", "leave"} <= set(theirs)
    for name in set(theirs) - {"attention_ns"}:  # a duration: the executor's business
        assert ours[name] is vars(kaiju_sim.engine.reference)[name]
    assert ours["deliver"] is vars(kaiju_sim.engine.reference)["deliver"]


def test_tokens_carry_their_times() -> None:
    limits = limits_with()
    crowd = Crowd(4, limits, dialogues=6, span_ns=500 * MS)
    served = serve(limits, constant_curves(), 200, crowd.messages)
    for answer in served.answers:
        times = np.array(answer.token_at)
        assert answer.arrival <= answer.admitted < times[0]
        assert (np.diff(times) > 0).all()
        assert answer.ended == times[-1]
