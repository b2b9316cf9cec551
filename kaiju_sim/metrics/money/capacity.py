"""What the whole fleet could do at most, from its step times."""

from typing import TYPE_CHECKING

from kaiju_sim.economics.capacity import Capacity, MeanMessage, capacity_of
from kaiju_sim.metrics.figures.pool import Pool, Summary
from kaiju_sim.metrics.figures.provision import Provision

if TYPE_CHECKING:
    from kaiju_sim.fleet.setup.build import Plant


def capacity(plant: "Plant", pool: Pool, provision: Provision) -> Summary:
    """Prefill alone and decode alone, all replicas paid for; the batch is a mean over them."""
    scenario, model = plant.scenario, plant.model
    message = mean_message(pool, scenario.engine.candidates)
    found = [
        capacity_of(scenario, model, group.step_time.curves, group.kv, message)
        for group in plant.groups
    ]
    replicas = [ns / provision.window_ns for ns in provision.replica_ns]
    return {
        "capacity.prefill_tokens_per_s": total(found, replicas, "prefill_tokens_per_s"),
        "capacity.decode_tokens_per_s": total(found, replicas, "decode_tokens_per_s"),
        "capacity.batch": total(found, replicas, "batch") / sum(replicas),
    }


def total(found: list[Capacity], replicas: list[float], name: str) -> float:
    """A figure of all replicas together."""
    return float(
        sum(count * getattr(one, name) for count, one in zip(replicas, found, strict=True))
    )


def mean_message(pool: Pool, candidates: int) -> MeanMessage:
    """The mean message of the window; of its candidates, one."""
    served = max(1, pool.during("done"))
    prompt, hit = pool.during("prompt"), pool.during("hit")
    return MeanMessage(
        uncached=max(0, prompt - hit) / served,
        cached=hit / served,
        output=pool.during("generated") / served / candidates,
    )
