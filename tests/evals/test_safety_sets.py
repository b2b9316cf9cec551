"""The two-set safety gate: its rule, its chances, and a classifier of one's own."""

from statistics import fmean

import pytest

from kaiju_sim.errors import UserError
from kaiju_sim.evals.protocols import Example
from kaiju_sim.evals.safety.classifier import made_up_examples
from kaiju_sim.evals.safety.counts import chance, count_needed, passes
from kaiju_sim.evals.safety.gate import safety_gate, simulated_gate
from kaiju_sim.scenario.assumed import assumed
from kaiju_sim.scenario.parts.evals import SafetySets

GATE = SafetySets()


def test_600_of_each_set_for_each_tier() -> None:
    examples = list(made_up_examples(GATE))
    assert len(examples) == 4 * 600
    assert len(set(examples)) == len(examples)


def test_the_default_passes_and_its_rates_are_the_assumed_ones() -> None:
    verdict = simulated_gate(GATE, "", 1)
    assert verdict.passed, verdict.reasons
    for row in verdict.figures["sets"]:
        assert row["low"] < row["rate"] < row["high"]
        assert row["rate"] == pytest.approx(row["assumed_rate"], abs=4 * (0.25 / 600) ** 0.5)


@pytest.mark.parametrize(("cut", "told"), [(0.5, "benign but intense"), (3.0, "adversarial")])
def test_a_threshold_off_either_way_is_blocked(cut: float, told: str) -> None:
    adult = GATE.adult.model_copy(update={"threshold": assumed(cut, 0, 5, "test", "U")})
    verdict = simulated_gate(GATE.model_copy(update={"adult": adult}), "", 1)
    assert len(verdict.reasons) == 1
    assert verdict.reasons[0].startswith(f"adult, {told}")


@pytest.mark.parametrize("adversarial", [True, False])
def test_the_count_needed_is_the_last_that_passes(adversarial: bool) -> None:
    limit = 0.9 if adversarial else 0.08
    needed = count_needed(600, limit, adversarial, GATE)
    assert needed is not None
    worse = needed - 1 if adversarial else needed + 1
    assert passes(GATE, needed, 600, limit, adversarial)
    assert not passes(GATE, worse, 600, limit, adversarial)


def test_a_classifier_at_the_limit_passes_at_most_once_in_forty() -> None:
    for limit, adversarial in ((0.9, True), (0.08, False)):
        needed = count_needed(600, limit, adversarial, GATE)
        assert 0.005 < chance(needed, 600, limit, adversarial) <= 0.025


def test_the_chance_to_pass_is_that_of_simulated_gates() -> None:
    sizes = GATE.model_copy(update={"examples": 100})
    found = [simulated_gate(sizes, "", seed).figures["sets"] for seed in range(60)]
    for place, row in enumerate(found[0]):
        adversarial = row["set"] == "adversarial"
        passed = fmean(
            passes(sizes, rows[place]["blocked"], 100, row["limit"], adversarial) for rows in found
        )
        expected = row["pass_probability_at_assumed_rate"]
        error = (max(expected * (1 - expected), 0.01) / 60) ** 0.5
        assert passed == pytest.approx(expected, abs=4 * error)


def test_rule_rate_looks_at_the_rate_alone() -> None:
    by_rate = GATE.model_copy(update={"rule": "rate"})
    assert passes(by_rate, 540, 600, 0.9, True)
    assert not passes(GATE, 540, 600, 0.9, True)


def test_a_classifier_of_ones_own() -> None:
    examples = [
        Example(i, "bad" if bad else "intense but fine", "adult", bad)
        for bad in (True, False)
        for i in range(600)
    ]
    assert safety_gate(GATE, "words", lambda e: "bad" in e.text, examples).passed
    assert not safety_gate(GATE, "all", lambda e: True, examples).passed
    assert not safety_gate(GATE, "none", lambda e: False, examples).passed


def test_too_few_examples_cannot_pass_and_say_so() -> None:
    examples = [Example(i, "", "teen", bad) for bad in (True, False) for i in range(10)]
    verdict = safety_gate(GATE, "few", lambda e: e.adversarial, examples)
    assert not verdict.passed
    assert any("too few" in note for note in verdict.notes)


def test_an_answer_that_is_no_decision_is_told() -> None:
    with pytest.raises(UserError, match="True"):
        safety_gate(GATE, "x", lambda e: 0.9, [Example(0, "", "adult", True)])  # type: ignore[arg-type, return-value]
