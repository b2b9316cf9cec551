"""What the two-set gate finds of the simulated classifier, at both ends of each assumed value."""

from collections.abc import Mapping
from math import prod
from typing import Any

from kaiju_sim.economics.ends import rows_of, widest_first
from kaiju_sim.evals.protocols import AGE_TIERS, AgeTier
from kaiju_sim.evals.safety.classifier import scores_of, true_rate
from kaiju_sim.evals.safety.counts import SETS, chance, count_needed
from kaiju_sim.scenario.assumed import assumed_in, with_values
from kaiju_sim.scenario.parts.evals import SafetySets, SetScores

PREFIX = "evals.safety"


def figures_of(gate: SafetySets, scores: SetScores) -> dict[str, float]:
    """Of one age tier: adversarial ones blocked, benign ones wrongly blocked, chance to pass."""
    rates = {adversarial: true_rate(scores, adversarial) for adversarial in SETS}
    limits = {True: scores.least_blocked, False: scores.most_refused}
    needed = {kind: count_needed(gate.examples, limits[kind], kind, gate) for kind in SETS}
    passing = (chance(needed[kind], gate.examples, rates[kind], kind) for kind in SETS)
    return {"blocked": rates[True], "refused": rates[False], "passes": prod(passing)}


def ends(gate: SafetySets) -> list[dict[str, Any]]:
    """The figures of each tier at both ends of what is assumed of it, widest swing first."""
    rows = [row for tier in AGE_TIERS for row in _tier_ends(gate, tier)]
    return widest_first(rows, "passes")


def _tier_ends(gate: SafetySets, tier: AgeTier) -> list[dict[str, Any]]:
    scores = scores_of(gate, tier)
    found = dict(assumed_in(scores))

    def evaluate(values: Mapping[str, float]) -> dict[str, float]:
        return figures_of(gate, with_values(scores, values))

    return rows_of(f"{PREFIX}.{tier}.", found, evaluate)
