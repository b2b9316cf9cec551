"""Money: prices, what is bought besides GPUs, users and what they pay, training, growth.

Only `gpu_price` and fields without a default reach the figures `cost.*` that are of GPUs alone; all
others are assumptions with a range, a source and a grade, for `cost.full.*` and `kaiju-sim
economics` (docs/economics.md). Staff, offices and taxes are in none of them.
"""

from typing import Any, Literal, get_args

from pydantic import Field, model_validator

from kaiju_sim.scenario.assumed import Assumed, AssumedShare, Grade, assumed, assumed_share
from kaiju_sim.scenario.base import Part
from kaiju_sim.scenario.quantities import Fraction, UsdPerHour, UsdPerMonth

_LISTS = "list prices, 2026"


class Purchase(Part):
    """How GPUs are bought. The catalog's price `on demand` is the base of both discounts."""

    reserved_share: Fraction | None = None
    """Share of the GPU hours that are reserved for a year; none: all at `economics.gpu_price`."""
    spot_share: Fraction = 0.0
    """Share of the GPU hours that are spot, if `reserved_share` is given; the rest is on demand."""
    reserved_discount: AssumedShare = assumed_share(
        *(0.2, 0.1, 0.5, "gridstackhub.ai, H100 1 year at CoreWeave, 2026; guides say 20-50 %", "R")
    )
    """A year's commitment saves this share of the price on demand."""
    spot_discount: AssumedShare = assumed_share(
        *(0.33, 0.1, 0.7, "gridstackhub.ai 33 %, deploybase.ai 50-70 % (H100, 2026)", "R")
    )
    """Spot saves this share of the price on demand."""
    spot_loss: AssumedShare = assumed_share(
        *(0.1, 0.02, 0.3, "deploybase.ai: H100 spot interrupted 8-12 %, 2026; loss inferred", "I")
    )
    """Share of spot GPU hours lost to interruptions and reloading; more are bought for it."""
    spot_limit: Fraction = 0.3
    """Largest share of the GPUs of any hour that may be spot, for the best mix."""

    @model_validator(mode="after")
    def _shares(self) -> "Purchase":
        if (self.reserved_share or 0.0) + self.spot_share > 1:
            raise ValueError("economics.purchase: reserved_share and spot_share exceed 1")
        if self.spot_share and self.reserved_share is None:
            raise ValueError("economics.purchase.spot_share: give reserved_share too (0 is none)")
        return self


class Bill(Part):
    """What is bought besides GPUs, staff excluded."""

    host_memory_included_gib: Assumed = assumed(
        *(250, 100, 256, "2 TB in an 8-GPU H100 server (NVIDIA DGX H100)", "P")
    )
    """Host memory that comes with a GPU, GiB."""
    host_memory_usd_per_gib_month: Assumed = assumed(
        *(
            2.5,
            0.2,
            3.5,
            "clouds' custom memory about 0.0034 USD/GiB-h; low: own DRAM, 4 years",
            "I",
        )
    )
    """Host memory above that, USD per GiB and month (only kv.host_memory is counted)."""
    stored_bytes_per_message: Assumed = assumed(
        *(4000, 1500, 12000, "text of 600 tokens at 4 bytes, ids, index and a copy", "I")
    )
    """Bytes kept of a message and its answer."""
    stored_months: Assumed = assumed(*(24, 6, 60, "nobody says how long dialogues are kept", "U"))
    """How long they are kept; the bill is of the steady state."""
    storage_usd_per_gib_month: Assumed = assumed(
        *(0.02, 0.005, 0.025, f"Akamai object storage 0.02; range of providers; {_LISTS}", "P")
    )
    """Storage, USD per GiB and month."""
    sent_bytes_per_token: Assumed = assumed(
        *(150, 20, 400, "one server-sent event a token with a JSON frame", "I")
    )
    """Bytes sent to the client per output token."""
    network_usd_per_gib: Assumed = assumed(
        *(0.05, 0.005, 0.09, f"clouds' egress 0.09 falling to 0.05 in volume; {_LISTS}", "R")
    )
    """Network out, USD per GiB."""
    cdn_bytes_per_conversation_hour: Assumed = assumed(
        *(5e6, 1e6, 3e7, "avatars and the web client, mostly cached", "U")
    )
    """Bytes that the CDN serves in an hour of conversation."""
    cdn_usd_per_gib: Assumed = assumed(
        *(0.02, 0.005, 0.085, f"CloudFront 0.085 falling with volume; {_LISTS}", "R")
    )
    """CDN, USD per GiB."""
    safety_usd_per_million_tokens: Assumed = assumed(
        *(
            0.01,
            0.0005,
            0.04,
            "small encoders hosted 0.03-0.04 (low end of reports); own CPUs less",
            "I",
        )
    )
    """Classifiers paid by the token, USD per million tokens read: without a safety gate the user's
    words and the answer; with one the answer, if `safety.post.kind` is `classifier`."""
    safety_server_usd_per_hour: Assumed = assumed(
        *(
            0.085,
            0.015,
            0.11,
            "AWS c6i.large 62.05 USD/month on demand (Infracost): 1 core; spot 37 %; own less",
            "R",
        )
    )
    """A CPU server (core) of the safety gate, USD per hour; `safety.pool.servers` in each cell."""


