"""A scenario that takes a tenth of a second, and a sweep of it."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

SMALL = """\
schema_version: 1
name: small
run: {warm_up: 2s, horizon: 12s, drain: 20s}
traffic: {kind: poisson, messages_per_s: 20}
steptime: {kind: roofline}
fleet: {replicas: 2}
slo: {ttft: 500ms, tpot: 20ms}
sweep: {fleet.replicas: [1, 2]}
"""
SWEEP = """\
scenario: small.yaml
set: {run.epoch: 50ms}
grid:
  fleet.replicas: [1, 2]
  engine.policy: [decode_first, prefill_first]
sobol:
  traffic.messages_per_s: [10, 40]
  run.epoch: {low: 20ms, high: 200ms, scale: log}
points: 2
"""


def written(folder: Path, sweep: str = SWEEP) -> Path:
    """The sweep file, beside its scenario."""
    (folder / "small.yaml").write_text(SMALL)
    path = folder / "sweep.yaml"
    path.write_text(sweep)
    return path


def command(*words: object) -> list[str]:
    """`kaiju-sim` on this checkout."""
    return [sys.executable, "-m", "kaiju_sim", *map(str, words)]


def environment() -> dict[str, str]:
    """Variables for a process that runs the command."""
    return os.environ | {"PYTHONPATH": str(ROOT)}


def run(*words: object) -> "subprocess.CompletedProcess[str]":
    """Run the command to its end."""
    return subprocess.run(
        command(*words), capture_output=True, text=True, cwd=ROOT, env=environment(), check=False
    )
