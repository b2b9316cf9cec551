"""A serving engine on a model that is loaded: its limits are those of the model's cache."""

from collections.abc import Callable
from typing import NamedTuple

import torch

from calibrate.engine.clock import Clock
from calibrate.engine.engine import Engine, Sizes
from calibrate.engine.executor import Executor
from calibrate.engine.journal import Journal
from calibrate.engine.memory.candidates import extra_blocks
from calibrate.engine.memory.free import Pool
from calibrate.engine.memory.host_tier import NO_HOST, Host, reserve_of, ring_pages
from calibrate.engine.memory.rings import reserve_pages
from calibrate.engine.served.machine import check_fits
from calibrate.engine.served.seam import Rates
from calibrate.gpu.serve.executor import ModelExecutor, sizes_of
from calibrate.gpu.serve.host_memory import HostMemory, Told
from calibrate.gpu.serve.host_pool import HostPool, pinned_bytes
from calibrate.gpu.serve.lanes import make_queues
from calibrate.gpu.serve.scoring import GuidedScorer
from kaiju_sim.engine.limits import Limits
from kaiju_sim.engine.policy.kv.memory import blocks_of
from kaiju_sim.steptime.curves import Curves
from kaiju_sim.steptime.memory import host_sizes
from kernels.common.layout import PAGE
from kernels.model.config import ModelConfig
from kernels.model.guided.beam import WhenAllFiltered
from kernels.model.guided.classifier import HeadNames
from kernels.model.guided.scoring import Rules
from kernels.model.steps.cache import CachePlan, KVCache, page_bytes, window_pages
from kernels.model.steps.runner import Runner

MOST_CANDIDATES = 16
"""Tokens that one row of a captured step may be drawn for: it has room for as many samples."""


class Guide(NamedTuple):
    """How candidates are judged."""

    rules: Rules
    heads: HeadNames
    """Names of the classifier's outputs."""
    when_all_filtered: WhenAllFiltered = "flag"


def fitted(limits: Limits, config: ModelConfig, plan: CachePlan, host: Host = NO_HOST) -> Limits:
    """The limits with the model's page and window, and as many windows as the cache's local pool
    holds beside the reserve; candidates hold as many of these pages as they need. A simulation that
    is to be compared takes the same.

    ValueError if there is no room for one.
    """
    fixed = limits._replace(shift=PAGE.bit_length() - 1, window=config.window or 0)
    fixed = fixed._replace(extra=extra_blocks(fixed))
    if limits.windows == 0 or config.window is None:
        return fixed._replace(windows=0, retain=0)
    reserve = reserve_pages(fixed, host=any(host))
    windows = (plan.local_pages - reserve) // window_pages(config)
    if windows < 1:
        raise ValueError(f"the local pool of {plan.local_pages} pages has no room for a window")
    return fixed._replace(windows=windows)


def kv_bytes(limits: Limits, config: ModelConfig) -> tuple[int, int]:
    """Bytes of a block and of a window. Without windows a block has all layers' KV."""
    far, near = (page_bytes(config, is_global=kind) for kind in (True, False))
    return (far, window_pages(config) * near) if limits.windows else (far + near, 0)


def host_of(size: int, limits: Limits, config: ModelConfig, plan: CachePlan) -> Host:
    """What so many bytes of host memory hold, divided as the simulator does. `limits`: fitted to
    the cache with host memory."""
    pools = plan.global_pages, limits.windows
    return Host(*host_sizes(size, *pools, *kv_bytes(limits, config)))


def linked(limits: Limits, config: ModelConfig, rates: Rates) -> Limits:
    """The limits with times on a link to host memory; they are fitted to the cache."""
    block, window = (1e9 * size for size in kv_bytes(limits, config))
    return limits._replace(
        load_ns=block / rates.into, window_load_ns=window / rates.into,
        store_ns=block / rates.out, window_store_ns=window / rates.out,
    )  # fmt: skip


def host_pages(limits: Limits, sizes: Sizes) -> dict[Pool, int]:
    """Pages of host memory for an engine of these sizes, by where they come from."""
    beside = reserve_of(sizes.host, limits, blocks_of(sizes.context, limits.shift))
    blocks, windows = (own + more for own, more in zip(sizes.host, beside, strict=True))
    local = windows * (ring_pages(limits) - 1) if limits.windows else 0
    return {kind: n for kind, n in ((Pool.GLOBAL, blocks), (Pool.LOCAL, local)) if n}


def host_memory(
    runner: Runner, limits: Limits, sizes: Sizes, clock: Clock, told: Told
) -> HostMemory:
    """Host memory for an engine of these sizes. Without windows a block is a page of all layers.
    UserError, before anything is taken, where this machine has not so much."""
    pages, parts = host_pages(limits, sizes), host_parts(runner.cache, limits)
    wide = {kind: sum(part[0].nbytes for part in parts[kind]) for kind in pages}
    check_fits(sum(pinned_bytes(wide[kind], n) for kind, n in pages.items()), "takes")
    try:
        pools = {kind: HostPool(parts[kind], n) for kind, n in pages.items() if parts[kind]}
    except RuntimeError as error:  # CUDA's, if it will not pin so much
        reason = str(error).partition("\n")[0]
        raise ValueError(f"kv.host_memory: cannot be taken: {reason}") from error
    return HostMemory(pools, make_queues(runner.model.device), clock, told)


def host_parts(cache: KVCache, limits: Limits) -> dict[Pool, list[torch.Tensor]]:
    """K and V of the layers that a page of each pool has."""
    far, near = (
        [part for x in cache.config.owners(is_global=kind) for part in cache.of(x)]
        for kind in (True, False)
    )
    return {Pool.GLOBAL: far if limits.windows else far + near, Pool.LOCAL: near}


def open_engine(
    runner: Runner, limits: Limits, curves: Curves, clock: Clock, inside: int,
    journal: Journal | None = None, host: Host = NO_HOST, told: Told | None = None,
    wrap: Callable[[ModelExecutor], Executor] | None = None, guide: Guide | None = None,
) -> Engine:  # fmt: skip
    """An empty engine whose steps the runner runs. `inside`: requests that it takes at most;
    `wrap` puts an executor around the model's; `told` of each transfer to or from host memory;
    `guide`: where messages have candidates, how these are judged, by the runner's classifier.

    ValueError where the largest step of these limits has more rows than the runner's.
    """
    decodes = limits.max_seqs * limits.candidates
    rows = max(limits.token_budget, decodes)  # prefill gets what decodes leave
    if limits.candidates > MOST_CANDIDATES:
        raise ValueError(f"candidates: {limits.candidates}, must be {MOST_CANDIDATES} at most")
    if rows > runner.rows:
        raise ValueError(f"a step may have {rows} rows, the runner's {runner.rows} at most")
    config, plan = runner.model.config, runner.cache.plan
    limits = fitted(limits, config, plan, host)
    sizes = sizes_of(config, plan, limits, inside, host)
    memory = None
    if any(host):
        memory = host_memory(runner, limits, sizes, clock, told or (lambda transfer: None))
    own = ModelExecutor(runner, memory)
    scorer = None if guide is None else GuidedScorer(own, *guide)
    executor = own if wrap is None else wrap(own)
    return Engine(limits, curves, sizes, executor, clock, journal, scorer)
