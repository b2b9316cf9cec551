"""What incidents cost, and which of the assumptions about users moves it: no run is needed.

    total = GPU money + affected users x share who pay x share who cancel x months lost x price

Affected users and GPU money are a run's (`incidents[].ledger` of its summary).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kaiju_sim.economics.ends import tornados
from kaiju_sim.scenario.assumed import Assumed, assumed_in
from kaiju_sim.scenario.schema import Scenario

PAYERS, PRICE = "users.subscribers_per_daily_user", "users.subscription_usd_per_month"


@dataclass(frozen=True)
class Struck:
    """An incident of a run: its place in the scenario, its name and what its ledger says."""

    number: int
    name: str
    gpu_usd: float
    affected_users: float

    def total_usd(self, scenario: Scenario, values: Mapping[str, float]) -> float:
        """GPU money and churn for these values, which the scenario's own statements overrule."""
        paid = scenario.traffic.paid_share or values[PAYERS]
        stated = scenario.economics.subscription
        price = values[PRICE] if stated is None else stated
        churn = f"incidents[{self.number}].churn"
        lost = values[f"{churn}.cancel_share"] * values[f"{churn}.months"]
        return self.gpu_usd + self.affected_users * paid * lost * price


def struck(scenario: Scenario, summary: Mapping[str, Any]) -> list[Struck]:
    """The incidents of a run; none where nothing went wrong."""
    enabled = [(i, one.name) for i, one in enumerate(scenario.incidents) if one.enabled]
    entries = summary.get("incidents") or []
    return [
        Struck(number, name, entry["ledger"]["gpu_usd"], entry["ledger"]["affected_users"])
        for (number, name), entry in zip(enabled, entries, strict=False)
    ]


def churn_assumptions(scenario: Scenario, found: Mapping[str, Assumed]) -> dict[str, Assumed]:
    """What is assumed of users who were hurt; *found*: all that the money of a run assumes."""
    own = {
        f"incidents[{number}].churn.{path}": item
        for number, incident in enumerate(scenario.incidents)
        for path, item in assumed_in(incident.churn)
        if incident.enabled
    }
    return {PAYERS: found[PAYERS], PRICE: found[PRICE]} | own


def incident_sheet(
    scenario: Scenario, summary: Mapping[str, Any], found: Mapping[str, Assumed]
) -> list[dict[str, Any]]:
    """Each incident's total as stated, and what moves it, the widest first."""
    rows = []
    for one in struck(scenario, summary):

        def evaluate(values: Mapping[str, float], one: Struck = one) -> dict[str, float | None]:
            return {"total_usd": one.total_usd(scenario, values)}

        figures = tornados(churn_assumptions(scenario, found), evaluate, ("total_usd",))
        rows.append({"name": one.name, **figures["total_usd"]})
    return rows
