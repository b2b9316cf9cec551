"""The whole path once: keys, conservation, warm start, the compiled code's cache."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kaiju_sim.errors import UserError
from kaiju_sim.report.glossary import METRICS, undocumented
from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.simulation import simulate

PACKAGE = Path(__file__).parents[1] / "kaiju_sim"


def small(**changes: object) -> Scenario:
    """A small closed-loop scenario."""
    base: dict[str, object] = {
        "schema_version": 1,
        "name": "small",
        "run": {"warm_up": 5.0, "horizon": 30.0, "drain": 60.0},
        "traffic": {
            "kind": "sessions",
            "messages_per_s": 20.0,
            "turn_cycle": 20.0,
            "sessions": {"live": 400, "think": {"kind": "exponential", "mean": 18.0}},
        },
        "fleet": {"replicas": 2},
        "results": {"tick": 1.0},
    }
    return Scenario.model_validate(base | changes)


def test_every_key_is_documented_and_every_documented_key_is_there() -> None:
    summary = simulate(small()).summary
    assert undocumented(summary) == []
    absent = [m.key for m in METRICS if m.key not in summary]
    assert absent == ["incidents"]  # only where something goes wrong: tests/incidents


def test_the_fates_add_up() -> None:
    s = simulate(small()).summary
    fates = [k for k in s if k.startswith("requests.") and k != "requests.arrived"]
    assert s["requests.arrived"] == sum(s[k] for k in fates) > 300


def test_a_warm_start_finds_the_dialogues_in_the_caches() -> None:
    warm = simulate(small(run={"warm_up": 0.0, "horizon": 10.0, "start": "warm"})).summary
    cold = simulate(small(run={"warm_up": 0.0, "horizon": 10.0, "start": "cold"})).summary
    assert warm["prefix_hit_rate"] > cold["prefix_hit_rate"] + 0.2


def test_a_sample_of_dialogues_is_logged_whole() -> None:
    full = simulate(small()).requests
    some = simulate(small(results={"tick": 1.0, "request_rows": 200})).requests
    kept = set(some["session"].to_pylist())
    rows = [r for r in full.to_pylist() if r["session"] in kept]
    assert 0 < some.num_rows < full.num_rows
    assert some.to_pylist() == rows


def test_sketched_quantiles_are_within_their_stated_error() -> None:
    exact = simulate(small()).summary
    sketch = simulate(small(results={"tick": 1.0, "request_rows": 200})).summary
    assert exact["quantile_rel_error"] == 0
    for name in ("ttft_s", "e2e_s", "tpot_s"):
        for q in ("p50", "p90"):
            error = abs(sketch[f"{name}.{q}"] / exact[f"{name}.{q}"] - 1)
            assert error <= sketch["quantile_rel_error"] + 2e-3


def test_memory_that_does_not_suffice_is_the_users_error() -> None:
    with pytest.raises(UserError, match="max_context"):
        simulate(small(kv={"global_blocks": 3}))


ENTRY = """
import sys
from kaiju_sim.engine.jit.compiled import compile_entry
from kaiju_sim.engine.policy.batching import (chunk)
from kaiju_sim.fleet.compiled import keyed, modules

def most(room, todo):
    return chunk(room, todo)

if __name__ == "__main__":
    compiled = compile_entry(most, modules(), keyed())
    print(compiled(100, 50), sum(compiled.stats.cache_hits.values()))
"""


def test_compiled_code_is_cached_and_never_stale(tmp_path: Path) -> None:
    """Edit a policy function in a copy of the package: the next process sees the change.

    The entry point stands in a file of its own, which does not change: numba's own cache would
    not notice.
    """
    copy = tmp_path / "kaiju_sim"
    subprocess.run(["cp", "-r", str(PACKAGE), str(copy)], check=True)
    (tmp_path / "entry.py").write_text(ENTRY)
    assert run_copy(tmp_path) == "50 0"
    assert run_copy(tmp_path) == "50 1"
    policy = copy / "engine" / "policy" / "batching.py"
    text = policy.read_text()
    assert "return min(room, todo)" in text
    policy.write_text(text.replace("return min(room, todo)", "return min(room, todo, 7)"))
    assert run_copy(tmp_path) == "7 0"


def run_copy(tmp_path: Path) -> str:
    """What the entry point prints: its value, and how often it came from the cache."""
    done = subprocess.run(
        [sys.executable, "entry.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "KAIJU_CACHE_DIR": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"results": {"tick": 1e-6}}, "results.tick"),
        ({"run": {"warm_up": 0.0, "horizon": 1e6, "epoch": 1e-9}}, "run.epoch"),
        ({"characters": {"definition_tokens": {"kind": "constant", "value": 1e6}}}, "prompt.limit"),
    ],
)
def test_what_would_never_end_is_the_users_error(changes: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        simulate(small(**changes))


def test_a_count_fits_its_record() -> None:
    with pytest.raises(ValueError, match="1000000"):
        small(characters={"definition_tokens": {"kind": "constant", "value": 4294968000.0}})


def test_a_replay_needs_no_compilation_of_its_own_and_ends_with_its_trace(tmp_path: Path) -> None:
    import numba
    import numpy as np

    from kaiju_sim.fleet.setup.build import build_cell
    from kaiju_sim.simulation import build_plant

    rows = "arrival_s,prompt_tokens,output_tokens\n0,100,5\n1.5,90,4\n"
    (tmp_path / "t.csv").write_text(rows)
    traffic = {"kind": "replay", "trace": {"file": "t.csv"}}
    replay = build_plant(small(traffic=traffic, run={"warm_up": 0.0, "horizon": 600.0}), tmp_path)
    versions = np.zeros(5000, np.int32)
    plain = build_cell(build_plant(small(), tmp_path), 0, versions)
    assert numba.typeof(build_cell(replay, 0, versions)) == numba.typeof(plain)
    assert replay.scenario.run.horizon == pytest.approx(1.6)


def test_a_fleet_that_fails_its_messages_is_not_stable() -> None:
    s = simulate(
        small(
            engine={"max_context": 8300},
            prompt={"limit": 8200},
            traffic={
                "kind": "poisson",
                "messages_per_s": 5.0,
                "sessions": {"user_tokens": {"kind": "constant", "value": 9000.0}},
            },
        )
    ).summary
    assert s["requests.failed"] == s["requests.arrived"] > 0
    assert s["verdict"] == "overloaded"
