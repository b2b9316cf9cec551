"""The break-it variants: the same architecture with one design choice taken back.

Measured with `--variants`, each into a folder of its own. The plan of a variant is short: what says
what its choice is worth, and a few random steps. With more time (`LONG_S`) it is one that can be
fitted, too: decode at 4K context at every batch up to 256 that fits, and what a simple fit needs
beside it.
"""

from collections.abc import Iterator

from calibrate.design.capacity import Capacity
from calibrate.design.item import (
    KEEP,
    LATE,
    MIDDLE,
    StepItem,
    decode_item,
    prefill_item,
    ragged_item,
)
from calibrate.design.lists.grid import row_edges
from calibrate.shapes import StepShape
from kaiju_sim.catalog.models import Model, variant
from kaiju_sim.errors import UserError

UNDOES = {
    "gqa-8": "MQA: 8 KV heads",
    "mha": "MQA: a KV head for each query head",
    "kv-16bit": "int8 KV: fp16 KV and attention",
    "no-window": "windows: every layer sees all",
    "no-sharing": "KV sharing: every layer has its own",
    "bf16-weights": "int8 weights and activations: bf16",
    "bf16-gqa-8": "bf16 weights, fp16 KV, 8 KV heads",
    "bf16-mha": "bf16 weights, fp16 KV, a KV head for each query head",
}
"""Each variant, and what it takes back. The last two are the same architecture (windows, sharing)
as it would be built without int8 and without MQA."""
VARIANTS = tuple(UNDOES)
CONTEXT = 4096
LARGEST = 256
BATCHES = (1, 4, 8, 16, 32, 48, 64, 96, 128, 192, 256)
SHORT_BATCHES = (1, 64)
LONG_S = 120.0
"""Budget from which the long plan is measured."""


def variant_of(model: Model, name: str) -> Model:
    """The catalog model with that choice taken back; UserError if there is no such variant."""
    fields: dict[str, object] = {}
    if name not in VARIANTS:
        raise UserError(f"unknown variant {name[:40]!r}; there are: {', '.join(VARIANTS)}")
    if name.startswith("bf16"):
        fields |= {"weight_bytes": 2}
    if name.endswith("gqa-8"):
        fields |= {"kv_heads": 8}
    if name.endswith("mha"):
        fields |= {"kv_heads": model.heads}
    if name in ("kv-16bit", "bf16-gqa-8", "bf16-mha"):
        fields |= {"kv_bytes": 2}
    if name == "no-window":
        owners = model.global_kv_owners + model.local_kv_owners
        fields |= {"global_layers": model.layers, "global_kv_owners": owners, "window": None}
        fields |= {"local_layers": 0, "local_kv_owners": 0}
    if name == "no-sharing":
        fields |= {"global_kv_owners": model.global_layers, "local_kv_owners": model.local_layers}
    return variant(model, **fields)


def largest_batch(capacity: Capacity) -> int:
    """The largest batch up to 256 at 4K context that the engine holds, in eights; 0 if none."""
    fitting = (n for n in range(LARGEST, 0, -8) if capacity.holds(StepShape((CONTEXT,) * n)))
    return next(fitting, 0)


def short_steps(capacity: Capacity) -> Iterator[StepItem]:
    """Decode at 4K context alone, at 64 and at the largest batch; prefill of 512 and 2048."""
    for batch in sorted({*SHORT_BATCHES, largest_batch(capacity)} - {0}):
        yield decode_item(batch, CONTEXT, KEEP, "aim", "aim")
    for new in (512, 2048):
        yield prefill_item(new, 0, KEEP)


def long_steps(capacity: Capacity) -> Iterator[StepItem]:
    """The list of a variant that will be fitted; the short one's steps are in it."""
    largest = largest_batch(capacity)
    for batch in sorted({*BATCHES, largest} - {0}):
        yield decode_item(batch, CONTEXT, KEEP, "aim", "aim")
        yield ragged_item(batch, 1024, LATE)
        yield ragged_item(batch, CONTEXT, LATE)
        yield ragged_item(batch, 16384, MIDDLE)
    for new in (128, 512, 1024, 2048):
        for cached in (0, 2048, 8192):
            yield prefill_item(new, cached, LATE)
    for number, item in enumerate(row_edges()):
        if number % 4 == 0:
            yield item
