"""Who attends to what in a step, and who does that work: plans for both attention operators.

All layers of a kind see alike, so a step makes at most four plans: decode and prefill, global and
local. They are made on the device, from the step's inputs, so a captured graph makes them anew.
"""

from typing import NamedTuple

from kernels import decode_attention, prefill_attention
from kernels.common import schedule, tiles
from kernels.common.schedule import DecodePlan
from kernels.common.tiles import PrefillPlan
from kernels.model.config import ModelConfig
from kernels.model.steps.cache import kv_dtype
from kernels.model.steps.step import StepInputs


class Plans(NamedTuple):
    """Of one kind of layer; None where a step has no such rows."""

    decode: DecodePlan | None
    prefill: PrefillPlan | None


def make_plans(config: ModelConfig, inputs: StepInputs) -> dict[str, Plans]:
    """Plans of each kind of layer, for `fill` to fill: their memory is made here, once."""
    return {kind: _make(config, inputs, kind) for kind in inputs.kinds}


def _make(config: ModelConfig, inputs: StepInputs, kind: str) -> Plans:
    decode, prefill = None, None
    heads, kv_heads = config.heads, config.kv_heads
    if inputs.shape.decodes:
        start, limit = inputs[f"decode_{kind}_start"], inputs["decode_limit"]
        decode = decode_attention.make_plan(
            start, limit, heads=heads, kv_heads=kv_heads, dtype=kv_dtype(config)
        )
    if inputs.shape.chunks:
        start, limit = inputs[f"{kind}_start"], inputs["limit"]
        prefill = prefill_attention.make_plan(
            inputs["cu_q"], start, limit, heads=heads, kv_heads=kv_heads
        )
    return Plans(decode, prefill)


def fill(plans: dict[str, Plans]) -> None:
    """Make the plans for the step that the inputs now hold: a launch each."""
    for of_kind in plans.values():
        if of_kind.decode is not None:
            schedule.fill(of_kind.decode)
        if of_kind.prefill is not None:
            tiles.fill(of_kind.prefill)
