"""`python -m benchmarks.simulator`: its last line, its options, and the load that it runs."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def bench(*options: str) -> "subprocess.CompletedProcess[str]":
    """Run the benchmark in a process of its own, from the root of the checkout."""
    command = [sys.executable, "-m", "benchmarks.simulator", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def last_line(*options: str) -> dict[str, Any]:
    """The JSON object at the end of a run that went well."""
    done = bench("--seconds", "1", *options)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert found["machine"]["cores"] > 0
    assert {"python", "numba", "numpy", "simpy", "kaiju_sim"} <= found["versions"].keys()
    return found


@pytest.mark.slow
def test_affinity_fleet_runs_at_seventy_percent_of_what_it_found() -> None:
    found = last_line("--only", "affinity_fleet")
    assert found.keys() == {"affinity_fleet", "machine", "versions"}
    fleet = found["affinity_fleet"]
    rate = fleet["messages"] / fleet["wall_s"]
    assert fleet["messages_per_s_per_core"] == pytest.approx(rate)
    assert fleet["steps_per_s"] == pytest.approx(fleet["steps"] / fleet["wall_s"])
    saturation = fleet["saturation_messages_per_s"]
    assert fleet["offered_messages_per_s"] == pytest.approx(0.7 * saturation)
    assert fleet["realised_messages_per_s"] == pytest.approx(0.7 * saturation, rel=0.05)
    assert fleet["prompt_tokens_mean"] == pytest.approx(5600, rel=0.03)
    assert fleet["output_tokens_mean"] == pytest.approx(140, rel=0.03)
    assert 0.8 < fleet["prefix_hit_rate"] < 1
    assert 0 < fleet["gpu_busy_fraction"] <= 1 + 1e-9
    assert (fleet["verdict"], fleet["gpus"]) == ("stable", 100)
    assert fleet["profile_source"] == "roofline"


def test_twin_and_bare_simpy_stand_beside_it() -> None:
    found = last_line("--only", "simpy_timeouts,python_twin", "--format", "json")
    assert found.keys() == {"python_twin", "simpy_timeouts_per_s", "machine", "versions"}
    assert found["python_twin"]["messages_per_s"] > 0
    assert found["python_twin"]["same_summary_as_compiled"] is True
    assert found["simpy_timeouts_per_s"] > 0


def test_json_format_prints_one_line_and_text_a_table_before_it() -> None:
    only = ("--seconds", "1", "--only", "simpy_timeouts")
    assert len(bench(*only, "--format", "json").stdout.splitlines()) == 1
    lines = bench(*only).stdout.splitlines()
    assert lines[0].startswith("bare SimPy, time-outs/s")
    assert "simpy_timeouts_per_s" in json.loads(lines[-1])


@pytest.mark.parametrize(
    "options",
    [
        ("--only", "everything"),
        ("--only", ""),
        ("--seconds", "0"),
        ("--seconds", "nan"),
        ("--seconds", "soon"),
        ("--format", "xml"),
    ],
)
def test_wrong_options_are_refused_at_once(options: tuple[str, str]) -> None:
    done = bench(*options)
    assert (done.returncode, done.stdout) == (2, "")
    assert "error: argument" in done.stderr
    assert "Traceback" not in done.stderr
