"""The closed-form planner's answers beside the simulation's, for one run.

The planner is given the run's own step times (what a GPU could do at most, `capacity.*`), so that
what differs is only what it leaves out. Three times:

- *case study*: its hit rate, and its batch factor, objective / reference objective;
- *assumed hit rate*: another hit rate (the published one), without the batch factor;
- *simulated hit rate*: with the share of prompt tokens that the run found cached.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from kaiju_sim.economics.cost.gpus import mean_gpus, number
from kaiju_sim.economics.plan.planner import PlanInputs, plan
from kaiju_sim.economics.values import Values
from kaiju_sim.scenario.schema import Scenario


@dataclass(frozen=True)
class Answer:
    """An answer to: how many GPUs, at what cost, limited by what?"""

    by: str
    hit_rate: float | None
    effective_messages_per_s: float | None
    batch_factor: float | None
    prefill_gpus: float | None
    decode_gpus: float | None
    gpus: float
    usd_per_hour: float
    usd_per_month: float
    usd_per_message: float | None
    bottleneck: str


def answers(scenario: Scenario, summary: Mapping[str, Any], values: Values) -> list[Answer]:
    """The planner's three, then the simulation's; only the last where the run has no rates."""
    simulated = simulated_answer(summary)
    inputs = inputs_of(scenario, summary, values)
    if inputs is None:
        return [simulated]
    ttft = scenario.slo.ttft
    theirs = replace(inputs, hit_rate=values["planner.case_study_hit_rate"])
    if ttft is not None:
        reference = values["planner.reference_ttft_s"]
        theirs = replace(theirs, ttft_s=ttft, reference_ttft_s=reference)
    realised = replace(inputs, hit_rate=number(summary, "prefix_hit_rate"))
    return [
        _answer("case study", theirs),
        _answer("assumed hit rate", inputs),
        _answer("simulated hit rate", realised),
        simulated,
    ]


def inputs_of(scenario: Scenario, summary: Mapping[str, Any], values: Values) -> PlanInputs | None:
    """The planner's inputs from a run, without the batch factor; none where it served nothing."""
    gpus = mean_gpus(summary)
    rate = summary.get("stated.messages_per_s") or summary.get("realised.messages_per_s")
    prefill, decode = (number(summary, f"capacity.{k}_tokens_per_s") for k in ("prefill", "decode"))
    if not (gpus and rate and prefill and decode):
        return None
    return PlanInputs(
        messages_per_s=rate,
        prompt_tokens=number(summary, "realised.prompt_tokens_mean"),
        output_tokens=number(summary, "realised.output_tokens_mean") * scenario.engine.candidates,
        hit_rate=values["planner.hit_rate"],
        prefill_tokens_per_s=prefill / gpus,
        decode_tokens_per_s=decode / gpus,
        usd_per_gpu_hour=number(summary, "cost.usd_per_hour") / gpus,
    )


def _answer(by: str, inputs: PlanInputs) -> Answer:
    found = asdict(plan(inputs))
    found.pop("kv_gpus")
    return Answer(by=by, hit_rate=inputs.hit_rate, **found)


def simulated_answer(summary: Mapping[str, Any]) -> Answer:
    """The run's: what it was provisioned with (not the fewest that would do)."""
    return Answer(
        by="simulation",
        hit_rate=summary.get("prefix_hit_rate"),
        effective_messages_per_s=None,
        batch_factor=None,
        prefill_gpus=None,
        decode_gpus=None,
        gpus=mean_gpus(summary),
        usd_per_hour=number(summary, "cost.usd_per_hour"),
        usd_per_month=number(summary, "cost.usd_per_month"),
        usd_per_message=summary.get("cost.usd_per_message"),
        bottleneck=str(summary.get("bottleneck")),
    )
