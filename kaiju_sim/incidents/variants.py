"""What is run besides a scenario with incidents, to tell what each of them costs.

The same seeds, so the same users (common random numbers): once without each incident, and once for
each further detection delay that is to be priced.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from kaiju_sim.scenario.parts.incidents import Incident
from kaiju_sim.scenario.schema import Scenario

WITHOUT, LATE = "without", "late"


@dataclass(frozen=True)
class Variant:
    """One further run: `without` incident `number`, or with it detected `late_s` later."""

    what: str
    number: int
    late_s: float
    scenario: Scenario


def struck(scenario: Scenario) -> bool:
    """Whether anything goes wrong in this scenario."""
    return any(incident.enabled for incident in scenario.incidents)


def changed(scenario: Scenario, number: int, incident: Incident) -> Scenario:
    """The scenario with another incident in this place."""
    items = list(scenario.incidents)
    items[number] = incident
    return scenario.model_copy(update={"incidents": tuple(items)})


def variants(scenario: Scenario) -> Iterator[Variant]:
    """The runs that the ledgers need, in order."""
    for number, incident in enumerate(scenario.incidents):
        if not incident.enabled:
            continue
        off = incident.model_copy(update={"enabled": False})
        yield Variant(WITHOUT, number, 0.0, changed(scenario, number, off))
        for late_s in incident.delays:
            rule = incident.detection.model_copy(update={"late": late_s})
            late = incident.model_copy(update={"detection": rule})
            yield Variant(LATE, number, late_s, changed(scenario, number, late))


def plants_of(plant: Any) -> list[Any]:
    """The plant, and those of the variants of its scenario."""
    if not struck(plant.scenario):
        return [plant]
    more = [replace(plant, scenario=v.scenario) for v in variants(plant.scenario)]
    return [plant, *more]
