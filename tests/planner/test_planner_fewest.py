"""The fewest replicas of fleets with a known answer; parts; what is kept."""

import math
from pathlib import Path

import numpy as np
import pytest
from planner_fleets import WINDOW, bench

from kaiju_sim.errors import UserError
from kaiju_sim.planner import trial
from kaiju_sim.planner.fewest import size
from kaiju_sim.planner.objectives import KEEPS_UP, LOST, TTFT, binding, passes, ratios
from kaiju_sim.planner.part import part_of, scenario_of, seed_of, unit_of
from kaiju_sim.planner.sequential import QUICK
from kaiju_sim.scenario.loader import load_scenario
from kaiju_sim.simulation import build_plant

RATE, SERVICE_S = 400.0, 0.01


def erlang_c(servers: int, offered: float) -> float:
    """Probability that a message waits in M/M/c (A. K. Erlang, 1917)."""
    busy = offered**servers / math.factorial(servers) * servers / (servers - offered)
    return busy / (sum(offered**n / math.factorial(n) for n in range(servers)) + busy)


def beyond(servers: int, t: float) -> float:
    """P(time in system > t) of M/M/c: a wait that is exponential if there is one, and a service."""
    if servers <= RATE * SERVICE_S:
        return 1.0
    mu, waits = 1 / SERVICE_S, erlang_c(servers, RATE * SERVICE_S)
    rate = servers * mu - RATE
    if abs(rate - mu) < 1e-9:
        return math.exp(-mu * t) * (1 + waits * mu * t)
    both = (mu * math.exp(-rate * t) - rate * math.exp(-mu * t)) / (mu - rate)
    return (1 - waits) * math.exp(-mu * t) + waits * both


def fewest_servers(limit_s: float) -> int:
    """The fewest servers of M/M/c whose p99 of the time in system is within the limit."""
    return next(c for c in range(1, 100) if beyond(c, limit_s) <= 0.01)


@pytest.mark.parametrize("limit_ms", [55, 75])
def test_staffing_of_m_m_c(tmp_path: Path, limit_ms: int) -> None:
    """The fewest replicas are those of queueing theory, and the one below surely fails."""
    truth = fewest_servers(limit_ms / 1000)
    # The closed form must be clear on both sides, else a test of it would be one of luck.
    assert beyond(truth, limit_ms / 1000) < 0.006 < 0.016 < beyond(truth - 1, limit_ms / 1000)
    found = size(bench(tmp_path, f"slo.ttft={limit_ms}ms"), QUICK)
    assert found.found.count == truth
    assert found.found.below == truth - 1
    assert found.gpus == truth


def test_m_d_c_needs_fewer(tmp_path: Path) -> None:
    """Service times that are all alike: fewer servers than exponential ones."""
    found = size(bench(tmp_path, "steptime.kind=constant"), QUICK)
    assert found.found.count is not None
    assert found.found.count < fewest_servers(0.055)
    assert found.found.count >= 5  # four have no time to spare at all


def test_two_gpus_a_replica_are_counted(tmp_path: Path) -> None:
    found = size(bench(tmp_path, "fleet.tensor_parallel=2"), QUICK)
    assert found.gpus == 2 * fewest_servers(0.055)


def test_no_number_is_enough(tmp_path: Path) -> None:
    """One service alone takes longer than the objective in over 1 % of the cases."""
    tight = bench(tmp_path, "slo.ttft=20ms", "traffic.messages_per_s=20")
    found = size(tight, QUICK)
    assert found.gpus is None
    assert found.binds == TTFT


def test_longer_steps_need_more(tmp_path: Path) -> None:
    """Step times at the upper end of their error reach the answer."""
    usual = size(bench(tmp_path), QUICK).gpus
    longer = size(bench(tmp_path, scale=1.1), QUICK).gpus
    assert usual is not None
    assert longer is not None
    assert longer > usual


def test_a_fleet_that_changes_is_refused(tmp_path: Path) -> None:
    changing = bench(tmp_path, "fleet.changes=[{at: 1s, action: drain_shards, count: 1}]")
    with pytest.raises(UserError, match="does not change"):
        size(changing, QUICK)


