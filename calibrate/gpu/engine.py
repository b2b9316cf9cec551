"""A model on this process's GPU, as large a KV cache as fits, and the runner of its steps."""

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from calibrate.gpu.tables import TableMaker
from calibrate.shapes import Chunk, StepShape
from kaiju_sim.errors import UserError
from kernels.common.layout import PAGE
from kernels.model.config import ModelConfig
from kernels.model.head import Head
from kernels.model.model import KaijuModel, Reduce
from kernels.model.parallel import least
from kernels.model.state.load import StateError, classifier_layout, load_state
from kernels.model.state.weights import random_state, rank_config, state_layout
from kernels.model.steps.cache import KVCache, plan_cache
from kernels.model.steps.runner import DECODE_SHAPES, MOST_CHUNKS, Runner

MAX_ROWS = 4096
"""Token rows of a step: the largest prefill that is measured."""
CONTEXT = 8192
"""The sequences that the two pools are balanced for, as in the simulator."""
RESERVE = 8_000_000_000
"""Memory beside weights and KV: activations and logits of the largest step (0.5 GB), graphs (1 to
2 GB for some 200 shapes), the context and its libraries, inputs of single operators (3 GB)."""


MakeHead = Callable[[KaijuModel, Mapping[str, torch.Tensor]], Head]
"""From a model and its tensors, to which a checkpoint's classifier belongs."""


@dataclass
class Engine:
    """One rank."""

    config: ModelConfig
    """Of the whole model."""
    model: KaijuModel
    cache: KVCache
    runner: Runner
    maker: TableMaker
    compile_s: float
    """Seconds of the first steps, in which kernels are compiled."""

    def kv_blocks(self) -> dict[str, int]:
        """The pools: pages of each, and of one window."""
        plan = self.cache.plan
        return {
            "block_tokens": PAGE, "global": plan.global_pages,
            "local": plan.windows * plan.window_pages, "window_blocks": plan.window_pages,
        }  # fmt: skip


def load_engine(
    config: ModelConfig, device: torch.device, *, rank: int = 0, ranks: int = 1,
    reduce: Reduce | None = None, max_rows: int = MAX_ROWS, reserve: int = RESERVE, seed: int = 0,
    kv_bytes: int | None = None, weights: Path | None = None, head: MakeHead | None = None,
) -> Engine:  # fmt: skip
    """Random weights (or a checkpoint's), all memory that is left for KV (or `kv_bytes`), random
    content in it, and each kernel compiled. `head`: makes another one than a head without
    classifier. UserError where the model does not fit."""
    mine = rank_config(config, ranks)
    # What a model before left cached, one that failed in the middle, would count as used below.
    gc.unfreeze()
    gc.collect()
    torch.cuda.empty_cache()
    try:
        if weights is not None:
            assert ranks == 1, "checkpoints are loaded whole"
            state = state_of(config, weights, device)
        else:
            state = random_state(config, seed, device, rank=rank, ranks=ranks)
        model = KaijuModel(mine, state, reduce)
        made = None if head is None else head(model, state)
        torch.cuda.empty_cache()  # what drawing the weights has left would count as used
        free = kv_bytes if kv_bytes is not None else torch.cuda.mem_get_info(device)[0] - reserve
        free = least(free, device)  # the ranks' pools are alike: they run the same steps
        plan = plan_cache(mine, free, context=CONTEXT, rows=max_rows, chunks=MOST_CHUNKS)
        cache = KVCache(mine, plan, device)
    except (torch.cuda.OutOfMemoryError, ValueError) as error:
        raise UserError(f"{config.name} does not fit this GPU: {_first_line(error)}") from error
    cache.fill_random(seed)
    runner = Runner(model, cache, max_rows, made)
    engine = Engine(config, model, cache, runner, TableMaker(mine, plan), 0.0)
    begin = time.perf_counter()
    for shape in first_shapes(max_rows):
        _try(engine, shape)
    engine.compile_s = time.perf_counter() - begin
    gc.collect()
    gc.freeze()  # what is here stays: no collection shall look at it between two steps
    return engine


def state_of(
    config: ModelConfig, weights: Path | None, device: torch.device | str = "cpu"
) -> dict[str, torch.Tensor]:
    """A checkpoint's tensors, those of a classifier too if it has one, or random ones; UserError
    where they are not this model's."""
    if weights is None:
        return random_state(config, 0, device)
    layout, more = state_layout(config), classifier_layout(config.hidden)
    try:
        return load_state(weights, layout, device, optional=more)
    except (StateError, OSError) as error:
        raise UserError(f"--weights: {_first_line(error)}") from error


def first_shapes(max_rows: int) -> Iterator[StepShape]:
    """A step for each class of rows that products have a kernel of their own for, and for each size
    of decode batch, with and without prefill: after them, little is left to compile."""
    for batch in (1, 40, 100, 150, 200, 300, DECODE_SHAPES[-1]):
        if batch <= max_rows:
            yield StepShape((300,) * batch)
    for new in (8, 40, 100, 150, 250, 350, 480, 600, 1000, 2048, 4096):
        if new <= max_rows:
            yield StepShape((), (Chunk(new, 256),))
    yield StepShape((300,) * 4, (Chunk(8, 256),))


def _try(engine: Engine, shape: StepShape) -> None:
    """Run a shape once, if the pools hold it."""
    try:
        step = engine.maker.step(shape, 0)
    except ValueError:
        return
    engine.runner.run(step)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
