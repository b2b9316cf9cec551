"""The answer in closed form, from the scenario as the sliders set it: at once, and without queues.

The planner's formulas (`kaiju_sim.economics.plan.planner`) with the scenario's own step times (what
a replica does at most, `kaiju_sim.economics.capacity`) and the mean dialogue's hit rate
(`dialogue.py`). Headroom for the first token: prefill at a replica is taken as an M/M/1 queue,
whose p99 of waiting and service is S ln(100) / (1 - u), so that u = 1 - S ln(100) / objective.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from app.figures.dialogue import MeanPrompt, mean_prompt
from kaiju_sim.catalog.models import find_model
from kaiju_sim.economics.capacity import MeanMessage, capacity_of
from kaiju_sim.economics.plan.planner import Plan, PlanInputs, plan
from kaiju_sim.errors import UserError
from kaiju_sim.fleet.setup.groups import Group, build_groups
from kaiju_sim.scenario.loader import Loaded
from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.steptime.build import described
from kaiju_sim.workload.arrivals import rate_curve

MOST_USED, P99 = 0.95, math.log(100)


@dataclass(frozen=True)
class Answer:
    """What the closed form says."""

    plan: Plan
    replicas: int
    message: MeanPrompt
    utilisation: float
    """Share of a GPU's time that is planned with, for the objective's sake."""
    margin: float | None
    """1 - a subscriber's GPU cost / his price; None where no price is stated."""
    step_times: str
    """Where the step times come from."""


def answer_of(found: Loaded) -> Answer:
    """The answer; UserError where the model does not fit or the objective cannot be met."""
    s = found.scenario
    group = build_groups(s, found.base_dir)[0]
    message = mean_prompt(s)
    inputs = inputs_of(s, group, message)
    made = plan(inputs)
    ranks = group.tensor_parallel
    return Answer(
        made,
        -(-made.gpus // ranks),
        message,
        inputs.utilisation,
        margin(s, made.usd_per_message),
        described(group.step_time),
    )


def inputs_of(s: Scenario, group: Group, message: MeanPrompt) -> PlanInputs:
    """The planner's inputs; rates are of one GPU."""
    cached = message.prompt - message.uncached
    mean = MeanMessage(message.uncached, cached, message.output)
    able = capacity_of(s, find_model(s.model), group.step_time.curves, group.kv, mean)
    if s.traffic.messages_per_s is None:
        raise UserError("a replayed trace has no stated rate: simulate it")
    return PlanInputs(
        messages_per_s=peak_rate(s, s.traffic.messages_per_s),
        prompt_tokens=message.prompt,
        output_tokens=message.output,
        hit_rate=message.hit_rate,
        prefill_tokens_per_s=able.prefill_tokens_per_s / group.tensor_parallel,
        decode_tokens_per_s=able.decode_tokens_per_s / group.tensor_parallel,
        usd_per_gpu_hour=group.usd_per_hour,
        utilisation=utilisation(s.slo.ttft, message.uncached / able.prefill_tokens_per_s),
    )


def peak_rate(s: Scenario, mean: float) -> float:
    """The highest rate of the day; the mean where the rate does not change."""
    if s.traffic.diurnal is None:
        return mean
    rate, _ = rate_curve(s, 1.0)
    return float(rate.max()) * 1e9


def utilisation(ttft_s: float | None, service_s: float) -> float:
    """Share of the time that may be used so that p99 of the first token holds the objective."""
    if ttft_s is None:
        return MOST_USED
    found = 1.0 - service_s * P99 / ttft_s
    if found < 0.05:
        raise UserError(
            f"a TTFT objective of {ttft_s:g} s cannot be met: computing a mean prompt takes"
            f" {service_s:.2g} s"
        )
    return min(MOST_USED, found)


def margin(s: Scenario, usd_per_message: float) -> float | None:
    """GPU cost of a subscriber's messages against his price."""
    price, messages = s.economics.subscription, s.economics.messages_per_subscriber_month
    return None if price is None or messages is None else 1.0 - usd_per_message * messages / price


def rows_of(answer: Answer) -> Sequence[dict[str, float | str]]:
    """GPUs by what asks for them."""
    parts = (("prefill compute", answer.plan.prefill_gpus), ("decode", answer.plan.decode_gpus))
    return [{"part": name, "gpus": gpus} for name, gpus in parts]
