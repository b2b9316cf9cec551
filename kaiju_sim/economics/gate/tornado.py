"""What the safety gate's figures rest on, in closed form: every assumed value at both ends."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kaiju_sim.economics.cost.gpus import number
from kaiju_sim.economics.ends import tornados
from kaiju_sim.economics.gate.queue import stay_s
from kaiju_sim.economics.gate.rates import rates
from kaiju_sim.economics.plan.planner import HOURS_PER_MONTH
from kaiju_sim.economics.values import SERVER_PRICE
from kaiju_sim.scenario.assumed import Assumed, assumed_in, with_values
from kaiju_sim.scenario.schema import Scenario

Figures = dict[str, float | None]
GATE_FIGURES = (
    *("added_ttft_s", "utilisation", "servers_usd_per_month"),
    *("blocked", "wrongly_refused", "detected", "left"),
)


@dataclass(frozen=True)
class GateCase:
    """A gate and the traffic that it sees."""

    scenario: Scenario
    messages_per_s: float
    """Messages sent to the gate of one cell, those in other words included."""

    @property
    def meant_per_s(self) -> float:
        """Messages as they are meant, before anybody has to say it in other words."""
        return self.messages_per_s / rates(self.scenario.safety, self._candidates).sent

    @property
    def _candidates(self) -> int:
        return self.scenario.engine.candidates

    def figures(self, values: Mapping[str, float]) -> Figures:
        """`GATE_FIGURES` for these values: paths below `safety`, and the price of a server."""
        own = {path: value for path, value in values.items() if path != SERVER_PRICE}
        safety = with_values(self.scenario.safety, own)
        found = rates(safety, self._candidates)
        rate = self.meant_per_s * found.sent
        return {
            **self._pool(values, rate),
            "blocked": found.blocked,
            "wrongly_refused": found.wrongly,
            "detected": found.detected,
            "left": found.left,
        }

    def _pool(self, values: Mapping[str, float], rate: float) -> Figures:
        """Time at the gate, its load, and its bill if it is kept as busy as it is now."""
        safety = self.scenario.safety
        if safety.pre == "none":
            return {"added_ttft_s": None, "utilisation": None, "servers_usd_per_month": None}
        pool = with_values(safety.pool, _below(values, "pool."))
        mean = pool.service_mean_s.value
        now = self.messages_per_s * safety.pool.service_mean_s.value
        servers = pool.servers * rate * mean / now if now else float(pool.servers)
        price = values[SERVER_PRICE] * HOURS_PER_MONTH * self.scenario.fleet.cells
        return {
            "added_ttft_s": stay_s(pool, rate) if safety.pre == "before" else 0.0,
            "utilisation": rate * mean / pool.servers,
            "servers_usd_per_month": servers * price,
        }


def _below(values: Mapping[str, float], prefix: str) -> dict[str, float]:
    return {
        path.removeprefix(prefix): value
        for path, value in values.items()
        if path.startswith(prefix)
    }


def gate_assumptions(scenario: Scenario) -> dict[str, Assumed]:
    """Everything assumed of the gate that acts, by path below `safety`, and a server's price."""
    safety = scenario.safety
    found = {path: item for path, item in assumed_in(safety) if safety.acts(path)}
    price = scenario.economics.bill.safety_server_usd_per_hour
    return found | ({SERVER_PRICE: price} if safety.pre != "none" else {})


def gate_sheet(scenario: Scenario, summary: Mapping[str, Any]) -> dict[str, Any] | None:
    """The gate's figures as stated and at both ends of all that it assumes; None without a gate."""
    if not scenario.safety.on:
        return None
    rate = number(summary, "realised.messages_per_s") / scenario.fleet.cells
    case, found = GateCase(scenario, rate), gate_assumptions(scenario)
    return tornados(found, case.figures, GATE_FIGURES)
