"""What formulas may call: the simulator's own catalog, KV memory and step times, and rounding.

Nothing is modelled anew here. KV bytes are the catalog model's (`Model.kv_store_bytes`), rates of
a GPU are those of the step time that `kaiju-sim run` would use (`build_step_time`: measured where
a profile is shipped, else roofline).
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

from kaiju_sim.catalog.gpus import find_gpu
from kaiju_sim.catalog.models import Model, find_model, variant
from kaiju_sim.economics.measured.training import training_speed
from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.steptime.build import build_step_time
from kaiju_sim.steptime.curves import Curves, decode_ns, fixed_ns, prefill_ns, step_ns
from kaiju_sim.steptime.memory import kv_plan


def plain_model(
    layers: float, heads: float, kv_heads: float, head_dim: float, kv_bytes: float
) -> Model:
    """A model with full attention in every layer and no sharing, as textbook KV arithmetic has it.

    KV bytes depend on these dimensions only; the others are set to 1.
    """
    return Model(
        name="plain",
        description="full attention, no sharing",
        global_layers=round(layers),
        local_layers=0,
        global_kv_owners=round(layers),
        local_kv_owners=0,
        hidden=1,
        heads=round(heads),
        head_dim=round(head_dim),
        kv_heads=round(kv_heads),
        ffn=1,
        vocab=1,
        window=None,
        kv_bytes=round(kv_bytes),
    )


def kv_bytes(
    context: float, layers: float, heads: float, kv_heads: float, head_dim: float, each: float
) -> float:
    """KV bytes of one sequence in `plain_model`."""
    model = plain_model(layers, heads, kv_heads, head_dim, each)
    return float(model.kv_store_bytes(round(context)))


def stored_kv(name: str, context: float) -> float:
    """KV bytes that one sequence of a catalog model holds."""
    return float(find_model(name).kv_store_bytes(round(context)))


def undone_kv(name: str, context: float, kv_heads: float) -> float:
    """The same without window and sharing, and with so many KV heads: what most models hold."""
    model = find_model(name)
    undone = variant(
        model,
        global_layers=model.layers,
        global_kv_owners=model.layers,
        local_layers=0,
        local_kv_owners=0,
        window=None,
        kv_heads=round(kv_heads),
    )
    return float(undone.kv_store_bytes(round(context)))


def kv_room(model: str, gpu: str) -> float:
    """Bytes for KV on one GPU, beside weights and activations (`steptime.memory.kv_plan`)."""
    scenario = plain_scenario(model, gpu)
    return float(kv_plan(scenario, find_gpu(gpu), find_model(model)).kv_bytes)


def sharing(name: str) -> float:
    """Layers of a catalog model to one KV cache."""
    model = find_model(name)
    return model.layers / model.kv_owners


def catalog_kv_heads(name: str) -> float:
    """KV heads of a catalog model."""
    return float(find_model(name).kv_heads)


def catalog_heads(name: str) -> float:
    """Query heads of a catalog model."""
    return float(find_model(name).heads)


def gpu_ops(name: str, kind: str) -> float:
    """Peak dense operations per second of a catalog GPU, for `int8` or `bf16`."""
    gpu = find_gpu(name)
    return {"int8": gpu.int8_ops_per_s, "bf16": gpu.bf16_ops_per_s}[kind]


def plain_scenario(model: str, gpu: str) -> Scenario:
    """A scenario of one replica with that model and GPU, and all else by default."""
    return Scenario.model_validate(
        {
            "schema_version": 1,
            "name": "audit",
            "model": model,
            "gpu": gpu,
            "traffic": {"kind": "poisson", "messages_per_s": 1.0},
        }
    )


@cache
def step_curves(model: str, gpu: str) -> Curves:
    """Step times of one replica on one GPU."""
    return build_step_time(plain_scenario(model, gpu)).curves


def prefill_tokens_per_s(model: str, gpu: str, tokens: float) -> float:
    """Prompt tokens per second of one GPU that only prefills, one chunk of *tokens* to a step."""
    curves = step_curves(model, gpu)
    rows, window = round(tokens), find_model(model).window or round(tokens)
    pairs = rows * (rows + 1) // 2
    beyond = max(0, rows - window)
    near = pairs - beyond * (beyond + 1) // 2
    return rows / _step_s(curves, rows, 1, 0.0, prefill_ns(curves, pairs, near))


def decode_tokens_per_s(model: str, gpu: str, batch: float, context: float) -> float:
    """Output tokens per second of one GPU that decodes *batch* sequences of one context."""
    curves = step_curves(model, gpu)
    sequences, tokens = round(batch), round(context)
    near = sequences * find_model(model).in_window(tokens)
    attention = decode_ns(curves, sequences * tokens, near, sequences)
    return sequences / _step_s(curves, sequences, sequences, attention, 0.0)


def _step_s(curves: Curves, rows: int, seqs: int, decode: float, prefill: float) -> float:
    return step_ns(fixed_ns(curves, rows, seqs), decode, prefill) * 1e-9


def rounded_up(value: float) -> float:
    """The next whole number."""
    return float(math.ceil(value))


def rounded(value: float) -> float:
    """The nearest whole number."""
    return float(round(value))


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "kv_bytes": kv_bytes,
    "stored_kv": stored_kv,
    "undone_kv": undone_kv,
    "kv_room": kv_room,
    "sharing": sharing,
    "kv_heads_of": catalog_kv_heads,
    "heads_of": catalog_heads,
    "gpu_ops": gpu_ops,
    "training_speed": training_speed,
    "prefill_tokens_per_s": prefill_tokens_per_s,
    "decode_tokens_per_s": decode_tokens_per_s,
    "ceil": rounded_up,
    "round": rounded,
    "exp": math.exp,
    "least": min,
    "most": max,
}
"""Functions by the name that formulas call them by."""
