"""Tiny fleets whose fewest replicas are known."""

from pathlib import Path

from kaiju_sim.planner.part import Window
from kaiju_sim.planner.trial import Bench
from kaiju_sim.scenario.loader import load_scenario

SERVER = """
schema_version: 1
name: staffing
run: {warm_up: 1s, horizon: 2s, drain: 10s, epoch: 100ms}
traffic:
  kind: poisson
  messages_per_s: 400
  sessions: {user_tokens: {kind: constant, value: 1}}
  output_tokens: {kind: constant, value: 1}
characters: {count: 1, definition_tokens: {kind: constant, value: 0}}
engine: {max_seqs: 1, token_budget: 1}
kv: {prefix_cache: false}
router: {policy: round_robin, queue: central}
steptime: {kind: exponential, step: 10ms}
slo: {ttft: 55ms}
fleet: {replicas: 4}
results: {request_rows: 0, tick: 10s}
overrides:
  no-affinity: {router: {policy: power_of_two, queue: replica}}
  tight-ttft: {slo: {ttft: 50ms}}
"""
"""A message of one token takes one step, so a replica is a server: M/M/c."""
WINDOW = Window(warm_up_s=2.0, length_s=10.0, drain_s=5.0)


def written(folder: Path) -> Path:
    """The scenario file."""
    path = folder / "staffing.yaml"
    path.write_text(SERVER)
    return path


def bench(folder: Path, *sets: str, keep: bool = False, scale: float = 1.0) -> Bench:
    """What the fleets are tried on."""
    loaded = load_scenario(written(folder), sets=sets)
    kept = folder / "kept" if keep else None
    if kept is not None:
        kept.mkdir(exist_ok=True)
    return Bench(loaded.scenario, loaded.base_dir, WINDOW, kept, scale=scale)
