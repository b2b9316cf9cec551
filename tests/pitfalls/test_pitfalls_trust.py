"""Pitfalls of trust: 5 near saturation, 9 what TTFT is, 13 unasked work, 14 variance, 15 weight."""

import subprocess
import sys
import tomllib
from importlib import resources
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from fleet_runs import Tree, columns, constant, scenario_of

from kaiju_sim.fleet.cell import run_until
from kaiju_sim.fleet.control import CellRun
from kaiju_sim.fleet.records import Cell
from kaiju_sim.fleet.reference import viewed
from kaiju_sim.report.glossary import METRICS
from kaiju_sim.simulation import build_plant, replicate, simulate

ROOT = Path(__file__).parents[2]
QUEUE: Tree = {
    "run": {"warm_up": 100.0, "horizon": 700.0, "epoch": 0.05},
    "traffic": {
        "kind": "poisson",
        "output_tokens": constant(1),
        "sessions": {"user_tokens": constant(10)},
    },
    "engine": {"max_seqs": 1},
    "steptime": {"kind": "exponential", "step": 0.1},
    "kv": {"prefix_cache": False},
}
"""One replica that serves one message at a time: M/M/1 with a capacity of 10 messages/s."""


def at(load: float, step_s: float = 0.1) -> Any:
    rate: Tree = {"traffic": {"messages_per_s": 10.0 * load}}
    return scenario_of(QUEUE, rate, {"steptime": {"step": step_s}})


def test_pitfall_5_a_small_error_of_capacity_is_large_near_saturation_and_shows() -> None:
    """5 % slower steps: a little at half load, much at 90 %; there the interval is wide too."""
    growth, width = {}, {}
    for load in (0.5, 0.9):
        usual, slower = (replicate(at(load, step), 6) for step in (0.1, 0.105))
        mean = usual.intervals["ttft_s.mean"]
        growth[load] = slower.summary["ttft_s.mean"] / usual.summary["ttft_s.mean"]
        width[load] = mean["half_width"] / mean["mean"]
    assert 1.05 < growth[0.5] < 1.25
    assert growth[0.9] > 1.4
    assert width[0.9] > 1.5 * width[0.5]


def test_pitfall_5_past_the_knee_there_is_a_verdict_and_no_percentile_to_believe() -> None:
    assert simulate(at(0.8)).summary["verdict"] == "stable"
    over = simulate(at(1.1)).summary
    assert over["verdict"] == "overloaded"


def test_pitfall_9_ttft_starts_at_the_arrival_and_says_so() -> None:
    """From arrival to the first token delivered, queueing included: queue + prefill, each row."""
    text = next(m for m in METRICS if m.key == "ttft_s.p50").text
    assert "arrival (before the safety gate)" in text
    assert "with queueing" in text
    c = columns(simulate(at(0.9)).requests)
    assert (c["queue_s"] > 0.5).any()
    assert (c["ttft_s"] > c["queue_s"]).all()
    assert c["ttft_s"] == pytest.approx(c["e2e_s"])  # one token: the first is the last


OFF = {
    "kaiju_sim/engine/patience.py": set(),
    "kaiju_sim/engine/policy/withdraw.py": set(),
    "kaiju_sim/engine/policy/pacing.py": {
        "pairs_of",
        "near_pairs_of",
        "no_work",
        "and_chunk",
        "with_chunk",
        "rounds_of",
        "attention_ns",
    },
    "kaiju_sim/engine/policy/kv/host.py": {"flush", "fetch", "settle"},
}
"""What features that are off may call: work that is there without them, or one test."""
STATED: Tree = {
    "run": {"horizon": 20.0},
    "traffic": {
        "kind": "sessions",
        "messages_per_s": 8.0,
        "sessions": {"live": 40, "think": {"kind": "exponential", "mean": 4}},
    },
    "fleet": {"replicas": 2},
}


def called(tree: Tree) -> dict[str, set[str]]:
    """Functions of our modules that the loop calls, run as plain Python."""
    seen: dict[str, set[str]] = {}

    def note(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            file = Path(frame.f_code.co_filename)
            if file.is_relative_to(ROOT):
                name = file.relative_to(ROOT).as_posix()
                seen.setdefault(name, set()).add(frame.f_code.co_name)

    def plane(cell: Cell, until: int) -> int:
        here = viewed(cell)
        before = sys.getprofile()
        sys.setprofile(note)
        try:
            return run_until(here, until)
        finally:
            sys.setprofile(before)

    CellRun(build_plant(scenario_of(tree), Path()), 0, plane).run()
    return seen


def test_pitfall_13_features_that_are_off_are_not_called() -> None:
    """No snapshot, no second look: their functions do not run in the loop; switched on, they do."""
    off = called(STATED)
    for module, allowed in OFF.items():
        assert off.get(module, set()) <= allowed, module
    assert "shadow_of" not in off["kaiju_sim/engine/policy/routing.py"]
    on: Tree = STATED | {"engine": {"policy": "ttft_aware"}, "slo": {"ttft": 0.5, "tpot": 0.02}}
    assert "predicted_ns" in called(on)["kaiju_sim/engine/policy/pacing.py"]


def test_pitfall_14_runs_differ_and_the_result_says_how_much() -> None:
    """Each figure that varies between replications has an interval that holds their mean."""
    found = replicate(at(0.8), 5)
    for key in ("ttft_s.p99", "ttft_s.mean", "throughput.messages_per_s"):
        interval = found.intervals[key]
        assert len(set(interval["values"])) == 5
        assert interval["low"] < interval["mean"] < interval["high"]
        assert found.summary[key] == pytest.approx(interval["mean"])
    assert found.intervals["ttft_s.p99"]["half_width"] > 0.02 * found.summary["ttft_s.p99"]


def test_pitfall_15_dependencies_come_from_the_index_and_are_few() -> None:
    """No links to repositories, no nightlies, no GPU stack; tables are in the package."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = project["dependencies"]
    assert len(names) <= 12
    heavy = ("torch", "triton", "ray", "jax", "tensorflow", "scikit-learn", "streamlit", "nightly")
    assert not [n for n in names if "@" in n or "git" in n or any(h in n for h in heavy)]
    catalog = resources.files("kaiju_sim") / "catalog"
    assert (catalog / "gpus.yaml").is_file()
    assert (catalog / "models.yaml").is_file()


def test_pitfall_15_the_simulator_imports_without_what_only_tests_need() -> None:
    code = (
        "import sys, kaiju_sim.simulation, kaiju_sim.fleet.compiled\n"
        "heavy = {'pandas', 'torch', 'matplotlib', 'sklearn', 'duckdb', 'pytest'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
