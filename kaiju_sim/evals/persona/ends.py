"""What the persona gate can do, and how that moves with each thing assumed of judge and people."""

from collections.abc import Mapping
from math import hypot
from typing import Any

from kaiju_sim.economics.ends import rows_of, widest_first
from kaiju_sim.evals.persona import power
from kaiju_sim.evals.persona.scale import LOWEST
from kaiju_sim.scenario.assumed import assumed_in, with_values
from kaiju_sim.scenario.parts.evals import PersonaGate

PREFIX = "evals.persona."
LEAST_APART = 0.2


def bad_score(gate: PersonaGate) -> float:
    """A candidate to be kept out: as far under the bar as the objective is above, 0.2 at least."""
    return max(LOWEST, gate.promote - max(LEAST_APART, gate.objective - gate.promote))


def figures_of(gate: PersonaGate) -> dict[str, float]:
    """The gate's chances and the difference that it can see.

    - `detectable`: smallest difference seen against the bar, points;
    - `promotes_bad`: chance to promote a candidate of `bad_score`;
    - `blocks_good`: chance to block one at the objective;
    - `sees_drop`: chance to see, from one evaluation to a later one, that the served model has
      fallen from the objective to `bad_score` (each has a calibration of its own, so that their
      errors are independent);
    - `promotes_assumed`: chance to promote the candidate as it is assumed.
    """
    bad, good, own = bad_score(gate), gate.objective, gate.quality.value
    of_bad, of_good, of_own = (power.error_at(quality, gate) for quality in (bad, good, own))
    return {
        "detectable": power.detectable(of_own),
        "promotes_bad": power.promoted(bad, of_bad, gate.promote),
        "blocks_good": 1.0 - power.promoted(good, of_good, gate.promote),
        "sees_drop": power.drop_seen(good - bad, hypot(of_good, of_bad)),
        "promotes_assumed": power.promoted(own, of_own, gate.promote),
    }


def ends(gate: PersonaGate) -> list[dict[str, Any]]:
    """The figures at both ends of each assumed value, widest swing of a bad promotion first."""
    found = dict(assumed_in(gate))

    def evaluate(values: Mapping[str, float]) -> dict[str, float]:
        return figures_of(with_values(gate, values))

    return widest_first(rows_of(PREFIX, found, evaluate), "promotes_bad")
