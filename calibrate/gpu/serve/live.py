"""A model that is to be served: on a GPU, or a tiny one on the CPU."""

from collections.abc import Iterator
from dataclasses import replace

import torch

from calibrate.engine.clock import WallClock
from calibrate.engine.opened import Opened, Wanted
from calibrate.gpu.engine import load_engine, state_of
from calibrate.gpu.serve.opening import open_engine
from calibrate.gpu.steps import seed_of
from calibrate.models import config_of
from calibrate.shapes import Chunk, StepShape
from kaiju_sim.engine.limits import Limits
from kaiju_sim.errors import UserError
from kernels.model.config import ModelConfig, tiny
from kernels.model.model import KaijuModel
from kernels.model.steps.cache import KVCache, plan_cache
from kernels.model.steps.runner import DECODE_SHAPES, MOST_CHUNKS, Runner
from kernels.model.steps.step import padded_rows

CONTEXT = 64
"""Of the decodes of a step that is only run to capture it."""
TINY_BYTES = 60_000_000
"""KV of the tiny model."""


def open_served(wanted: Wanted) -> Opened:
    """The model with its engine, ready: nothing is compiled or captured while it serves.

    UserError where it does not fit, or its weights are not the model's.
    """
    runner = _tiny_runner(wanted) if wanted.model is None else _runner(wanted)
    config = runner.model.config
    try:
        engine = open_engine(runner, wanted.limits, wanted.curves, WallClock(), wanted.inside)
    except ValueError as error:
        raise UserError(f"{config.name} cannot be served so: {error}") from error
    return Opened(engine, config.name, config.vocab)


def most_rows(limits: Limits) -> int:
    """Token rows of the largest step."""
    return max(limits.token_budget, limits.max_seqs)


def _runner(wanted: Wanted) -> Runner:
    assert wanted.model is not None
    config, rows = config_of(wanted.model), most_rows(wanted.limits)
    if wanted.limits.max_seqs > DECODE_SHAPES[-1]:
        raise UserError(f"--max-seqs: must be {DECODE_SHAPES[-1]} at most")
    device = torch.device("cuda", 0)
    torch.cuda.set_device(device)
    engine = load_engine(config, device, max_rows=rows, weights=wanted.weights)
    for shape in shapes_to_capture(rows, wanted.limits.max_seqs):
        engine.runner.run(engine.maker.step(shape, seed_of(shape)))
    return engine.runner


def shapes_to_capture(rows: int, decodes: int) -> Iterator[StepShape]:
    """A step of each shape that steps of so many rows and decodes are run as, and of each number of
    tokens that a head is captured for."""
    rooms = (0, 1, *(room + 1 for room in DECODE_SHAPES[:-1]))
    for size in sorted({padded_rows(n) for n in range(1, rows + 1)}):
        full, alone = min(size, rows), min(size, decodes)
        if padded_rows(alone) == size:
            yield StepShape((CONTEXT,) * alone)
        for least in rooms:
            if least <= min(decodes, full - 1):
                yield StepShape((CONTEXT,) * least, (Chunk(full - least, 0),))
    ends = min(MOST_CHUNKS, rows - decodes)
    if ends > 0:
        yield StepShape((CONTEXT,) * decodes, (Chunk(1, CONTEXT),) * ends)


def tiny_config() -> ModelConfig:
    """Two layers, of which the interpreter runs a step in about a second."""
    return replace(
        tiny(), hidden=128, heads=2, ffn=128, vocab=128, kv_owner=(0, 1), global_layers=(1,),
        window=128,
    )  # fmt: skip


def _tiny_runner(wanted: Wanted) -> Runner:
    config, rows = tiny_config(), most_rows(wanted.limits)
    model = KaijuModel(config, state_of(config, wanted.weights))
    plan = plan_cache(config, TINY_BYTES, context=1024, rows=rows, chunks=MOST_CHUNKS)
    return Runner(model, KVCache(config, plan, "cpu"), rows)
