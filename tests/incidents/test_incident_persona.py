"""Persona scores of a running fleet: the panel's errors, and which answers slip."""

from statistics import NormalDist, fmean, stdev

import numpy as np
import pytest
from incidents_runs import alarm, incident, points, tiny

from kaiju_sim.evals.persona.power import planned_errors
from kaiju_sim.fleet.records import LOG
from kaiju_sim.incidents.persona import lower, normal, slips
from kaiju_sim.scenario.parts.evals import PersonaGate
from kaiju_sim.simulation import simulate


def test_draws_are_normal_and_a_function_of_their_key() -> None:
    who = np.arange(20_000)
    once, again = (normal(1, 72, who, who % 7) for _ in range(2))
    assert (once == again).all()
    assert abs(once.mean()) < 4 / 20_000**0.5
    assert once.std() == pytest.approx(1.0, abs=4 / 40_000**0.5)
    assert abs(np.corrcoef(once, normal(1, 73, who, who % 7))[0, 1]) < 4 / 20_000**0.5


def test_slips_are_those_that_the_other_checkpoint_would_not_make() -> None:
    """As many as the two normal laws say; a dialogue's turns are alike."""
    gate = PersonaGate()
    found = slips(gate, 0.6, 3.0, 1)
    log = np.zeros(80_000, LOG)
    log["session"], log["turn"] = np.arange(80_000) // 4, np.arange(80_000) % 4
    wrong = found.among(log)
    sd = np.hypot(found.own_sd, found.turn_sd)
    laws = (NormalDist(mean, float(sd)).cdf(3.0) for mean in (found.after, found.before))
    after, before = laws
    assert wrong.mean() == pytest.approx(after - before, abs=0.006)
    of_dialogue = wrong.reshape(-1, 4).sum(axis=1)
    assert of_dialogue.var() > 1.1 * 4 * wrong.mean() * (1 - wrong.mean())
    assert not slips(gate, 0.0, 3.0, 1).among(log).any()


def test_a_lower_score_stays_on_the_scale() -> None:
    assert lower(PersonaGate(), 0.6).quality.value == pytest.approx(3.6)
    assert lower(PersonaGate(), 9.0).quality.value == 1.0


def scores(**fault: object) -> list[float]:
    """What a panel saw at its worst, of fleets with other seeds."""
    rule = alarm(signal="persona_score", above=None, below=1.0, window=12.0)
    struck = incident("persona_drift", detection=rule, fault={"share": 1.0, **fault})
    found = []
    for seed in range(12):
        s = tiny(struck, seed=seed, run={"horizon": 20.0, "warm_up": 1.0, "drain": 0.1})
        found.append(simulate(s).summary["incidents"][0]["signal_worst"])
    return found


def test_a_panel_errs_as_the_gate_does() -> None:
    """Its mean is the truth, and its spread is sampling, calibration and the judge's drift.

    At its worst of several looks, it is a little lower.
    """
    error = planned_errors(lower(PersonaGate(), 0.6)).total
    found = scores(drop=points(0.6))
    assert fmean(found) == pytest.approx(3.6 - 0.02, abs=4 * error / 12**0.5)
    assert 0.5 * error < stdev(found) < 1.7 * error


def test_half_of_the_replicas_lower_the_score_by_half() -> None:
    whole, half = (fmean(scores(drop=points(0.8), share=x)) for x in (1.0, 0.5))
    assert half - whole == pytest.approx(0.4, abs=0.1)
