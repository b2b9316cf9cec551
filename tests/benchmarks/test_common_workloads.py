"""The workloads beside which other simulators run, the day, and memory counted for each alone."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.alone import alone
from benchmarks.loads.common import scenario_of
from benchmarks.loads.day import FULL_S, WARM_UP_S, command
from kaiju_sim.scenario.loader import load_scenario

ROOT = Path(__file__).resolve().parents[2]
MB = 1e6


def measured(*options: str) -> dict[str, Any]:
    """The last line of the benchmark."""
    words = [sys.executable, "-m", "benchmarks.simulator", "--format", "json", *options]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_common_workloads_and_day_report_what_was_promised() -> None:
    found = measured("--seconds", "0.2", "--only", "w1,w2,day")
    assert found.keys() == {"w1", "w2", "day", "machine", "versions"}
    for name in ("w1", "w2"):
        run = found[name]
        assert run["requests_per_s_per_core"] == pytest.approx(run["requests"] / run["wall_s"])
        assert 50 * MB < run["as_stated"]["peak_rss_bytes"] <= run["peak_rss_bytes"]
        assert (run["verdict"], run["gpus"], run["profile_source"]) == ("stable", 16, "roofline")
        assert run["output_tokens_mean"] == 256
    w1, w2 = found["w1"], found["w2"]
    assert (w1["prompt_tokens_mean"], w1["prefix_hit_rate"]) == (512, 0)
    assert w1["as_stated"]["requests"] == pytest.approx(32_000, rel=0.03)
    assert 0 < w1["tpot_s"] < w1["at_16_per_s"]["tpot_s"] < 0.02
    assert 0.01 < w1["ttft_s"] < 0.06
    assert w2["prefix_hit_rate"] < w2["with_affinity"]["prefix_hit_rate"]
    assert w2["with_affinity"]["ttft_s"] < w2["ttft_s"]
    day = found["day"]
    assert {"wall_s", "peak_rss_bytes", "messages", "steps"} <= day.keys()
    assert 0 < day["simulated_s"] < FULL_S
    assert day["steps"] > day["messages"] > 0


@pytest.mark.slow
def test_a_thousand_gpus_have_the_load_of_a_hundred_each() -> None:
    found = measured("--seconds", "0.1", "--only", "fleet_1000")
    grown = found["fleet_1000"]
    assert grown["gpus"] == 1000
    assert grown["messages_per_s_per_core"] == pytest.approx(grown["messages"] / grown["wall_s"])
    assert grown["prompt_tokens_mean"] == pytest.approx(5600, rel=0.03)


def test_w2_prompts_grow_by_512_and_256() -> None:
    scenario = scenario_of("w2")
    turns = range(1, 7)
    prompts = [154 + 512 * turn + 256 * (turn - 1) for turn in turns]
    assert max(prompts) < scenario.prompt.limit  # nothing is cut
    assert sum(prompts) / 6 == 2432 + 154  # the peer's mean, and the shared head before it


def test_the_day_is_the_shipped_one() -> None:
    words = command(Path("out"), 1.0)
    assert "--set" not in words
    scenario = load_scenario(ROOT / words[4], overrides=[words[6]]).scenario
    assert (scenario.run.horizon, scenario.run.warm_up) == (FULL_S, WARM_UP_S)


def holding(size: int) -> dict[str, int]:
    """Touch `size` bytes; called in another process."""
    return {"held": len(b"x" * size)}


def test_memory_is_that_of_the_process_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    here = b"x" * 400_000_000  # in this process: not to be counted there
    small = alone("test_common_workloads:holding", size=1)["peak_rss_bytes"]
    large = alone("test_common_workloads:holding", size=100_000_000)["peak_rss_bytes"]
    assert 90 * MB < large - small < 110 * MB
    assert small < len(here)
