"""A server from its first request to its last: signals, draining, failures; and its rules."""

import asyncio
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from serving_limits import constant_curves, limits_with

from calibrate.engine.clock import WallClock
from calibrate.engine.engine import Engine, Sizes
from calibrate.engine.executor import StepPlan
from calibrate.engine.memory.rings import reserve_pages
from calibrate.engine.served.seam import Opened
from calibrate.serving import live
from calibrate.serving.rules import Rules, curves_of, limits_of, rules_of
from kaiju_sim.catalog.models import find_model
from kaiju_sim.errors import UserError
from kaiju_sim.fleet.setup.build import Plant, make_limits
from kaiju_sim.fleet.setup.groups import build_groups
from kaiju_sim.scenario.loader import load_scenario

SCENARIO = """
schema_version: 1
name: rules
engine: {policy: ttft_aware, token_budget: 700, max_seqs: 90, queue_limit: 40, shed: late,
         max_context: 9000}
kv: {prefix_cache: true, cache_generated: false, local_retention: definition, block_tokens: 128}
slo: {ttft: 2s, paid_ttft: 1s, tpot: 50ms}
traffic: {kind: sessions, messages_per_s: 1}
"""


class Steps:
    """Each takes five milliseconds; the one numbered `broken` fails."""

    def __init__(self, broken: int = -1) -> None:
        self.left = broken

    def run(self, plan: StepPlan) -> list[int]:
        time.sleep(0.005)
        self.left -= 1
        if self.left == 0:
            raise RuntimeError("the GPU is lost")
        return [7] * len(plan.draws)


def opened(broken: int = -1) -> Opened:
    limits = limits_with()
    sizes = Sizes(100, reserve_pages(limits), 512, 8)
    engine = Engine(limits, constant_curves(), sizes, Steps(broken), WallClock())
    return Opened(engine, "tiny", 50)


class Client(threading.Thread):
    """Asks for `most` tokens, and sends signals once it has some of them."""

    def __init__(self, most: int, signals: int) -> None:
        super().__init__()
        self.most, self.signals = most, signals
        self.address = ""
        self.said: list[str] = []
        self.body = b""

    def out(self, line: str) -> None:
        self.address = line
        self.start()

    def run(self) -> None:
        asyncio.run(self._ask())

    async def _ask(self) -> None:
        port = int(self.address.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        body = json.dumps({"prompt": "1 2 3", "max_tokens": self.most, "stream": True})
        writer.write(
            f"POST /v1/completions HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        )
        writer.write(body.encode())
        while self.body.count(b"data") < 3 and (piece := await reader.read(1000)):
            self.body += piece
        for _ in range(self.signals):
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(0.05)
        self.body += await reader.read()
        writer.close()


def serve(model: Opened, client: Client, drain_s: float) -> None:
    """In this thread, which is the one that gets signals."""
    try:
        live.serve(model, "127.0.0.1", 0, drain_s, client.out, client.said.append)
    finally:
        client.join(10)
    assert not client.is_alive()
    names = [thread.name for thread in threading.enumerate()]
    assert "engine" not in names


def test_at_a_signal_what_is_inside_goes_on_to_its_end() -> None:
    model, client = opened(), Client(most=60, signals=1)
    before = signal.getsignal(signal.SIGTERM)
    serve(model, client, drain_s=20)
    assert client.body.endswith(b"data: [DONE]\n\n")
    assert client.body.count(b'"token_ids": [7') >= 20
    assert "1 requests inside, 20 s" in client.said[-2]
    assert "no page is held" in client.said[-1]
    assert model.engine.door.inside == 0
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(("drain_s", "signals"), [(0.02, 1), (60.0, 2)])
def test_what_takes_too_long_is_cancelled_and_told(drain_s: float, signals: int) -> None:
    """When the time is up, or at a second signal."""
    model, client = opened(), Client(most=300, signals=signals)
    begin = time.monotonic()
    serve(model, client, drain_s)
    assert time.monotonic() - begin < 4
    last = client.body.split(b"\n\n")[-2]
    assert "was cancelled" in json.loads(last.removeprefix(b"data: "))["error"]["message"]
    assert model.engine.door.inside == 0


def test_when_the_engine_fails_clients_are_told_and_the_error_goes_on() -> None:
    client = Client(most=100, signals=0)
    with pytest.raises(RuntimeError, match="lost"):
        serve(opened(broken=6), client, drain_s=5)
    assert b"the request failed" in client.body


def test_an_address_that_is_taken() -> None:
    client = Client(most=5, signals=1)

    def out(line: str) -> None:
        port = int(line.rpartition(":")[2])

        def second() -> None:
            with pytest.raises(UserError, match="cannot listen on 127.0.0.1"):
                asyncio.run(live.Live(opened(), 1, print).serve("127.0.0.1", port, print))

        other = threading.Thread(target=second)
        other.start()
        other.join(10)
        client.out(line)

    live.serve(opened(), "127.0.0.1", 0, 5, out, client.said.append)
    client.join(10)


def test_a_scenarios_rules_are_those_that_it_is_simulated_with(tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(SCENARIO)
    ours = limits_of(rules_of(file))
    scenario = load_scenario(str(file)).scenario
    groups = build_groups(scenario, tmp_path)
    first = groups[0]
    plant = Plant(
        scenario, first.gpu, find_model(scenario.model), first.step_time, first.kv, None, groups
    )
    theirs = make_limits(plant, 8)
    for name in (
        "policy", "token_budget", "max_seqs", "shift", "retain", "prefix_cache", "cache_generated",
        "ttft_ns", "paid_ttft_ns", "tpot_ns", "e2e_ns", "priority", "queue_limit", "shed_late",
        "candidates", "chunk", "extra",
    ):  # fmt: skip
        assert getattr(ours, name) == getattr(theirs, name), name


def test_options_come_before_the_scenario(tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(SCENARIO)
    rules = rules_of(file, policy=None, max_seqs=30, prefix_cache=False)
    assert (rules.engine.policy, rules.engine.max_seqs) == ("ttft_aware", 30)
    assert limits_of(rules).retain == limits_of(rules).prefix_cache == 0


def check(run: Callable[[], object], word: str) -> None:
    with pytest.raises(UserError, match=word):
        run()


def test_what_cannot_be_served_is_said() -> None:
    check(lambda: rules_of(None, policy="ttft_aware"), "slo")
    check(lambda: rules_of(None, max_seqs=5000), "token_budget must be at least")
    check(
        lambda: curves_of(Rules(Rules().engine.model_copy(update={"shed": "late"})), None), "prof"
    )
    check(lambda: rules_of(Path("/no/such.yaml")), "such.yaml")
    assert curves_of(Rules(), "h100-80gb-kaiju-13b-tp1").rows_ns.size > 2048
