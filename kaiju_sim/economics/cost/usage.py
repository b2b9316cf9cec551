"""What a run used, as far as it costs money: read off its summary and its scenario."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kaiju_sim.catalog.gpus import find_gpu
from kaiju_sim.catalog.models import find_model
from kaiju_sim.economics.cost.gpus import kinds_of, mean_gpus, number, prices_per_hour
from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.workload.laws import mean_of

GIB = 2.0**30


@dataclass(frozen=True)
class Usage:
    """Rates in the measured time, and what is provisioned."""

    gpus: float
    """GPUs paid for, mean."""
    stated_usd_per_hour: float
    """All GPUs at the scenario's prices."""
    on_demand_usd_per_hour: float
    """The same GPUs at the catalog's prices on demand."""
    replicas: float
    """Replicas paid for, mean."""
    host_gib_per_replica: float
    """Host memory for KV."""
    messages_per_s: float
    """Completed."""
    uncached_per_s: float
    """Prompt tokens that were computed."""
    cached_per_s: float
    """Prompt tokens found in caches."""
    output_per_s: float
    """Tokens delivered."""
    classified_per_s: float
    """Tokens that classifiers read who are paid by the token."""
    gate_servers: int
    """CPU servers of the safety gate."""
    live_sessions: float | None
    """Dialogues alive at once; none outside closed loops."""
    input_share: float
    """Share of busy time that falls to prompt rows."""
    training_flops_per_token: float
    """6 x parameters."""
    training_flops_per_s: float
    """A GPU's bf16 peak."""
    training_usd_per_hour: float
    """Price of one GPU that trains."""


def usage_of(scenario: Scenario, summary: Mapping[str, Any]) -> Usage:
    """The usage of a run; figures that the summary lacks count as 0."""
    prompt = number(summary, "throughput.prompt_tokens_per_s")
    cached = cached_tokens_per_s(summary, prompt)
    messages = number(summary, "throughput.messages_per_s")
    gpu = find_gpu(scenario.gpu)
    gpus = mean_gpus(summary)
    stated, on_demand = prices_per_hour(scenario, summary, kinds_of(scenario, summary))
    return Usage(
        gpus=gpus,
        stated_usd_per_hour=stated,
        on_demand_usd_per_hour=on_demand,
        replicas=number(summary, "fleet.replicas_mean") or number(summary, "fleet.replicas"),
        host_gib_per_replica=scenario.kv.host_memory / GIB,
        messages_per_s=messages,
        uncached_per_s=max(0.0, prompt - cached),
        cached_per_s=cached,
        output_per_s=number(summary, "throughput.output_tokens_per_s"),
        classified_per_s=classified_tokens(scenario, summary, prompt - cached),
        gate_servers=gate_servers(scenario),
        live_sessions=summary.get("realised.live_sessions"),
        input_share=number(summary, "cost.input_share"),
        training_flops_per_token=6.0 * find_model(scenario.model).params,
        training_flops_per_s=gpu.bf16_ops_per_s,
        training_usd_per_hour=stated / gpus if gpus else gpu.price.usd_per_hour,
    )


def cached_tokens_per_s(summary: Mapping[str, Any], prompt_per_s: float) -> float:
    """Prompt tokens found in caches; of an older run, by its hit rate."""
    found = summary.get("throughput.cached_tokens_per_s")
    return prompt_per_s * number(summary, "prefix_hit_rate") if found is None else float(found)


def gate_servers(scenario: Scenario) -> int:
    """CPU servers that read messages before the model, in all cells."""
    pool = scenario.safety.pool
    return 0 if scenario.safety.pre == "none" else pool.servers * scenario.fleet.cells


def classified_tokens(
    scenario: Scenario, summary: Mapping[str, Any], uncached_per_s: float
) -> float:
    """Tokens read in a second by classifiers that are paid by the token.

    Without a safety gate: what users write, and all answers. With one: only the answers, where a
    classifier judges them; messages are read by the gate's own servers, and the model's own head
    costs GPU time.
    """
    answers = number(summary, "throughput.output_tokens_per_s")
    if scenario.safety.on:
        return answers if scenario.safety.post.kind == "classifier" else 0.0
    messages = number(summary, "throughput.messages_per_s")
    return user_tokens(scenario, messages, uncached_per_s) + answers


def user_tokens(scenario: Scenario, messages_per_s: float, uncached_per_s: float) -> float:
    """Tokens that users wrote in a second (a replay: prompt tokens computed)."""
    if scenario.traffic.kind == "replay":
        return max(0.0, uncached_per_s)
    return messages_per_s * mean_of(scenario.traffic.sessions.user_tokens)
