"""A model that is to be served: on a GPU, or a tiny one on the CPU."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch

from calibrate.engine.clock import WallClock
from calibrate.engine.engine import Engine
from calibrate.engine.memory.host_tier import NO_HOST, Host, ring_pages
from calibrate.engine.served.seam import HostMemory, Opened, Rates, Wanted
from calibrate.engine.server.gauge import Traffic
from calibrate.gpu.engine import MakeHead, load_engine, state_of
from calibrate.gpu.serve.judges import Judged
from calibrate.gpu.serve.opening import (
    MOST_CANDIDATES,
    fitted,
    host_of,
    kv_bytes,
    linked,
    open_engine,
)
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
TINY_CONTEXT = 256
"""Of the sequences that its pools are balanced for."""


def open_served(wanted: Wanted, say: Callable[[str], None]) -> Opened:
    """The model with its engine, ready: nothing is compiled or captured while it serves.

    UserError where it does not fit, or its weights are not the model's.
    """
    check_steps(wanted.limits)
    judged = None if wanted.guide is None else Judged(wanted.guide, wanted.weights)
    if judged is not None:
        say(f"candidates are judged by {judged}")
    device = torch.device("cpu") if wanted.model is None else torch.device("cuda", 0)
    rates = rates_of(wanted.host, device)
    make = _tiny_runner if wanted.model is None else _runner
    runner = make(wanted, None if judged is None else judged.head)
    config = runner.model.config
    try:
        engine, traffic = _engine(runner, wanted, rates, judged, say)
    except ValueError as error:
        raise UserError(f"{config.name} cannot be served so: {error}") from error
    return Opened(engine, config.name, config.vocab, traffic)


def _engine(
    runner: Runner, wanted: Wanted, rates: Rates | None, judged: Judged | None,
    say: Callable[[str], None],
) -> tuple[Engine, Traffic | None]:  # fmt: skip
    """The engine, and what is seen of its link to host memory."""
    limits, host, traffic = wanted.limits, NO_HOST, None
    if wanted.host is not None and rates is not None:
        limits, host = with_host(runner, limits, wanted.host.size, rates)
        block, window = kv_bytes(limits, runner.model.config)
        traffic = Traffic(block, window // ring_pages(limits) if window else 0)
        say(
            f"host memory: {host.blocks} blocks, {host.windows} windows; policy reckons with "
            f"{rates.into / 1e9:.1f} GB/s in, {rates.out / 1e9:.1f} GB/s out"
        )
    engine = open_engine(
        runner, limits, wanted.curves, WallClock(), wanted.inside, host=host,
        told=None if traffic is None else traffic.told,
        guide=None if judged is None else judged.guide,
    )  # fmt: skip
    return engine, traffic


def with_host(runner: Runner, limits: Limits, size: int, rates: Rates) -> tuple[Limits, Host]:
    """Limits with the link, and what so many bytes of host memory hold. ValueError if nothing."""
    config, plan = runner.model.config, runner.cache.plan
    fit = fitted(limits, config, plan, Host(1, 1))
    host = host_of(size, fit, config, plan)
    if not any(host):
        raise ValueError(f"kv.host_memory: {size} bytes hold no block and no window")
    return linked(fit, config, rates), host


def rates_of(host: HostMemory | None, device: torch.device) -> Rates | None:
    """Of the link that this card has."""
    if host is None:
        return None
    return host.rates("" if device.type == "cpu" else torch.cuda.get_device_name(device))


def check_steps(limits: Limits) -> None:
    """UserError, before anything is loaded, for steps that cannot be captured."""
    if limits.candidates > MOST_CANDIDATES:
        raise UserError(
            f"engine.candidates: is {limits.candidates}, must be {MOST_CANDIDATES} at most"
        )
    if most_decodes(limits) > DECODE_SHAPES[-1]:
        raise UserError(
            f"engine.max_seqs: is {most_decodes(limits)}, must be {DECODE_SHAPES[-1]} at most"
        )


def most_decodes(limits: Limits) -> int:
    """Decode rows of the largest step: of each message, its candidates."""
    return limits.max_seqs * limits.candidates


def most_rows(limits: Limits) -> int:
    """Token rows of the largest step."""
    return max(limits.token_budget, most_decodes(limits))


def _runner(wanted: Wanted, head: MakeHead | None) -> Runner:
    assert wanted.model is not None
    config, rows = config_of(wanted.model), most_rows(wanted.limits)
    device = torch.device("cuda", 0)
    torch.cuda.set_device(device)
    engine = load_engine(
        config, device, max_rows=rows, weights=wanted.weights, kv_bytes=wanted.kv_bytes, head=head
    )
    for shape in shapes_to_capture(rows, most_decodes(wanted.limits)):
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


def _tiny_runner(wanted: Wanted, head: MakeHead | None) -> Runner:
    config, rows = tiny_config(), most_rows(wanted.limits)
    state = state_of(config, wanted.weights)
    model = KaijuModel(config, state)
    size = TINY_BYTES if wanted.kv_bytes is None else wanted.kv_bytes
    try:
        plan = plan_cache(config, size, context=TINY_CONTEXT, rows=rows, chunks=MOST_CHUNKS)
    except ValueError as error:
        raise UserError(f"--kv-memory: {error}") from error
    made = None if head is None else head(model, state)
    return Runner(model, KVCache(config, plan, "cpu"), rows, made)
