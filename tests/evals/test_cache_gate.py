"""The cache-hit gate: it is the simulator's cache, catches what it must, lets pass the rest."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from evals_small import plant, small

from kaiju_sim.engine.layout import Rec
from kaiju_sim.errors import UserError
from kaiju_sim.evals.cache import paths
from kaiju_sim.evals.cache.gate import cache_gate
from kaiju_sim.evals.cache.replay import Replay, Tally, tiers_of
from kaiju_sim.evals.change import Change, PromptPart, current_format, load_change, shipped
from kaiju_sim.evals.verdict import Verdict
from kaiju_sim.fleet.records import Cell
from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.simulation import simulate


class OwnPaths(Replay):
    """A replay whose paths are those that the simulator's prompts write, left as they are."""

    def _laid_out(self, cell: Cell) -> Cell:
        return cell

    def _path(self, q: int, session: Rec, prompt: int, now_s: float) -> list[paths.Mark]:
        return [paths.Mark("all", 0)]


def total(tallies: Sequence[Tally]) -> tuple[int, int, int]:
    return (
        sum(t.prompt for t in tallies),
        sum(t.hit for t in tallies),
        sum(t.first_hit for t in tallies),
    )


@pytest.mark.parametrize("swipes", [0.0, 0.3])
def test_the_current_format_hits_what_the_simulators_own_paths_hit(swipes: float) -> None:
    s = small()
    sessions = s.traffic.sessions.model_copy(update={"swipe_rate": swipes})
    s = s.model_copy(update={"traffic": s.traffic.model_copy(update={"sessions": sessions})})
    fmt = current_format(s)
    assert total(Replay(plant(s), fmt).run()) == total(OwnPaths(plant(s), fmt).run())


def test_the_replay_hits_about_what_the_simulation_does() -> None:
    s = small(requests=1000, router={"policy": "sticky", "bound": 100.0})
    tallies = Replay(plant(s), current_format(s)).run()
    prompt, hit, _ = total(tallies)
    assert hit / prompt == pytest.approx(simulate(s).summary["prefix_hit_rate"], abs=0.02)


def gate(name: str, s: Scenario | None = None) -> Verdict:
    s = s or small()
    change = load_change(name)
    return cache_gate(plant(s), plant(s), change)


def test_what_is_served_now_passes() -> None:
    s = small()
    assert cache_gate(plant(s), plant(s), None).passed


@pytest.mark.parametrize("name", ["timestamp-seconds", "timestamp-after-persona"])
def test_a_timestamp_to_the_second_is_caught(name: str) -> None:
    verdict = gate(name)
    assert not verdict.passed
    tail = verdict.figures["tiers"][2]
    assert tail["hit_rate"] < 0.5 < 0.6 < tail["hit_rate_now"]
    assert "'timestamp'" in tail["broken_by"]


def test_a_user_name_in_the_definition_is_caught_by_first_messages_only() -> None:
    verdict = gate("user-name-in-definition")
    assert not verdict.passed
    for tier in verdict.figures["tiers"]:
        assert tier["hit_rate"] > 0.5
        assert tier["first_hit_rate"] < 0.5 * tier["first_hit_rate_now"]
        assert "'user name'" in tier["broken_by"]
    assert all("first messages" in reason for reason in verdict.reasons)


@pytest.mark.parametrize("name", ["style-note", "user-name-in-persona"])
def test_harmless_changes_pass(name: str) -> None:
    verdict = gate(name)
    assert verdict.passed, verdict.reasons
    for tier in verdict.figures["tiers"]:
        assert tier["hit_rate"] == pytest.approx(tier["hit_rate_now"], abs=0.03)


def test_a_checkpoint_with_too_large_a_cache_is_caught() -> None:
    s = small()
    kv = s.kv.model_copy(update={"global_blocks": 1500, "local_windows": 120})
    verdict = cache_gate(plant(s), plant(s.model_copy(update={"kv": kv})), None or Change(name="x"))
    assert not verdict.passed
    assert any("not kept" in reason or "no memory" in reason for reason in verdict.reasons)


def test_each_tier_has_its_requests_and_the_tiers_are_by_popularity() -> None:
    s = small(requests=100)
    tallies = Replay(plant(s), current_format(s)).run()
    assert [t.requests for t in tallies] == [100, 100, 100]
    tier, share = tiers_of(s)
    assert (np.diff(tier) >= 0).all()
    for i, stated in ((0, 0.3), (2, 0.3)):
        assert share[tier == i].sum() == pytest.approx(stated, abs=float(share.max()))


def test_the_same_seed_gives_the_same_verdict() -> None:
    assert gate("style-note").as_json() == gate("style-note").as_json()


def test_a_date_renewed_daily_costs_nothing_and_one_for_each_message_everything() -> None:
    s = small(requests=100)
    rest = current_format(s)[1:]
    own = (PromptPart(part="request id", tokens=16, per="message"), *rest)
    prompt, hit, _ = total(Replay(plant(s), own).run())
    assert hit == 0
    assert prompt > 0


def test_every_shipped_change_loads() -> None:
    assert len(shipped()) >= 6
    for name in shipped():
        assert load_change(name).name == name


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name: x\nprompt: [{part: a, tokens: 3}]\n", "history must be its last part"),
        ("name: x\nprompts: []\n", "prompts"),
        ("- 1\n", "mapping"),
        ("name: x\nprompt: [{part: a, every: 1}, {part: h, source: history}]\n", "every"),
        (
            "name: x\nprompt: [{part: d, source: definition, share: 0.5},"
            " {part: h, source: history}]\n",
            "add up to 1",
        ),
    ],
)
def test_mistakes_in_a_change_are_told(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "change.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=told):
        load_change(str(file))


def test_an_unknown_change_is_told_with_the_shipped_ones() -> None:
    with pytest.raises(UserError, match="style-note"):
        load_change("style-nota")
