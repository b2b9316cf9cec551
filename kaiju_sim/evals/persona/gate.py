"""The persona-consistency gate: the judge's mean score, corrected by people's, against the bar."""

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean, stdev
from typing import Any

from kaiju_sim.errors import UserError
from kaiju_sim.evals.persona import judge as simulated
from kaiju_sim.evals.persona import power
from kaiju_sim.evals.persona.ends import bad_score, ends, figures_of
from kaiju_sim.evals.persona.scale import HIGHEST, LOWEST
from kaiju_sim.evals.protocols import Conversation, Judge, Rated
from kaiju_sim.evals.verdict import Verdict
from kaiju_sim.scenario.parts.evals import PersonaGate

FEW_RATED = 20


def persona_gate(
    gate: PersonaGate,
    subject: str,
    judge: Judge,
    conversations: Sequence[Conversation],
    rated: Sequence[Rated],
    then: Judge | None = None,
) -> Verdict:
    """Judge the conversations, take the judge's bias off, compare with the bar.

    `then`: the judge as it was when the rated examples were judged (default: the same).
    """
    if len(conversations) < 2:
        raise UserError("the persona gate needs two conversations or more")
    scores = [checked(judge(c), c) for c in conversations]
    means = [fmean(turns) for turns in scores]
    bias, bias_error = calibrated(then or judge, rated)
    errors = power.Errors(stdev(means) / math.sqrt(len(means)), bias_error, power.drift_error(gate))
    score = fmean(means) - bias
    reasons = []
    if score < gate.promote:
        reasons.append(f"calibrated score {score:.2f}, under {gate.promote:g}")
    figures = {
        "score": score,
        "judge_score": fmean(means),
        "judge_bias": bias if rated else None,
        "interval": interval(score, errors.total),
        "errors": power.errors_as_json(errors),
        "conversations": len(scores),
        "turns": sum(len(turns) for turns in scores),
        "rated": len(rated),
        "intra_conversation_correlation": power.observed_correlation(scores),
        "detectable_against_bar": power.detectable(errors.total),
        "promote_at": gate.promote,
        "objective": gate.objective,
        "objective_met": score >= gate.objective,
        "plan": power.plan(gate),
        "chances": {"bad_score": bad_score(gate), **figures_of(gate)},
        "sensitivity": ends(gate),
    }
    rule = f"mean score, calibrated by people, of at least {gate.promote:g} (objective"
    rule += f" {gate.objective:g})"
    return Verdict("persona", subject, rule, tuple(reasons), figures, notes(gate, figures))


def checked(scores: Sequence[float], conversation: Conversation) -> list[float]:
    """A judge's scores, if they are what was asked for; else UserError."""
    found = [float(x) for x in scores]
    if len(found) != len(conversation.turns) or not found:
        raise UserError(
            f"the judge gave {len(found)} scores for the {len(conversation.turns)} turns of"
            f" conversation {conversation.id}"
        )
    wrong = [x for x in found if not LOWEST <= x <= HIGHEST]
    if wrong:
        raise UserError(
            f"the judge gave conversation {conversation.id} a score of {wrong[0]:g}: they go from"
            " 1 to 5"
        )
    return found


def calibrated(judge: Judge, rated: Sequence[Rated]) -> tuple[float, float]:
    """By how much the judge scores higher than people, and the standard error of that."""
    if not rated:
        return 0.0, 0.0
    apart = [fmean(checked(judge(r.conversation), r.conversation)) - r.human for r in rated]
    if len(apart) < 2:
        raise UserError("calibration needs two rated examples or more")
    return fmean(apart), stdev(apart) / math.sqrt(len(apart))


def interval(score: float, error: float) -> list[float]:
    """95 % interval of the score."""
    width = NormalDist().inv_cdf(0.975) * error
    return [score - width, score + width]


def notes(gate: PersonaGate, figures: dict[str, Any]) -> tuple[str, ...]:
    """What a reader should know besides the verdict."""
    found = []
    low, high = figures["interval"]
    if low < gate.promote <= high:
        found.append(f"undecided: the interval {low:.2f} to {high:.2f} straddles {gate.promote:g}")
    if not figures["rated"]:
        found.append("not calibrated: no examples that people rated; the judge's bias is unknown")
    elif figures["rated"] < FEW_RATED:
        found.append(f"only {figures['rated']} rated examples: the calibration is loose")
    errors = figures["errors"]
    if errors["calibration"] > 2 * errors["sampling"]:
        found.append(
            "the calibration's error is the larger one by far: more rated examples help, more"
            " conversations do not"
        )
    return tuple(found)


def simulated_gate(gate: PersonaGate, subject: str, seed: int) -> Verdict:
    """The gate on the simulated judge, half a calibration interval after a calibration."""
    now = simulated.SimulatedJudge(gate, seed, gate.calibration_months / 2)
    return persona_gate(
        gate,
        subject,
        now,
        simulated.made_up_conversations(gate),
        simulated.made_up_ratings(gate, seed),
        then=simulated.SimulatedJudge(gate, seed),
    )
