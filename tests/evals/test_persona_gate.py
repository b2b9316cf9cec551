"""The persona gate: its formulas against simulated gates, and a judge of one's own."""

from statistics import fmean, stdev

import pytest

from kaiju_sim.errors import UserError
from kaiju_sim.evals.persona import power
from kaiju_sim.evals.persona.gate import persona_gate, simulated_gate
from kaiju_sim.evals.persona.scale import cut_moments, latent_mean, spreads_of
from kaiju_sim.evals.protocols import Conversation, Rated
from kaiju_sim.scenario.assumed import assumed
from kaiju_sim.scenario.parts.evals import PersonaGate


def sized(quality: float, **changes: object) -> PersonaGate:
    value = assumed(quality, 1, 5, "test", "U")
    return PersonaGate().model_copy(update={"quality": value, **changes})


def test_the_stated_quality_is_the_mean_of_peoples_scores() -> None:
    gate = sized(4.6)
    sd = (gate.conversation_sd.value**2 + gate.turn_sd.value**2 + gate.human_sd.value**2) ** 0.5
    assert cut_moments(latent_mean(gate), sd)[0] == pytest.approx(4.6, abs=1e-9)
    assert latent_mean(gate) > 4.6


def test_simulated_gates_have_the_planned_errors_and_power() -> None:
    gate = sized(4.1, conversations=60)
    found = [simulated_gate(gate, "", seed) for seed in range(120)]
    scores = [v.figures["score"] for v in found]
    error = power.planned_errors(gate).total
    assert fmean(scores) == pytest.approx(4.1, abs=4 * error / 120**0.5)
    assert stdev(scores) == pytest.approx(error, rel=4 / (2 * 120) ** 0.5)
    share = fmean(v.passed for v in found)
    expected = power.chance(4.1, gate)
    assert share == pytest.approx(expected, abs=4 * (expected * (1 - expected) / 120) ** 0.5)
    r = fmean(v.figures["intra_conversation_correlation"] for v in found)
    assert r == pytest.approx(spreads_of(gate).correlation, abs=0.02)


def test_the_detectable_difference_is_seen_four_times_in_five() -> None:
    gate = sized(4.0, conversations=40)
    for _ in range(20):  # a better candidate has less spread, so its own error counts
        error = power.planned_errors(gate).total
        gate = sized(4.0 + power.detectable(error), conversations=40)
    threshold = gate.promote + 1.6448536 * error
    seen = [simulated_gate(gate, "", seed).figures["score"] > threshold for seed in range(100)]
    assert fmean(seen) == pytest.approx(0.8, abs=4 * (0.16 / 100) ** 0.5)


def test_turns_of_a_conversation_are_worth_less_than_their_number() -> None:
    assert power.effective_turns(200, 8, 0.0) == 1600
    assert power.effective_turns(200, 8, 1.0) == 200
    plan = power.plan(PersonaGate())
    assert 200 < plan["effective_turns"] < 1600


def test_more_ratings_by_people_help_more_than_more_conversations() -> None:
    base = power.planned_errors(PersonaGate()).total
    longer = power.planned_errors(PersonaGate(conversations=800)).total
    rated = power.planned_errors(PersonaGate(rated=200)).total
    assert rated < longer < base


def test_a_requantised_candidate_is_blocked_and_the_objective_passes() -> None:
    assert simulated_gate(sized(4.2), "", 1).passed
    verdict = simulated_gate(sized(3.6), "", 1)
    assert not verdict.passed
    assert "under 4" in verdict.reasons[0]


def words(n: int, text: str) -> list[Conversation]:
    return [Conversation(i, (text, "...")) for i in range(n)]


def test_a_judge_of_ones_own_is_calibrated_by_people() -> None:
    def judge(conversation: Conversation) -> list[float]:
        return [4.8 if "Arr" in turn else 4.0 for turn in conversation.turns]

    rated = [Rated(c, 4.0 + 0.1 * (c.id % 2)) for c in words(30, "Arr")]
    verdict = persona_gate(PersonaGate(), "pirate", judge, words(50, "Arr"), rated)
    assert verdict.figures["judge_score"] == pytest.approx(4.4)
    assert verdict.figures["judge_bias"] == pytest.approx(0.35)
    assert verdict.figures["score"] == pytest.approx(4.05)
    assert verdict.passed
    strict = [Rated(r.conversation, r.human - 0.2) for r in rated]
    assert not persona_gate(PersonaGate(), "pirate", judge, words(50, "Arr"), strict).passed


def test_a_judge_that_is_not_calibrated_is_told() -> None:
    verdict = persona_gate(PersonaGate(), "x", lambda c: [4.5] * 2, words(50, "a"), [])
    assert any("not calibrated" in note for note in verdict.notes)


@pytest.mark.parametrize("answer", [[4.0], [4.0, 7.0], [float("nan"), 4.0]])
def test_scores_that_are_none_are_told(answer: list[float]) -> None:
    with pytest.raises(UserError, match="judge gave"):
        persona_gate(PersonaGate(), "x", lambda c: answer, words(5, "a"), [])
