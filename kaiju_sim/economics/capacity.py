"""What one replica could do at most, from its step times: prefill alone, decode alone.

Prefill alone: steps of a full token budget, made of messages of the mean length. Decode alone:
steps of the largest batch that `engine.max_seqs`, KV memory and `slo.tpot` allow, at the mean
context. What a real step does lies between: both kinds of rows, and a batch that is rarely full.
"""

from dataclasses import dataclass

from kaiju_sim.catalog.models import Model
from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.steptime.curves import Curves, after_ns, decode_ns, fixed_ns, prefill_ns
from kaiju_sim.steptime.memory import KvPlan

LEAST_BATCH = 1


@dataclass(frozen=True)
class MeanMessage:
    """The mean message of a run, in tokens."""

    uncached: float
    """Prompt tokens computed."""
    cached: float
    """Prompt tokens found in caches."""
    output: float
    """Tokens generated."""

    @property
    def context(self) -> int:
        """Tokens that a decode step reads on average: prompt and half of the answer."""
        return max(1, round(self.uncached + self.cached + self.output / 2))


@dataclass(frozen=True)
class Capacity:
    """What one replica could do if it did nothing else."""

    prefill_tokens_per_s: float
    """Prompt tokens computed."""
    decode_tokens_per_s: float
    """Tokens generated."""
    batch: int
    """Sequences in the decode steps."""


def capacity_of(
    scenario: Scenario, model: Model, curves: Curves, kv: KvPlan, message: MeanMessage
) -> Capacity:
    """The capacity of a replica with these step times and this memory."""
    batch = largest_batch(scenario, model, curves, kv, message.context)
    return Capacity(
        prefill_tokens_per_s=prefill_rate(scenario, model, curves, message),
        decode_tokens_per_s=batch * 1e9 / decode_step_ns(model, curves, batch, message.context),
        batch=batch,
    )


def prefill_rate(scenario: Scenario, model: Model, curves: Curves, message: MeanMessage) -> float:
    """Prompt tokens a second in steps of a full budget."""
    rows = scenario.engine.token_budget
    new = max(1.0, message.uncached)
    seqs = min(scenario.engine.max_seqs, max(1, round(rows / new)))
    keys = message.cached + (new + 1) / 2
    near = keys if model.window is None else min(keys, model.window)
    of_pairs = prefill_ns(curves, round(rows * keys), round(rows * near))
    own = after_ns(curves, 0, seqs)
    return rows * 1e9 / (fixed_ns(curves, rows, seqs, seqs) + of_pairs + own)


def decode_step_ns(model: Model, curves: Curves, batch: int, context: int) -> float:
    """A step of so many decodes at one context."""
    near = batch * model.in_window(context)
    step = fixed_ns(curves, batch, batch) + decode_ns(curves, batch * context, near, batch)
    return step + after_ns(curves, batch, 0)


def largest_batch(
    scenario: Scenario, model: Model, curves: Curves, kv: KvPlan, context: int
) -> int:
    """The largest batch that slots, memory and the objective for time per token allow."""
    most = min(scenario.engine.max_seqs, memory_batch(kv, context))
    limit_s = scenario.slo.tpot
    if limit_s is None or decode_step_ns(model, curves, most, context) <= limit_s * 1e9:
        return most
    low, high = LEAST_BATCH, most
    while high - low > 1:
        middle = (low + high) // 2
        fits = decode_step_ns(model, curves, middle, context) <= limit_s * 1e9
        low, high = (middle, high) if fits else (low, middle)
    return low


def memory_batch(kv: KvPlan, context: int) -> int:
    """Sequences of one context that KV memory holds, none of it shared."""
    blocks = -(-context // kv.block_tokens)
    found = kv.global_blocks // blocks
    if kv.local_windows:
        found = min(found, kv.local_windows)
    return max(LEAST_BATCH, found)
