"""The safety gate against closed forms: its servers are a queue, its scores are normals.

Messages come by a Poisson process and end with their first token, so that nothing but the gate is
in question; who is refused leaves, so that nobody comes twice. Intervals are 99.9 %, from
independent replications.
"""

import math
from collections.abc import Callable
from functools import cache
from statistics import NormalDist
from typing import Any

import pytest
from fleet_runs import assert_agrees, from_yaml

from kaiju_sim.simulation import simulate

GATE = """
schema_version: 1
name: gate
run: {warm_up: 1s, horizon: 2s, drain: 20s, epoch: 100ms}
traffic:
  kind: poisson
  messages_per_s: 1
  sessions: {user_tokens: {kind: constant, value: 1}}
  output_tokens: {kind: constant, value: 1}
characters: {count: 1, definition_tokens: {kind: constant, value: 0}}
kv: {prefix_cache: false}
router: {policy: round_robin}
steptime: {kind: constant, step: 10ms}
results: {request_rows: 0, tick: 60s}
safety:
  pre: before
  pool: {servers: 1, service: exponential}
  refused: {leave: {value: 1, high: 1}, reword: {value: 0, low: 0}}
"""
SERVICE_S = 0.01
SEEDS = 16
Figures = list[dict[str, Any]]
Made = Callable[..., Figures]


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Summaries of a gate with load `rho` on each server under SEEDS seeds, made once."""

    @cache
    def made(rho: float, messages: float, servers: int, *sets: str) -> Figures:
        folder = tmp_path_factory.mktemp("gate")
        rate = rho * servers / SERVICE_S
        known = (
            f"traffic.messages_per_s={rate}",
            f"run.horizon={1 + messages / SEEDS / rate}s",
            f"safety.pool.servers={servers}",
            f"safety.pool.service_mean_s.value={SERVICE_S}",
            *sets,
        )
        runs = (from_yaml(folder, GATE, f"seed={seed}", *known) for seed in range(1, SEEDS + 1))
        return [simulate(run).summary for run in runs]

    return made


def waiting_chance(servers: int, offered: float) -> float:
    """Probability of a wait in M/M/c (A. K. Erlang, 1917)."""
    busy = offered**servers / math.factorial(servers) * servers / (servers - offered)
    return busy / (sum(offered**n / math.factorial(n) for n in range(servers)) + busy)


@pytest.mark.parametrize(
    ("servers", "rho", "messages"), [(1, 0.5, 3e6), (3, 0.6, 3e6), (8, 0.75, 6e6)]
)
def test_the_gate_is_m_m_c(figures: Made, servers: int, rho: float, messages: float) -> None:
    """M/M/c: Wq = C(c, a) / (c mu - lambda), whatever the epoch; the stay is a service more."""
    runs = figures(rho, messages, servers)
    wait = waiting_chance(servers, rho * servers) * SERVICE_S / (servers * (1 - rho))
    assert_agrees([s["safety.pre.wait_s.mean"] for s in runs], wait, most=0.03)
    assert_agrees([s["safety.pre.stay_s.mean"] for s in runs], wait + SERVICE_S, most=0.03)
    assert_agrees([s["safety.pre.utilisation"] for s in runs], rho, most=0.01)


def test_the_tail_of_the_wait_is_exponential(figures: Made) -> None:
    """M/M/1: P(Wq > t) = rho exp(-(mu - lambda) t)."""
    truth = math.log(0.5 / 0.01) * SERVICE_S / 0.5
    assert_agrees([s["safety.pre.wait_s.p99"] for s in figures(0.5, 3e6, 1)], truth, most=0.03)


def test_constant_work_is_m_d_1(figures: Made) -> None:
    """M/D/1: Wq = rho / (2 (1 - rho)) services (Pollaczek and Khinchine)."""
    runs = figures(0.7, 2e6, 1, "safety.pool.service=constant")
    truth = SERVICE_S * 0.7 / (2 * 0.3)
    assert_agrees([s["safety.pre.wait_s.mean"] for s in runs], truth, most=0.03)


@pytest.mark.parametrize("room", [1, 5])
def test_a_bounded_line_refuses_as_m_m_c_k(figures: Made, room: int) -> None:
    """M/M/c/K: the share that finds all c + K places taken, at a load of 1.2."""
    servers, rho = 2, 1.2
    offered = rho * servers
    weights = [offered**n / math.factorial(n) for n in range(servers + 1)]
    weights += [weights[-1] * rho**n for n in range(1, room + 1)]
    runs = figures(rho, 1e6, servers, f"safety.pool.queue_limit={room}")
    lost = [s["safety.refused"] / s["requests.arrived"] for s in runs]
    assert_agrees(lost, weights[-1] / sum(weights), most=0.02)


def law(name: str, median: float, spread: float) -> tuple[str, ...]:
    """Settings of one class's scores, of both tiers."""
    return tuple(
        setting
        for tier in ("adult", "teen")
        for setting in (
            f"safety.{tier}.messages.{name}.median={{value: {median}, low: 0, high: 1}}",
            f"safety.{tier}.messages.{name}.spread.value={spread}",
        )
    )