def test_an_objective_is_needed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="slo"):
        size(bench(tmp_path, "slo={}", "slo.ttft=null"), QUICK)


def test_what_is_kept_is_not_done_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second search simulates nothing; one with a file missing or cut short does only that."""
    first = size(bench(tmp_path, keep=True), QUICK)
    done: list[int] = []
    real = trial.simulated

    def counted(*args: object, **more: object) -> object:
        done.append(1)
        return real(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(trial, "simulated", counted)
    assert size(bench(tmp_path, keep=True), QUICK) == first
    assert done == []
    files = sorted((tmp_path / "kept").glob("*.json"))
    files[0].unlink()
    files[1].write_text(files[1].read_text()[:40])
    assert size(bench(tmp_path, keep=True), QUICK) == first
    assert len(done) == 2


def test_what_is_kept_has_another_name_when_anything_changes(tmp_path: Path) -> None:
    usual = bench(tmp_path).trial(5, 0)
    others = [
        bench(tmp_path).trial(6, 0),
        bench(tmp_path).trial(5, 1),
        bench(tmp_path, "slo.ttft=56ms").trial(5, 0),
        bench(tmp_path, scale=1.01).trial(5, 0),
    ]
    names = {usual.name, *(other.name for other in others)}
    assert len(names) == 5
    assert bench(tmp_path).trial(5, 0).name == usual.name


def test_a_part_has_its_share_of_everything() -> None:
    """Replicas, load, dialogues and the gate's servers are divided alike."""
    s = load_scenario(Path("scenarios") / "published.yaml", overrides=["gate"]).scenario
    part = part_of(s, 320)
    assert (part.replicas, part.share, part.cells) == (20, 1 / 16, 1)
    made = scenario_of(s, 320, WINDOW, 0)
    assert made.traffic.messages_per_s == 1250
    assert made.traffic.sessions.live == 56250
    assert made.safety.pool.servers == 8
    assert made.fleet.replicas == 20
    assert part_of(s, 324).replicas == 20
    assert scenario_of(s, 324, WINDOW, 0).traffic.messages_per_s == pytest.approx(20000 * 20 / 324)
    assert unit_of(s) == 4


def test_a_small_fleet_is_simulated_whole() -> None:
    s = load_scenario(Path("scenarios") / "baseline.yaml").scenario
    made = scenario_of(s, 46, WINDOW, 3)
    assert made.fleet.replicas == 46
    assert made.traffic == s.traffic
    assert made.seed == seed_of(s.seed, 3) != s.seed


def test_objectives_are_figures_over_limits(tmp_path: Path) -> None:
    s = bench(tmp_path).scenario
    figures = {
        "ttft_s.p99": 0.0275,
        "verdict": "stable",
        "requests.arrived": 1000,
        **{f"requests.{k}": 0 for k in ("shed", "failed", "cancelled", "blocked_pre")},
        "requests.blocked_post": 200,
    }
    assert ratios(figures, s) == {TTFT: 0.5, LOST: 0.0, KEEPS_UP: 0.0}
    lost = ratios(figures | {"requests.shed": 16}, s)
    assert lost[LOST] == pytest.approx(2.0)
    assert not passes(lost)
    assert binding(lost) == LOST
    never = ratios(figures | {"ttft_s.p99": None, "verdict": "overloaded"}, s)
    assert never[TTFT] == math.inf
    assert binding(never) == TTFT


def test_every_term_of_a_step_is_scaled() -> None:
    """All arrays of times are longer by the factor; what counts or names things is as it was."""
    s = load_scenario(Path("scenarios") / "baseline.yaml").scenario
    curves = build_plant(s, Path("scenarios")).step_time.curves
    made = trial.longer(curves, 2.0)
    same = {"kind", "rounds", "each", "rows", "seqs"}
    for name, value in curves._asdict().items():
        factor = 1 if name in same else 2
        assert np.array_equal(getattr(made, name), np.asarray(value) * factor), name
