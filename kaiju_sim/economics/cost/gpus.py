"""The GPUs that a run paid for, by kind and price.

A mixed fleet whose size changes keeps the mix of its start here; what it was billed in all is exact
(`cost.usd_per_hour`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kaiju_sim.catalog.gpus import Gpu, find_gpu
from kaiju_sim.scenario.parts.fleet import Group
from kaiju_sim.scenario.schema import Scenario

ON_DEMAND = "on demand"
CLOSE = 1e-9


@dataclass(frozen=True)
class GpuKind:
    """GPUs of one kind and price."""

    gpu: str
    """Catalog name."""
    gpus: float
    """Paid for, mean."""
    usd_per_gpu_hour: float
    """The scenario's price."""
    on_demand_usd_per_gpu_hour: float
    """The catalog's price on demand."""
    source: str
    """Where the scenario's price comes from."""


def kinds_of(scenario: Scenario, summary: Mapping[str, Any]) -> list[GpuKind]:
    """The kinds of the fleet, the groups of the scenario."""
    groups = scenario.fleet.groups or (Group(replicas=scenario.fleet.replicas),)
    counts = [g.replicas * (g.tensor_parallel or scenario.fleet.tensor_parallel) for g in groups]
    scale = mean_gpus(summary) / sum(counts)
    return [
        _kind(scenario, group, count * scale) for group, count in zip(groups, counts, strict=True)
    ]


def _kind(scenario: Scenario, group: Group, gpus: float) -> GpuKind:
    gpu = find_gpu(group.gpu or scenario.gpu)
    price = scenario.economics.gpu_price if group.gpu_price is None else group.gpu_price
    if price != "catalog":
        return GpuKind(gpu.name, gpus, price, on_demand_usd(gpu), "stated by the scenario")
    first = gpu.price
    source = f"{first.terms}, {first.date:%Y-%m}: {first.source} ({first.grade})"
    return GpuKind(gpu.name, gpus, first.usd_per_hour, on_demand_usd(gpu), source)


def on_demand_usd(gpu: Gpu) -> float:
    """The catalog's price on demand of a GPU; where it has none, its first price."""
    found = [p.usd_per_hour for p in gpu.prices if p.terms.startswith(ON_DEMAND)]
    return found[0] if found else gpu.price.usd_per_hour


def prices_per_hour(
    scenario: Scenario, summary: Mapping[str, Any], kinds: list[GpuKind]
) -> tuple[float, float]:
    """All GPUs for an hour: at the scenario's prices, and on demand.

    From the scenario, so that a run may be priced anew; but of a mixed fleet that has changed its
    size, what it was billed.
    """
    stated = sum(kind.gpus * kind.usd_per_gpu_hour for kind in kinds)
    demanded = sum(kind.gpus * kind.on_demand_usd_per_gpu_hour for kind in kinds)
    if len(kinds) == 1 or not has_changed(summary):
        return stated, demanded
    billed = number(summary, "cost.usd_per_hour")
    return billed, demanded * (billed / stated if stated else 1.0)


def has_changed(summary: Mapping[str, Any]) -> bool:
    """Whether the fleet was of another size than at the start for some of the time."""
    replicas = number(summary, "fleet.replicas")
    mean = number(summary, "fleet.replicas_mean") or replicas
    return abs(mean - replicas) > CLOSE * replicas


def mean_gpus(summary: Mapping[str, Any]) -> float:
    """GPUs paid for on average: those at the start, in proportion to the replicas since."""
    replicas = number(summary, "fleet.replicas")
    mean = number(summary, "fleet.replicas_mean") or replicas
    return number(summary, "fleet.gpus") * (mean / replicas if replicas else 0.0)


def number(summary: Mapping[str, Any], key: str) -> float:
    """A figure of the summary, 0 if there is none."""
    return float(summary.get(key) or 0.0)
