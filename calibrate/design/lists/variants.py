"""The break-it variants: the same architecture with one design choice taken back.

Measured with `--variants`, each into a folder of its own: decode at 4K context at every batch up to
256 that fits, and what a simple fit needs beside it.
"""

from collections.abc import Iterator

from calibrate.design.capacity import Capacity
from calibrate.design.item import KEEP, LATE, MIDDLE, StepItem, decode_item, prefill_item
from calibrate.design.lists.grid import row_edges
from calibrate.shapes import StepShape
from kaiju_sim.catalog.models import Model, variant
from kaiju_sim.errors import UserError

VARIANTS = ("gqa-8", "mha", "kv-16bit", "no-window", "no-sharing", "bf16", "bf16-gqa-8", "bf16-mha")
CONTEXT = 4096
BATCHES = (1, 4, 8, 16, 32, 48, 64, 96, 128, 192, 256)


def variant_of(model: Model, name: str) -> Model:
    """The catalog model with that choice taken back; UserError if there is no such variant."""
    fields: dict[str, object] = {}
    if name not in VARIANTS:
        raise UserError(f"unknown variant {name[:40]!r}; there are: {', '.join(VARIANTS)}")
    if name.startswith("bf16"):
        fields |= {"weight_bytes": 2, "kv_bytes": 2}
    if name.endswith("gqa-8"):
        fields |= {"kv_heads": 8}
    if name.endswith("mha"):
        fields |= {"kv_heads": model.heads}
    if name == "kv-16bit":
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
    fitting = (n for n in range(256, 0, -8) if capacity.holds(StepShape((CONTEXT,) * n)))
    return next(fitting, 0)


def variant_steps(capacity: Capacity) -> Iterator[StepItem]:
    """The short list of a variant."""
    largest = largest_batch(capacity)
    for batch in sorted({*BATCHES, largest} - {0}):
        yield decode_item(batch, CONTEXT, KEEP)
        yield decode_item(batch, 1024, LATE)
        yield decode_item(batch, 16384, MIDDLE)
    for new in (128, 512, 1024, 2048):
        for cached in (0, 2048, 8192):
            yield prefill_item(new, cached, LATE)
    for number, item in enumerate(row_edges()):
        if number % 4 == 0:
            yield item