def normals(threshold: float) -> tuple[str, ...]:
    """Two classes with normal log-odds: harmless about ln(1/9), violating about 0."""
    shares = "{violating: {value: 0.1}, intense: {value: 0, low: 0}}"
    return (
        *law("benign", 0.1, 1.0),
        *law("violating", 0.5, 1.5),
        f"safety.adult.classes={shares}",
        f"safety.teen.classes={shares}",
        f"safety.thresholds={{adult: {threshold}, teen: {threshold}}}",
    )


def test_the_roc_of_two_normals_has_the_analytic_area(figures: Made) -> None:
    """P(violating above harmless) = Phi(difference of means / root of the sum of variances)."""
    truth = NormalDist().cdf(math.log(9) / math.sqrt(1.0 + 1.5**2))
    runs = figures(0.2, 1e6, 4, *normals(0.5))
    assert_agrees([s["safety.pre.adult.auc"] for s in runs], truth, most=0.01)
    at = NormalDist(math.log(1 / 9), 1.0).inv_cdf(0.95)  # threshold with 5 % false positives
    detected = 1 - NormalDist(0.0, 1.5).cdf(at)
    found = [s["safety.pre.adult.detection_at_5_percent"] for s in runs]
    assert_agrees(found, detected, most=0.03)


def test_rates_are_those_of_the_laws_and_their_intervals_hold_them(figures: Made) -> None:
    """P(log-odds of the score at or above those of the threshold)."""
    runs = figures(0.2, 1e6, 4, *normals(0.5))
    false = 1 - NormalDist(math.log(1 / 9), 1.0).cdf(0.0)
    assert_agrees([s["safety.pre.adult.false_positive_rate"] for s in runs], false, most=0.05)
    assert_agrees([s["safety.pre.adult.detection_rate"] for s in runs], 0.5, most=0.02)
    name = "safety.pre.adult.detection_rate"
    held = sum(s[f"{name}_low"] <= 0.5 <= s[f"{name}_high"] for s in runs)
    assert held >= SEEDS - 4, "95 % intervals that miss more often than 1 in 4000 times they may"


def test_higher_thresholds_block_less(figures: Made) -> None:
    """The same users meet each threshold, so rates fall one by one, in every run."""
    rates = ("block_rate", "false_positive_rate", "detection_rate")
    runs = [figures(0.2, 4e4, 4, *normals(t)) for t in (0.2, 0.4, 0.6, 0.8)]
    for weaker, stronger in zip(runs[1:], runs[:-1], strict=True):
        for low, high in zip(weaker, stronger, strict=True):
            assert low["requests.arrived"] == high["requests.arrived"]
            assert low["requests.blocked_pre"] < high["requests.blocked_pre"]
            for rate in rates:
                assert low[f"safety.pre.adult.{rate}"] <= high[f"safety.pre.adult.{rate}"]


def test_little_with_the_gate(figures: Made) -> None:
    """L = lambda W, W from arrival at the edge to the last token, the gate included."""
    for s in figures(0.7, 4e5, 1, "safety.thresholds={adult: 0.999999, teen: 0.999999}"):
        within = s["throughput.messages_per_s"] * s["e2e_s.mean"]
        assert s["realised.in_system_mean"] == pytest.approx(within, rel=5e-3)
