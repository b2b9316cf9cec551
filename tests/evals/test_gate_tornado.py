"""What the gates' figures rest on: every assumed value moves them, and the way it should."""

from collections.abc import Iterable
from typing import Any

import pytest

from kaiju_sim.evals.persona import power
from kaiju_sim.evals.persona.ends import bad_score, ends, figures_of
from kaiju_sim.evals.persona.gate import persona_gate, simulated_gate
from kaiju_sim.evals.protocols import Conversation
from kaiju_sim.evals.safety import ends as safety_ends
from kaiju_sim.evals.safety.gate import simulated_gate as simulated_sets
from kaiju_sim.report.gates.tables import tables_of
from kaiju_sim.scenario.assumed import assumed, assumed_in
from kaiju_sim.scenario.parts.evals import Evals, PersonaGate, SafetySets


def swings(rows: Iterable[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """How far a figure moves from the low end to the high one, by assumption."""
    return {
        row["assumed"].removeprefix("evals."): {
            key.removesuffix("_at_low"): row[key.replace("_low", "_high")] - row[key]
            for key in row
            if key.endswith("_at_low")
        }
        for row in rows
    }


def test_everything_assumed_of_the_gates_has_a_row_and_moves_something() -> None:
    found = swings([*ends(PersonaGate()), *safety_ends.ends(SafetySets())])
    assert found.keys() == dict(assumed_in(Evals())).keys()
    assert all(any(figures.values()) for figures in found.values())


def test_a_worse_judge_promotes_more_bad_candidates_and_sees_fewer_falls() -> None:
    found = swings(ends(PersonaGate()))
    for name in ("judge_sd", "human_sd", "judge_drift", "conversation_sd"):
        row = found[f"persona.{name}"]
        assert row["promotes_bad"] > 0, name
        assert row["blocks_good"] > 0, name
        assert row["sees_drop"] < 0, name
        assert row["detectable"] >= 0, name
    assert found["persona.quality"]["promotes_assumed"] > 0.99
    assert found["persona.quality"]["promotes_bad"] == 0


def test_a_better_classifier_blocks_more_and_a_higher_threshold_less() -> None:
    found = swings(safety_ends.ends(SafetySets()))
    for tier in ("adult", "teen"):
        assert found[f"safety.{tier}.adversarial"]["blocked"] > 0.2
        assert found[f"safety.{tier}.adversarial"]["refused"] == 0
        assert found[f"safety.{tier}.benign_intense"]["refused"] > 0
        assert found[f"safety.{tier}.threshold"]["blocked"] < 0
        assert found[f"safety.{tier}.threshold"]["refused"] < 0


def test_the_figures_move_with_ranges_sizes_and_bars() -> None:
    wide = PersonaGate(judge_drift=assumed(0.05, 0.0, 0.4, "test", "U"))
    swing = [swings(ends(g))["persona.judge_drift"]["promotes_bad"] for g in (wide, PersonaGate())]
    assert swing[0] > 2 * swing[1] > 0
    assert bad_score(PersonaGate()) == pytest.approx(3.8)
    assert bad_score(PersonaGate(objective=4.5)) == pytest.approx(3.5)
    assert bad_score(PersonaGate(objective=3.9)) == pytest.approx(3.8)
    few, many = (figures_of(PersonaGate(rated=n)) for n in (10, 500))
    assert few["promotes_bad"] > 5 * many["promotes_bad"]
    assert few["sees_drop"] < many["sees_drop"]


def test_the_chance_to_see_a_fall_is_what_simulated_gates_see() -> None:
    """Scores before and after, each with a calibration of its own; one-sided at 95 %."""
    gate = PersonaGate(conversations=40, rated=20)

    def score(quality: float, seed: int) -> float:
        value = assumed(quality, 1, 5, "test", "U")
        moved = gate.model_copy(update={"quality": value})
        return float(simulated_gate(moved, "", seed).figures["score"])

    error = sum(power.error_at(q, gate) ** 2 for q in (4.2, 3.8)) ** 0.5
    seen = [score(4.2, i) - score(3.8, i + 1000) > 1.6448536 * error for i in range(40)]
    expected = figures_of(gate)["sees_drop"]
    share = sum(seen) / len(seen)
    assert share == pytest.approx(expected, abs=4 * (expected * (1 - expected) / 40) ** 0.5)
    assert power.drop_seen(0.0, 0.1) == pytest.approx(0.05)
    assert power.drop_seen(0.1, 0.0) == 1.0


def test_the_tables_show_them_and_a_judge_of_ones_own_keeps_the_plan() -> None:
    titles = [words.title for words in tables_of(simulated_gate(PersonaGate(), "", 1))]
    assert titles[-2:] == ["Chances", "What that rests on"]
    sets = list(tables_of(simulated_sets(SafetySets(), "", 1)))
    assert sets[-1].title == "What that rests on"
    assert len(sets[-1].rows) == 6
    talks = [Conversation(i, ("a", "b")) for i in range(3)]
    own = persona_gate(PersonaGate(), "", lambda c: [4.0] * len(c.turns), talks, [])
    assert own.figures["sensitivity"] == ends(PersonaGate())
