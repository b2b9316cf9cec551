"""What a shape takes of the KV pools, and whether the engine can hold it.

Two pools of pages of 128 tokens: global layers keep a sequence's whole context, local ones what
their window still sees. Decodes that share their first pages hold them once in the global pool.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from calibrate.shapes import Limits, StepShape
from kaiju_sim.catalog.gpus import Gpu
from kaiju_sim.catalog.models import Model

PAGE = 128
MAX_ROWS, MAX_DECODES, MAX_CONTEXT = 4096, 512, 32768
USED = 0.9
"""Share of the GPU's memory that an engine usually takes."""
ACTIVATIONS = 2 * 2**30
LOCAL_WINDOWS = MAX_DECODES + 64


@dataclass(frozen=True)
class Capacity:
    """The pools' pages and the engine's limits."""

    global_blocks: int
    local_pages: int
    """0: there are no local layers."""
    limits: Limits
    window: int | None = 1024

    def holds(self, shape: StepShape) -> bool:
        """Whether a step of this shape can be run."""
        limits = self.limits
        small = shape.rows <= limits.max_rows and len(shape.decodes) <= limits.max_decodes
        if not small or shape.longest > limits.max_context:
            return False
        fits = global_blocks_of(shape) <= self.global_blocks
        return fits and (
            self.window is None or local_pages_of(shape, self.window) <= self.local_pages
        )


def pages_of(tokens: int) -> int:
    """Pages that hold so many tokens."""
    return -(-tokens // PAGE)


def global_blocks_of(shape: StepShape) -> int:
    """Pages of the global pool."""
    decodes = sum(pages_of(context) for context in shape.decodes)
    groups = -(-len(shape.decodes) // shape.shared_group)
    saved = (len(shape.decodes) - groups) * (shape.shared_tokens // PAGE)
    return decodes - saved + sum(pages_of(c.cached + c.new) for c in shape.chunks)


def local_pages_of(shape: StepShape, window: int) -> int:
    """Pages of the local pool: a window and the page being filled; a chunk's own pages besides."""
    ring = pages_of(window) + 1
    decodes = sum(min(pages_of(context), ring) for context in shape.decodes)
    chunks = (min(pages_of(c.cached + c.new), ring + pages_of(c.new)) for c in shape.chunks)
    return decodes + sum(chunks)


def measured_capacity(kv_blocks: Mapping[str, int], limits: Limits, model: Model) -> Capacity:
    """What the real engine says."""
    return Capacity(kv_blocks["global"], kv_blocks["local"], limits, model.window)


def expected_capacity(gpu: Gpu, model: Model, tensor_parallel: int) -> Capacity:
    """About what an engine would have, by memory arithmetic: for a plan without a GPU."""
    weights = model.rank_weight_bytes(tensor_parallel)
    left = int(gpu.hbm_bytes * USED) - gpu.reserved_bytes - weights - ACTIVATIONS
    local, windows = 0, 0
    if model.window is not None:
        page = PAGE * model.local_kv_token_bytes(tensor_parallel)
        windows = min(LOCAL_WINDOWS * (pages_of(model.window) + 1), max(left, 0) // 2 // page)
        local = windows * page
    block = PAGE * model.global_kv_token_bytes(tensor_parallel)
    limits = Limits(MAX_ROWS, MAX_DECODES, MAX_CONTEXT)
    return Capacity(max(left - local, 0) // block, windows, limits, model.window)
