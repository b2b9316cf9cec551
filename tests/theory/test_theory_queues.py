"""Queues with a closed form, through the whole fleet, from YAML.

A message of one prompt token and one output token takes one engine step, so a replica that serves
one message at a time is a server, and the law of its step time is the law of service. Intervals are
99.9 %, from independent replications (seeds), so that correlation within a run does not matter.
"""

import math
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
from fleet_runs import assert_agrees, columns, from_yaml
from scipy.optimize import brentq

from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.simulation import simulate

SERVER = """
schema_version: 1
name: queue
run: {warm_up: 1s, horizon: 2s, drain: 10s, epoch: 100ms}
traffic:
  kind: poisson
  messages_per_s: 1
  sessions: {user_tokens: {kind: constant, value: 1}}
  output_tokens: {kind: constant, value: 1}
characters: {count: 1, definition_tokens: {kind: constant, value: 0}}
engine: {max_seqs: 1, token_budget: 1}
kv: {prefix_cache: false}
router: {policy: round_robin}
steptime: {kind: exponential, step: 10ms}
results: {request_rows: 0, tick: 60s}
"""
SERVICE_S = 0.01
SEEDS = 32


def queue(folder: Path, rho: float, messages: float, servers: int, *sets: str) -> Scenario:
    """Servers with load `rho` each, for about this many messages after the warm-up."""
    rate = rho * servers / SERVICE_S
    return from_yaml(
        folder,
        SERVER,
        f"traffic.messages_per_s={rate}",
        f"fleet.replicas={servers}",
        f"run.horizon={1 + messages / rate}s",
        *sets,
    )


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Summaries of one queue under SEEDS seeds, made once per queue."""

    @cache
    def made(rho: float, messages: float, servers: int, *sets: str) -> list[dict[str, Any]]:
        folder = tmp_path_factory.mktemp("queue")
        build = partial(queue, folder, rho, messages / SEEDS, servers, *sets)
        return [simulate(build(f"seed={seed}")).summary for seed in range(1, SEEDS + 1)]

    return made


def erlang_c(servers: int, offered: float) -> float:
    """Probability that a message waits in M/M/c with this offered load (A. K. Erlang, 1917)."""
    busy = offered**servers / math.factorial(servers) * servers / (servers - offered)
    return busy / (sum(offered**n / math.factorial(n) for n in range(servers)) + busy)


def test_m_m_1_mean_wait_and_time_in_system(figures: Any) -> None:
    """M/M/1: W = 1 / (mu - lambda), Wq = rho W."""
    runs = figures(0.5, 12e6, 1)
    whole = SERVICE_S / (1 - 0.5)
    assert_agrees([s["e2e_s.mean"] for s in runs], whole)
    assert_agrees([s["queue_s.mean"] for s in runs], 0.5 * whole)
    assert_agrees([s["gpu_busy_fraction"] for s in runs], 0.5)


@pytest.mark.parametrize(("name", "p"), [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)])
def test_m_m_1_time_in_system_is_exponential(figures: Any, name: str, p: float) -> None:
    """M/M/1: P(T > t) = exp(-(mu - lambda) t)."""
    truth = -math.log(1 - p) * SERVICE_S / (1 - 0.5)
    assert_agrees([s[f"e2e_s.{name}"] for s in figures(0.5, 12e6, 1)], truth)


@pytest.mark.parametrize(("name", "p"), [("p90", 0.9), ("p99", 0.99)])
def test_m_m_1_wait_has_an_exponential_tail(figures: Any, name: str, p: float) -> None:
    """M/M/1: P(Tq > t) = rho exp(-(mu - lambda) t)."""
    truth = math.log(0.5 / (1 - p)) * SERVICE_S / (1 - 0.5)
    assert_agrees([s[f"queue_s.{name}"] for s in figures(0.5, 12e6, 1)], truth)


def test_m_d_1_mean_wait(figures: Any) -> None:
    """M/D/1: Wq = rho / (2 (1 - rho)) services (Pollaczek and Khinchine)."""
    runs = figures(0.7, 6e6, 1, "steptime.kind=constant")
    assert_agrees([s["queue_s.mean"] for s in runs], SERVICE_S * 0.7 / (2 * 0.3))


@pytest.mark.slow
@pytest.mark.parametrize(("servers", "rho", "messages"), [(3, 0.6, 12e6), (8, 0.75, 32e6)])
def test_m_m_c_from_the_central_queue(
    figures: Any, servers: int, rho: float, messages: float
) -> None:
    """M/M/c: Wq = C(c, a) / (c mu - lambda)."""
    runs = figures(rho, messages, servers, "router.queue=central")
    waiting = erlang_c(servers, rho * servers) * SERVICE_S / (servers * (1 - rho))
    assert_agrees([s["queue_s.mean"] for s in runs], waiting)
    assert_agrees([s["e2e_s.mean"] for s in runs], waiting + SERVICE_S)


def test_split_at_random_is_m_m_1_at_each_replica(figures: Any) -> None:
    """A Poisson stream split by a hash of the dialogue is Poisson at each of four replicas."""
    runs = figures(0.5, 8e6, 4, "router.policy=rendezvous", "router.rendezvous_key=session")
    assert_agrees([s["e2e_s.mean"] for s in runs], SERVICE_S / (1 - 0.5))


def test_split_in_turn_is_e_c_m_1_at_each_replica(figures: Any) -> None:
    """Round robin over c replicas makes Erlang-c arrivals: Wq = sigma / (mu (1 - sigma)).

    G/M/1: sigma is the root in (0, 1) of sigma = A(mu (1 - sigma)), A the interarrival's transform.
    """
    c, rho = 3, 0.7

    def gap(sigma: float) -> float:
        rate = c * rho  # of the whole stream, in services
        return (rate / (rate + 1 - sigma)) ** c - sigma

    sigma = brentq(gap, 1e-9, 1 - 1e-6)
    runs = figures(rho, 10e6, c)
    assert_agrees([s["queue_s.mean"] for s in runs], SERVICE_S * sigma / (1 - sigma))


@pytest.mark.parametrize("kind", ["exponential", "constant"])
def test_little(figures: Any, kind: str) -> None:
    """L = lambda W, whatever the laws, up to what is cut at the window's edges."""
    messages = 12e6 if kind == "exponential" else 6e6
    rho = 0.5 if kind == "exponential" else 0.7
    kinds = () if kind == "exponential" else ("steptime.kind=constant",)
    for s in figures(rho, messages, 1, *kinds):
        within = s["throughput.messages_per_s"] * s["e2e_s.mean"]
        assert s["realised.in_system_mean"] == pytest.approx(within, rel=2e-3)


def test_little_to_the_last_message(tmp_path: Path) -> None:
    """The integral of messages in the system is the sum of their stays inside the window."""
    rows = "results.request_rows=1000000"
    scenario = queue(tmp_path, 0.8, 50_000, 3, rows, "router.queue=central")
    result = simulate(scenario)
    c = columns(result.requests)
    begin = c["arrival_s"].clip(1.0, scenario.run.horizon)
    end = (c["arrival_s"] + c["e2e_s"]).clip(1.0, scenario.run.horizon)
    mean = (end - begin).sum() / (scenario.run.horizon - 1.0)
    assert mean == pytest.approx(result.summary["realised.in_system_mean"], rel=1e-9)


@pytest.mark.parametrize("how", ["router.queue=central", "router.policy=round_robin"])
def test_open_queues_do_not_depend_on_the_epoch(tmp_path: Path, how: str) -> None:
    """The epoch is when routing is done, not when things happen: same messages, same times."""
    rows = "results.request_rows=1000000"
    results = [
        simulate(queue(tmp_path, 0.8, 5000, 3, rows, how, f"run.epoch={epoch}")).requests
        for epoch in ("10us", "7ms", "1s")
    ]
    assert results[0].equals(results[1])
    assert results[0].equals(results[2])