class Training(Part):
    """Training the model, written off over some months."""

    tokens: Assumed = assumed(
        *(
            2e12,
            2.6e11,
            1.5e13,
            "20 a parameter (Chinchilla) to Llama 3's 15 T; Kaiju's unknown",
            "U",
        )
    )
    """Tokens of the final run."""
    flops_utilisation: AssumedShare = assumed_share(
        *(0.4, 0.3, 0.45, "Llama 3 (2407.21783): 38-43 % of bf16 peak on H100", "P")
    )
    """Share of the GPU's bf16 peak that training reaches."""
    runs: Assumed = assumed(*(2.0, 1.2, 5.0, "experiments and restarts beside the final run", "U"))
    """All computing for the model / computing of the final run."""
    months: Assumed = assumed(*(12, 6, 24, "a model is replaced after about a year", "U"))
    """Months over which it is written off."""
    share: AssumedShare = assumed_share(
        *(1.0, 0.0, 1.0, "this fleet bears all of it; 0 leaves training out", "I")
    )
    """Share of it that this fleet bears."""


class Users(Part):
    """Who pays, and for how much use."""

    messages_per_user_day: Assumed = assumed(
        *(20, 5, 100, "case study (unsupported); 20 M users, 10 B messages/month gives 17", "U")
    )
    """Messages of a daily user in a day."""
    subscribers_per_daily_user: AssumedShare = assumed_share(
        *(0.017, 0.005, 0.05, "under 100,000 payers of over 6 M daily users (press, Jul 2024)", "R")
    )
    """Subscribers / daily users."""
    subscription_usd_per_month: Assumed = assumed(
        *(9.99, 4.99, 14.99, "c.ai+ 9.99 USD (press, 2025-26)", "R")
    )
    """Price of a subscription, where economics.subscription is not given."""
    payment_fee: AssumedShare = assumed_share(
        *(0.15, 0.03, 0.30, "card processors 3 %, app stores 15-30 %", "R")
    )
    """Share of the price that stores and card processors keep."""
    ads_usd_per_free_user_month: Assumed = assumed(
        *(0.0, 0.0, 0.5, "no advertising by default; the range is a guess", "U")
    )
    """Revenue from advertising per daily user without a subscription, USD a month."""


class Growth(Part):
    """How traffic and prices go on from here."""

    months: int = Field(default=24, ge=1, le=120)
    """Months that the forecast covers."""
    per_month: Assumed = assumed(*(0.04, 0.0, 0.1, "planner's guess", "U"))
    """Growth of the messages a month, compound."""
    gpu_price_decline_per_month: AssumedShare = assumed_share(
        *(0.01, 0.0, 0.03, "H100 on demand 2.99 (Oct 2024), 1 year 1.70-2.35 (2025-26)", "I")
    )
    """Fall of GPU prices a month, compound."""


