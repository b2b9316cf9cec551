"""Train a model from scratch, or fine-tune an open one? By daily users, from measured step times.

A model of one's own has one KV head and int8 throughout; open models have grouped or full heads,
mostly in 16 bits, and cost more per message. What training costs at once is weighed against that:

    usd_per_message = (new prompt tokens x prefill step / its tokens
                       + output tokens x decode step / its batch) x price / 3600 / utilisation
    monthly         = one-off / months + users x messages of a user x usd_per_message

All steps were measured on one kind of GPU with the same sizes, windows and shared KV, which
flatters the open models: most have neither windows nor shared KV. Quality is taken to be equal.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from kaiju_sim.economics.cost.business import DAYS_PER_MONTH
from kaiju_sim.economics.values import GPU_PRICE, Values

OWN = "own model, one KV head, int8"


@dataclass(frozen=True)
class Design:
    """Measured steps of a design."""

    id: str
    """Samples that they come from."""
    variant: str
    undoes: str
    decode_batch: int
    decode_step_s: float
    prefill_tokens: int
    prefill_step_s: float
    gpu_name: str
    driver: str
    date: str
    commit: str

    def gpu_seconds(self, prompt_tokens: float, output_tokens: float) -> float:
        """GPU time of a message in steps that are full."""
        prefill = prompt_tokens * self.prefill_step_s / self.prefill_tokens
        return prefill + output_tokens * self.decode_step_s / self.decode_batch


@dataclass(frozen=True)
class Way:
    """A way to get a model."""

    name: str
    design: str
    """Variant whose steps it takes."""
    one_off_usd: float
    """Training, at once."""
    usd_per_message: float


@dataclass(frozen=True)
class Crossing:
    """Where training a model of one's own overtakes another way."""

    way: str
    daily_users: float | None
    """From so many daily users on; None: never, for the other way is as cheap a message."""


_WAYS = (
    ("open model, grouped heads, bf16, fine-tuned", "bf16-gqa-8", 0.0),
    ("open model, grouped heads, quantised to int8, fine-tuned", "gqa-8", 0.0),
    ("open model, all heads, bf16, fine-tuned", "bf16-mha", 0.0),
    ("open model, all heads, quantised to int8, fine-tuned", "mha", 0.0),
    ("open model uptrained to one KV head and int8, fine-tuned", "as designed", 1.0),
)
"""Name, measured variant, whether its heads are uptrained."""


@cache
def measured_designs() -> Mapping[str, Design]:
    """The measured designs by variant, from package data."""
    text = files("kaiju_sim.economics.measured").joinpath("attention.json").read_text("utf-8")
    return {row["variant"]: Design(**row) for row in json.loads(text)["designs"]}


@cache
def measured_on() -> tuple[str, str]:
    """Catalog names of the GPU and the model that were measured."""
    text = files("kaiju_sim.economics.measured").joinpath("attention.json").read_text("utf-8")
    found = json.loads(text)
    return found["gpu"], found["model"]


@dataclass(frozen=True)
class Base:
    """What the comparison starts from."""

    flops_per_token: float
    """6 x parameters of the measured model."""
    flops_per_s: float
    """bf16 peak of the measured GPU."""
    usd_per_gpu_hour: float


def ways(base: Base, values: Values) -> list[Way]:
    """The own model first, then the open ones."""
    whole = pretraining_usd(base, values) * values["training.runs"]
    tuned = training_usd(base, values, values["crossover.finetune_tokens"])
    uptrained = pretraining_usd(base, values) * values["crossover.uptrain_share"]
    own = Way(OWN, "as designed", whole, message_usd(base, values, "as designed"))
    others = [
        Way(name, design, tuned + heads * uptrained, message_usd(base, values, design))
        for name, design, heads in _WAYS
    ]
    return [own, *others]


def training_usd(base: Base, values: Values, tokens: float) -> float:
    """Training on so many tokens, once."""
    speed = base.flops_per_s * values["training.flops_utilisation"]
    hours = base.flops_per_token * tokens / speed / 3600.0
    return hours * base.usd_per_gpu_hour * values[GPU_PRICE]


def pretraining_usd(base: Base, values: Values) -> float:
    """One pretraining run."""
    return training_usd(base, values, values["training.tokens"])


def message_usd(base: Base, values: Values, design: str) -> float:
    """GPUs of a message."""
    prompt, output = values["crossover.prompt_tokens"], values["crossover.output_tokens"]
    seconds = measured_designs()[design].gpu_seconds(prompt, output)
    price = base.usd_per_gpu_hour * values[GPU_PRICE]
    return seconds * price / 3600.0 / values["crossover.utilisation"]


def monthly_usd(way: Way, daily_users: float, values: Values) -> float:
    """A way's month at so many daily users."""
    messages = daily_users * values["users.messages_per_user_day"] * DAYS_PER_MONTH
    return way.one_off_usd / values["training.months"] + messages * way.usd_per_message


def crossings(found: Sequence[Way], values: Values) -> list[Crossing]:
    """From how many daily users on the first way is the cheaper one, beside each other."""
    return [Crossing(way.name, _crossing(found[0], way, values)) for way in found[1:]]


def _crossing(own: Way, other: Way, values: Values) -> float | None:
    per_user = values["users.messages_per_user_day"] * DAYS_PER_MONTH
    saved = (other.usd_per_message - own.usd_per_message) * per_user
    extra = (own.one_off_usd - other.one_off_usd) / values["training.months"]
    if extra <= 0:
        return 0.0 if saved >= 0 else None
    return extra / saved if saved > 0 else None
