"""Attention of one layer and its launch plans, with the tables that a step of that shape has."""

from collections.abc import Callable, Sequence

import torch

from calibrate.gpu.operators.inputs import Bed, Calls
from calibrate.gpu.operators.replay import Call
from calibrate.shapes import Chunk, StepShape
from kernels.common import schedule, tiles
from kernels.common.example import random_like
from kernels.common.layout import HEAD_DIM
from kernels.decode_attention import decode_attention
from kernels.model.model import Layer
from kernels.model.steps.runner import shape_of
from kernels.model.steps.step import StepInputs
from kernels.model.steps.visible import Plans, make_plans
from kernels.prefill_attention import prefill_attention

CALLS = 32
"""Attempted; every call has a layer's pages, or a table, of its own."""
PLANS = 4
"""Made for decode: calls in a row use different ones, as one may begin while another ends."""
SCORES = 1 / 36
"""Of the scale of random queries: logits are then about N(0, 2)."""


def decode_shape(batch: int, context: int) -> StepShape:
    """Sequences that decode, all with that many keys."""
    return StepShape(decodes=(context,) * batch)


def prefill_shape(new: int, cached: int) -> StepShape:
    """One chunk."""
    return StepShape(chunks=(Chunk(new, cached),))


def loaded(bed: Bed, shape: StepShape) -> StepInputs:
    """A step's integers on the device, padded as the runner pads them."""
    step = bed.step(shape)
    inputs = StepInputs(shape_of(step), bed.model.config, bed.device)
    inputs.send(inputs.fill(step))
    return inputs


def readers(bed: Bed, kind: str) -> list[Layer]:
    """Layers of a kind that own KV: with different pages."""
    layers = bed.model.config.owners(is_global=kind == "global")
    return [bed.model.layers[i] for i in layers]


def queries(bed: Bed, rows: int) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Random q `[rows, heads, 128]` and its scales: the rotary embedding's output, which the
    launch before has just written in a step, too."""
    config = bed.model.config
    size = (rows, config.heads, HEAD_DIM)
    if config.kv != "int8":
        return bed.normal(*size).to(torch.float16), None
    q = random_like(torch.empty(size, dtype=torch.int8, device=bed.device), bed.generator)
    return q, torch.full(size[:2], SCORES / 127, device=bed.device)


def output(bed: Bed, rows: int) -> tuple[torch.Tensor, float | None]:
    """Where attention writes, and its static scale."""
    config = bed.model.config
    is_int8 = config.weights == "int8"
    kind = torch.int8 if is_int8 else torch.bfloat16
    out = torch.empty((rows, config.heads, HEAD_DIM), dtype=kind, device=bed.device)
    return out, config.activation_scale if is_int8 else None


def tables(bed: Bed, table: torch.Tensor, kind: str) -> list[tuple[Layer, torch.Tensor]]:
    """Layers in turns, each time round with other pages."""
    layers = readers(bed, kind)
    rounds = 1 if bed.device.type != "cuda" else -(-CALLS // len(layers))
    return [(layer, each) for each in _shuffles(bed, table, kind, rounds) for layer in layers]


def _shuffles(bed: Bed, table: torch.Tensor, kind: str, count: int) -> list[torch.Tensor]:
    return [bed.shuffled(table, kind) for _ in range(count)]


def decodes(bed: Bed, kind: str, batch: int, context: int) -> Calls:
    """Decode attention."""
    inputs = loaded(bed, decode_shape(batch, context))
    count = inputs.shape.decodes
    (q, q_scale), (out, out_scale) = queries(bed, count), output(bed, count)
    plans = [make_plans(bed.model.config, inputs)[kind].decode for _ in range(PLANS)]

    def call(layer: Layer, table: torch.Tensor, number: int) -> Call:
        plan = plans[number % PLANS]
        assert plan is not None, "the step has decodes"
        return lambda: decode_attention(
            q, q_scale, bed.cache.of(layer.index), layer.v_scale, table, plan.start, plan.limit,
            plan=plan, out=out, out_scale=out_scale, chained=True,
        )  # fmt: skip

    pairs = tables(bed, inputs[f"decode_{kind}_table"], kind)
    return [call(layer, table, number) for number, (layer, table) in enumerate(pairs)]


def prefills(bed: Bed, kind: str, new: int, cached: int) -> Calls:
    """Prefill attention of one chunk."""
    inputs = loaded(bed, prefill_shape(new, cached))
    rows = inputs.shape.rows
    (q, q_scale), (out, out_scale) = queries(bed, rows), output(bed, rows)
    plan = make_plans(bed.model.config, inputs)[kind].prefill
    assert plan is not None, "the step has a chunk"

    def call(layer: Layer, table: torch.Tensor) -> Call:
        return lambda: prefill_attention(
            q, q_scale, bed.cache.of(layer.index), layer.v_scale, table, plan.cu_q, plan.start,
            plan.limit, plan=plan, out=out, out_scale=out_scale,
        )  # fmt: skip

    return [call(*pair) for pair in tables(bed, inputs[f"{kind}_table"], kind)]


def planned(bed: Bed, shape: StepShape) -> Plans:
    """Plans for the global layers of such a step."""
    return make_plans(bed.model.config, loaded(bed, shape))["global"]


def decode_plans(bed: Bed, batch: int, context: int) -> Calls:
    """Filling the plan of one kind of layer: the runner has its memory already."""
    plan = planned(bed, decode_shape(batch, context)).decode
    assert plan is not None, "the step has decodes"
    return [lambda: schedule.fill(plan)] * CALLS


def prefill_plans(bed: Bed, new: int, cached: int) -> Calls:
    """The same for prefill."""
    plan = planned(bed, prefill_shape(new, cached)).prefill
    assert plan is not None, "the step has a chunk"
    return [lambda: tiles.fill(plan)] * CALLS


Make = Callable[[int, int], Sequence[Call]]


def by_context(bed: Bed) -> dict[str, Make]:
    """Of operators over `batch` and `context`, what makes the calls."""
    known: dict[str, Make] = {"plan_decode": lambda b, c: decode_plans(bed, b, c)}
    for kind in _kinds(bed):
        known[f"decode_{kind}"] = lambda b, c, kind=kind: decodes(bed, kind, b, c)  # type: ignore[misc]
    return known


def by_chunk(bed: Bed) -> dict[str, Make]:
    """The same of operators over `new` and `cached`."""
    known: dict[str, Make] = {"plan_prefill": lambda n, c: prefill_plans(bed, n, c)}
    for kind in _kinds(bed):
        known[f"prefill_{kind}"] = lambda n, c, kind=kind: prefills(bed, kind, n, c)  # type: ignore[misc]
    return known


def _kinds(bed: Bed) -> list[str]:
    """Of layers that the model has."""
    return [kind for kind in ("global", "local") if readers(bed, kind)]
