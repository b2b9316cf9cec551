"""The closed-form capacity planner of the case study, as a pure function.

    latency objective, messages/s, hit rate
        -> effective messages/s, batch factor, GPUs, hourly and monthly bill, cost per message,
           bottleneck

It knows no queue, no router and no memory that runs full: that is what the simulation is for, and
the two are shown beside each other. The formulas, with what is wrong about some of them, are in
docs/economics.md.
"""

import math
from dataclasses import dataclass

HOURS_PER_MONTH = 730.0
"""Hours of a month: 365 x 24 / 12."""
PREFILL, DECODE, KV = "prefill compute", "decode bandwidth", "KV memory"
"""What a plan may be limited by, in the words of the simulation's own bottleneck."""


@dataclass(frozen=True)
class PlanInputs:
    """What the planner is told; rates are of one GPU."""

    messages_per_s: float
    """Rate that the fleet must carry (the peak)."""
    prompt_tokens: float
    """Per message, cached ones included."""
    output_tokens: float
    """Per message."""
    hit_rate: float
    """Share of the prompt tokens that need no prefill, 0 to 1."""
    prefill_tokens_per_s: float
    """Prompt tokens that one GPU computes in a second if it does nothing else."""
    decode_tokens_per_s: float
    """Output tokens that one GPU makes in a second if it does nothing else, at the batch that the
    reference objective allows."""
    usd_per_gpu_hour: float
    """Price of one GPU."""
    ttft_s: float = 1.0
    """Objective for the time to the first token."""
    reference_ttft_s: float = 1.0
    """Objective at which `decode_tokens_per_s` holds."""
    live_sessions: float = 0.0
    """Sequences whose KV is in memory at once (0: memory is not looked at)."""
    kv_bytes_per_session: float = 0.0
    """KV of one of them."""
    kv_bytes_per_gpu: float = math.inf
    """Memory that a GPU has for KV."""
    utilisation: float = 1.0
    """Share of a GPU's time that is planned with; the rest is headroom."""


@dataclass(frozen=True)
class Plan:
    """What the planner says."""

    effective_messages_per_s: float
    """Messages/s that would cost as much prefill if nothing were cached: rate x (1 - hit rate)."""
    batch_factor: float
    """How many times the reference batch the latency objective allows: ttft / reference."""
    prefill_gpus: float
    """Effective messages/s x prompt tokens / prefill rate / utilisation."""
    decode_gpus: float
    """Messages/s x output tokens / (decode rate x batch factor) / utilisation."""
    kv_gpus: float
    """Live sessions x KV of one / memory of a GPU."""
    gpus: int
    """Whole GPUs: the larger of prefill + decode and of memory."""
    usd_per_hour: float
    """GPUs x price."""
    usd_per_month: float
    """Per hour x 730."""
    usd_per_message: float
    """Per hour / (3600 x messages/s)."""
    bottleneck: str
    """Which of the three asks for the most GPUs."""


def plan(inputs: PlanInputs) -> Plan:
    """The plan for these inputs; ValueError for rates, prices or shares that make no sense."""
    _check(inputs)
    effective = inputs.messages_per_s * (1.0 - inputs.hit_rate)
    factor = inputs.ttft_s / inputs.reference_ttft_s
    prefill = effective * inputs.prompt_tokens / inputs.prefill_tokens_per_s / inputs.utilisation
    decode_rate = inputs.decode_tokens_per_s * factor
    decode = inputs.messages_per_s * inputs.output_tokens / decode_rate / inputs.utilisation
    memory = inputs.live_sessions * inputs.kv_bytes_per_session / inputs.kv_bytes_per_gpu
    gpus = max(1, whole(max(prefill + decode, memory)))
    per_hour = gpus * inputs.usd_per_gpu_hour
    return Plan(
        effective_messages_per_s=effective,
        batch_factor=factor,
        prefill_gpus=prefill,
        decode_gpus=decode,
        kv_gpus=memory,
        gpus=gpus,
        usd_per_hour=per_hour,
        usd_per_month=per_hour * HOURS_PER_MONTH,
        usd_per_message=per_hour / (3600.0 * inputs.messages_per_s),
        bottleneck=_largest(prefill, decode, memory),
    )


def whole(gpus: float) -> int:
    """GPUs rounded up, but not for the last bit of a sum that comes out even."""
    return math.ceil(gpus - 1e-9 * max(1.0, gpus))


def _largest(prefill: float, decode: float, memory: float) -> str:
    if memory > prefill + decode:
        return KV
    return PREFILL if prefill > decode else DECODE


_POSITIVE = (
    *("messages_per_s", "prefill_tokens_per_s", "decode_tokens_per_s", "ttft_s"),
    *("reference_ttft_s", "kv_bytes_per_gpu", "utilisation"),
)


def _check(inputs: PlanInputs) -> None:
    wrong = [name for name in _POSITIVE if not getattr(inputs, name) > 0]
    if wrong:
        raise ValueError(f"the planner needs {wrong[0]} above 0")
    if not 0 <= inputs.hit_rate <= 1:
        raise ValueError("the planner's hit_rate is a share from 0 to 1")
