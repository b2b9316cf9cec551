"""`python -m benchmarks.peers`: alone where no peer is installed, and with one that answers."""

import json
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.loads.common import scenario_of
from benchmarks.peers.aisimulate import AiSimulate, configuration

ROOT = Path(__file__).resolve().parents[2]
FAKE = """#!{python}
import json, pathlib, sys
words = dict(zip(sys.argv[2::2], sys.argv[3::2]))
config = json.loads(pathlib.Path(words["--config"]).read_text())
count = config["traffic"]["stop"].get("requests", 6 * config["traffic"]["stop"].get("sessions", 0))
report = dict.fromkeys({keys!r}, 2.0)
report |= dict(completed_requests=count, wall_time_ms=1000.0, total_input_tokens=512 * count)
out = pathlib.Path(words["--output-dir"])
out.mkdir()
(out / "prediction.json").write_text(json.dumps(report))
"""
KEYS = (
    "mean_tpot_ms",
    "mean_ttft_ms",
    "p99_ttft_ms",
    "mean_e2e_latency_ms",
    "prefix_cache_reused_ratio",
    "total_output_tokens",
    "min_ttst_ms",
)


def side_by_side(program: str) -> tuple[str, dict[str, Any]]:
    """What is said, and the last line."""
    words = [sys.executable, "-m", "benchmarks.peers", "--seconds", "0.1", "--aisimulate", program]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return done.stderr + done.stdout, found


def test_without_a_peer_ours_runs_alone_and_says_how_to_install_it() -> None:
    said, found = side_by_side("no-such-program")
    assert "AISimulate is not installed here" in said
    assert "pip install --pre --only-binary :all: aisimulate" in said
    assert found["w1"].keys() == found["w2"].keys() == {"ours"}
    assert found["versions"]["aisimulate"] is None


def test_a_peer_stands_beside_ours(tmp_path: Path) -> None:
    program = tmp_path / "aisimulate"
    program.write_text(FAKE.format(python=sys.executable, keys=KEYS), encoding="utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    said, found = side_by_side(str(program))
    assert "| w1 | aisimulate | 32,000 |" in said
    assert "| w2 | aisimulate | 18,000 |" in said
    assert found["w1_16_per_s"]["aisimulate"]["tpot_s"] == pytest.approx(0.002)
    assert len(found["w2"]["ours"]["rates"]) == len(found["w2"]["aisimulate"]["rates"]) == 3


@pytest.mark.parametrize("name", ["w1", "w2"])
def test_the_peer_is_asked_for_the_same_workload(name: str) -> None:
    ours, theirs = scenario_of(name), configuration(name, 7)
    worker = theirs["engine"]["workers"]["aggregated"]
    assert worker["parallelism"]["replicas"] == ours.fleet.replicas
    assert worker["scheduler"]["max_batched_tokens"] == ours.engine.token_budget
    assert worker["scheduler"]["max_sequences"] == ours.engine.max_seqs
    assert worker["kv_cache"]["prefix_caching"] == ours.kv.prefix_cache
    load, rate = theirs["traffic"]["load"], ours.traffic.messages_per_s
    assert rate == (
        load["sessions_per_second"] * 6 if name == "w2" else load["requests_per_second"]
    )
    assert ours.router.policy == "round_robin"


def test_no_program_is_no_peer() -> None:
    assert AiSimulate.find("no-such-program") is None
