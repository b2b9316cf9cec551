"""Prefix hit rate of dialogues at the context limit, where history is cut in steps.

With t new prompt tokens a turn, a shared head of P tokens, answers that are not cached and a cut of
`step` tokens whenever the limit is passed, a turn misses its t tokens, and once in step / t turns
all that follows the head: t + (limit - step - P) t / step on average. The average prompt is about
limit - step / 2.
"""

from pathlib import Path

import pytest
from fleet_runs import from_yaml

from kaiju_sim.simulation import simulate

LIMIT, HEAD, SAID = 8192, 1000, 100

AT_THE_LIMIT = """
schema_version: 1
name: truncation
run: {warm_up: 15min, horizon: 75min, drain: 5min}
traffic:
  kind: sessions
  messages_per_s: 8
  sessions:
    live: 40
    turns: {kind: constant, value: 1000}
    think: {kind: exponential, mean: 5s}
    user_tokens: {kind: constant, value: 60}
    initial_history: {kind: constant, value: 7000}
  output_tokens: {kind: constant, value: 40}
characters: {count: 3, definition_tokens: {kind: constant, value: 1000}}
prompt: {limit: 8192, truncation_step: 2000}
router: {policy: sticky}
kv:
  block_tokens: 4
  cache_generated: false
  global_blocks: 400000
  local_windows: 4000
results: {request_rows: 0}
"""


def hit_rate(folder: Path, step: int, *sets: str) -> float:
    """Realised hit rate with this truncation step."""
    scenario = from_yaml(folder, AT_THE_LIMIT, f"prompt.truncation_step={step}", *sets)
    summary = simulate(scenario).summary
    assert summary["requests.completed"] == summary["requests.arrived"] > 10_000
    return float(summary["prefix_hit_rate"])


@pytest.mark.parametrize(
    ("step", "expected"), [(500, 0.820), (1000, 0.907), (2000, 0.950), (4000, 0.971)]
)
@pytest.mark.parametrize("blocks", [("1", "1600000"), ("4", "400000")])
def test_hit_rate_follows_the_truncation_formula(
    tmp_path: Path, step: int, expected: float, blocks: tuple[str, str]
) -> None:
    """Within a point of the published figures' model, and of the formula itself."""
    sizes = f"kv.block_tokens={blocks[0]}", f"kv.global_blocks={blocks[1]}"
    missed = SAID + (LIMIT - step - HEAD) * SAID / step
    formula = 1 - missed / (LIMIT - step / 2)
    found = hit_rate(tmp_path, step, *sizes)
    assert found == pytest.approx(expected, abs=0.01)
    assert found == pytest.approx(formula, abs=0.01)


def test_cutting_at_every_turn_leaves_only_the_head(tmp_path: Path) -> None:
    """A step of one token cuts at each turn, so nothing but the head is found again: 12 %."""
    assert hit_rate(tmp_path, 1) == pytest.approx(HEAD / LIMIT, abs=0.01)


def test_without_retained_windows_nothing_can_be_resumed(tmp_path: Path) -> None:
    """A prefix whose local window was not retained is of no use, however much of it is cached."""
    for step in (1, 2000):
        assert hit_rate(tmp_path, step, "kv.local_retention=none") == 0.0


def test_caching_answers_adds_what_the_answers_are(tmp_path: Path) -> None:
    """With generated tokens cached, a turn misses the user's 60 tokens only, not 100."""
    saved = 40 * (1 - SAID / 2000) / (LIMIT - 1000)
    gain = hit_rate(tmp_path, 2000, "kv.cache_generated=true") - hit_rate(tmp_path, 2000)
    assert gain == pytest.approx(saved, abs=0.001)
