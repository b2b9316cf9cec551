"""The scenarios along each axis; all else stays as it is.

- gpus: benchmarks/affinity.yaml with the load, users and characters of a GPU held fixed;
- context: 50 of its GPUs at 2 messages/s each, prompts cut at this many tokens and spread
  evenly from half of it up;
- batch: fixed-size requests (W1) on steps of 20 ms, at the rate that makes this mean batch;
- block: benchmarks/affinity.yaml with this many tokens to a KV block.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.fleet import SCENARIO, THINK_S, Load, scenario_at
from benchmarks.growth.stopwatch import SLICES
from benchmarks.loads.common import HERE, scenario_of
from kaiju_sim.scenario.loader import load_scenario
from kaiju_sim.scenario.schema import Scenario

GPU_RATE = 33.4
"""Messages/s for each GPU of the fixed scenario: 70 % of its measured saturation."""
ANSWER_S = 2.6
BATCH_STEP_S = 0.02
CONTEXT_RATE = 2.0
CONTEXT_GPUS = 50
HEAD_TOKENS = 2_000
SETTLED_S = 150.0
"""Until then a fleet of this kind works off its start: nothing in flight, everybody at once."""
LEAST_S = 60.0
"""A usual run is measured for at least so long after that."""
USUAL = 1e5
"""From this many messages on, a run is a usual one and not a test."""


class Axis(NamedTuple):
    """A quantity that grows."""

    label: str
    points: tuple[int, ...]
    at: Callable[[int, float], Scenario]
    """The scenario at a point, for about this many simulated messages (1e6 for a usual run)."""


def with_times(path: Path, sets: Mapping[str, Any], warm_up_s: float, slice_s: float) -> Scenario:
    """A scenario with values changed, a warm-up, and slices to measure."""
    horizon_s = warm_up_s + SLICES * slice_s
    times = {
        "run.warm_up": f"{warm_up_s:.3f}s",
        "run.horizon": f"{horizon_s:.3f}s",
        "run.drain": "0s",
        "results.tick": f"{slice_s:.3f}s",
        "results.request_rows": 0,
    }
    changed = [f"{key}={value}" for key, value in (dict(sets) | times).items()]
    return load_scenario(path, sets=changed).scenario


def closed(rate: float, sets: Mapping[str, Any], messages: float) -> Scenario:
    """The fixed scenario at a rate; first the time that it takes to settle."""
    usual = messages >= USUAL
    slice_s = max(messages / rate, LEAST_S if usual else 0.0) / SLICES
    warm_up_s = SETTLED_S if usual else slice_s
    live = round(rate * (THINK_S + ANSWER_S))
    own = {"traffic.messages_per_s": rate, "traffic.sessions.live": live}
    return with_times(SCENARIO, own | dict(sets), warm_up_s, slice_s)


def gpus(n: int, messages: float) -> Scenario:
    """A fleet of n GPUs."""
    characters = scenario_at(Load(1.0, 1.0, 1.0, 2.0, n / 100)).characters.count
    return closed(GPU_RATE * n, {"fleet.replicas": n, "characters.count": characters}, messages)


def context(tokens: int, messages: float) -> Scenario:
    """Prompts of up to this many tokens."""
    most = max(tokens // 2, tokens - HEAD_TOKENS)
    sets = {
        "prompt.limit": tokens,
        "prompt.truncation_step": tokens // 4,
        "engine.max_context": tokens + 1024,
        "characters.definition_tokens": "{kind: lognormal, mean: 300, sigma: 0.5, max: 800}",
        "traffic.sessions.user_tokens.max": 400,
        "traffic.sessions.initial_history": f"{{kind: uniform, min: {tokens // 2}, max: {most}}}",
        "fleet.replicas": CONTEXT_GPUS,
        "kv.global_blocks": 4_000_000,
        "kv.local_windows": 100_000,
    }
    return closed(CONTEXT_RATE * CONTEXT_GPUS, sets, messages)


def batch(size: int, messages: float) -> Scenario:
    """A mean batch of this size on each replica: by Little's law, rate = size / time in it."""
    tokens = int(scenario_of("w1").traffic.output_tokens.value)  # type: ignore[union-attr]
    rate = 16 * size / (tokens * BATCH_STEP_S)
    slice_s = messages / rate / SLICES
    sets = {
        "traffic.messages_per_s": rate,
        "steptime": f"{{kind: constant, step: {BATCH_STEP_S}s}}",
        "engine.max_seqs": 4096,
        "engine.token_budget": 65536,
        "kv.global_blocks": 4_000_000,
    }
    return with_times(HERE / "w1.yaml", sets, max(2 * tokens * BATCH_STEP_S, slice_s), slice_s)


def block(tokens: int, messages: float) -> Scenario:
    """KV blocks of this many tokens."""
    return closed(GPU_RATE * 100, {"kv.block_tokens": tokens}, messages)


AXES = {
    "gpus": Axis("GPUs", (10, 30, 100, 300, 1000, 3000), gpus),
    "context": Axis("context, tokens", (2048, 4096, 8192, 16384, 32768, 65536), context),
    "batch": Axis("mean batch", (1, 4, 16, 64, 256, 1024), batch),
    "block": Axis("tokens per KV block", (8, 16, 32, 64, 128, 256), block),
}
