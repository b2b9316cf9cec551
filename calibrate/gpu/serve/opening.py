"""A serving engine on a model that is loaded: its limits are those of the model's cache."""

from typing import NamedTuple

from calibrate.engine.clock import Clock
from calibrate.engine.engine import Engine, Sizes
from calibrate.engine.executor import Executor
from calibrate.engine.journal import Journal
from calibrate.engine.memory.candidates import extra_blocks
from calibrate.engine.memory.free import Pool
from calibrate.engine.memory.host_tier import NO_HOST, Host, reserve_of, ring_pages
from calibrate.engine.memory.rings import reserve_pages
from calibrate.gpu.serve.executor import ModelExecutor, sizes_of
from calibrate.gpu.serve.host_memory import HostMemory, Told
from calibrate.gpu.serve.host_pool import HostPool
from calibrate.gpu.serve.lanes import make_queues
from calibrate.gpu.serve.scoring import GuidedScorer
from kaiju_sim.engine.limits import Limits
from kaiju_sim.engine.policy.kv.memory import blocks_of
from kaiju_sim.steptime.curves import Curves
from kernels.common.layout import PAGE
from kernels.model.config import ModelConfig
from kernels.model.guided.beam import WhenAllFiltered
from kernels.model.guided.classifier import HeadNames
from kernels.model.guided.scoring import Rules
from kernels.model.steps.cache import CachePlan, window_pages
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


def host_memory(
    runner: Runner, limits: Limits, sizes: Sizes, clock: Clock, told: Told
) -> HostMemory:
    """Host memory for an engine of these sizes. Without windows a block is a page of all layers."""
    cache = runner.cache
    far, near = (
        [part for x in cache.config.owners(is_global=kind) for part in cache.of(x)]
        for kind in (True, False)
    )
    beside = reserve_of(sizes.host, limits, blocks_of(sizes.context, limits.shift))
    pages, windows = (own + more for own, more in zip(sizes.host, beside, strict=True))
    pools = {Pool.GLOBAL: (far if limits.windows else far + near, pages)}
    if limits.windows:
        pools[Pool.LOCAL] = near, windows * (ring_pages(limits) - 1)
    kinds = {kind: HostPool(*pool) for kind, pool in pools.items() if all(pool)}
    return HostMemory(kinds, make_queues(runner.model.device), clock, told)


def open_engine(
    runner: Runner, limits: Limits, curves: Curves, clock: Clock, inside: int,
    journal: Journal | None = None, host: Host = NO_HOST, told: Told | None = None,
    executor: Executor | None = None, guide: Guide | None = None,
) -> Engine:  # fmt: skip
    """An empty engine whose steps the runner runs. `inside`: requests that it takes at most;
    `executor`: one around a `ModelExecutor` of that runner, if not that alone (without host
    memory or candidates); `told` of each transfer to or from host memory; `guide`: where messages
    have candidates, how these are judged, by the runner's classifier.

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
    assert executor is None or not (any(host) or guide), "an executor around another one is plain"
    memory = None
    if any(host):
        memory = host_memory(runner, limits, sizes, clock, told or (lambda transfer: None))
    own = ModelExecutor(runner, memory)
    scorer = None if guide is None else GuidedScorer(own, *guide)
    return Engine(limits, curves, sizes, executor or own, clock, journal, scorer)