class Planner(Part):
    """What the closed-form planner is told where the simulation has an outcome."""

    hit_rate: AssumedShare = assumed_share(
        *(0.95, 0.6, 0.97, "published cache rate 95 %; low: the case study", "P")
    )
    """Share of the prompt tokens that need no prefill."""
    case_study_hit_rate: AssumedShare = assumed_share(
        *(0.6, 0.375, 0.75, "case study: 6K of 10K prompt tokens shared; its other readings", "U")
    )
    """The same as the case study plans with it."""
    reference_ttft_s: Assumed = assumed(
        *(0.8, 0.5, 2.5, "case study: batch grows with the objective over 800 ms", "U")
    )
    """Objective at which a full batch is reached, for the case study's batch factor."""


class Crossover(Part):
    """Train a model of one's own from scratch, or fine-tune an open one?"""

    finetune_tokens: Assumed = assumed(
        *(5e9, 1e8, 1e11, "dialogue data of one's own; no source", "U")
    )
    """Tokens that an open model is fine-tuned on."""
    uptrain_share: AssumedShare = assumed_share(
        *(0.05, 0.03, 0.1, "GQA paper (2305.13245): 5 % of pretraining compute", "P")
    )
    """Share of a pretraining that turns an open model's heads into one KV head."""
    prompt_tokens: Assumed = assumed(*(280, 50, 5600, "5,600 at 95 % cached (published)", "I"))
    """New prompt tokens per message."""
    output_tokens: Assumed = assumed(*(140, 50, 512, "published request shape", "P"))
    """Output tokens per message."""
    utilisation: AssumedShare = assumed_share(
        *(0.5, 0.3, 0.8, "mean over peak of the day, and headroom", "I")
    )
    """Messages served / messages that the fleet could serve."""


class Economics(Part):
    """Prices and revenue."""

    gpu_price: UsdPerHour | Literal["catalog"] = "catalog"
    """Price of one GPU; `catalog`: the dated price of the GPU's entry."""
    subscription: UsdPerMonth | None = None
    """Price of a subscription, for the gross margin."""
    messages_per_subscriber_month: float | None = Field(default=None, gt=0)
    """Messages that a subscriber sends in a month, for the gross margin."""
    average_load: AssumedShare = assumed_share(
        *(1.0, 0.3, 1.0, "the measured time stands for the whole month", "I")
    )
    """Messages of an average hour of the month / messages of an hour of the measured time; below 1
    where a peak is simulated. The fleet is paid for all the time."""
    demand: Assumed = assumed(*(1.0, 0.8, 1.25, "forecasts of traffic err", "I"))
    """Traffic, and fleet with it, relative to the scenario's: 1, with a range."""
    cached_input_weight: AssumedShare = assumed_share(
        *(0.1, 0.0, 0.5, "API lists: cached input at 10 % (Mistral, Anthropic) to 50 %", "P")
    )
    """What a cached input token bears of the bill, relative to an uncached one."""
    purchase: Purchase = Purchase()
    """Buying GPUs."""
    bill: Bill = Bill()
    """Other costs."""
    training: Training = Training()
    """Training."""
    users: Users = Users()
    """Users and revenue."""
    growth: Growth = Growth()
    """Forecast."""
    planner: Planner = Planner()
    """Closed-form planner."""
    crossover: Crossover = Crossover()
    """Own model or open model."""
    ranges: dict[str, list[Any]] = {}
    """Ranges of other values, such as those of traffic, `path: [low, high]` or
    `path: [low, high, grade, source]`: `kaiju-sim economics --simulate` runs the scenario at both
    ends of each."""

    @model_validator(mode="after")
    def _ranges(self) -> "Economics":
        for path, ends in self.ranges.items():
            if len(ends) not in (2, 4):
                raise ValueError(
                    f"economics.ranges: {path}: give two values, [low, high], or four,"
                    " [low, high, grade, source]"
                )
            if len(ends) == 4 and not (ends[2] in get_args(Grade) and str(ends[3]).strip()):
                raise ValueError(
                    f"economics.ranges: {path}: [low, high, grade, source] needs grade P, R, I or U"
                    " and a source"
                )
        return self
