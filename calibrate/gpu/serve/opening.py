"""A serving engine on a model that is loaded: its limits are those of the model's cache."""

from calibrate.engine.clock import Clock
from calibrate.engine.engine import Engine, Journal
from calibrate.engine.executor import Executor
from calibrate.engine.memory.rings import reserve_pages
from calibrate.gpu.serve.executor import ModelExecutor, sizes_of
from kaiju_sim.engine.limits import Limits
from kaiju_sim.steptime.curves import Curves
from kernels.common.layout import PAGE
from kernels.model.config import ModelConfig
from kernels.model.steps.cache import CachePlan, window_pages
from kernels.model.steps.runner import Runner


def fitted(limits: Limits, config: ModelConfig, plan: CachePlan) -> Limits:
    """The limits with the model's page and window, and as many windows as the cache's local pool
    holds beside the reserve. A simulation that is to be compared takes the same.

    ValueError if there is no room for one.
    """
    fixed = limits._replace(shift=PAGE.bit_length() - 1, window=config.window or 0)
    if limits.windows == 0 or config.window is None:
        return fixed._replace(windows=0, retain=0)
    windows = (plan.local_pages - reserve_pages(fixed)) // window_pages(config)
    if windows < 1:
        raise ValueError(f"the local pool of {plan.local_pages} pages has no room for a window")
    return fixed._replace(windows=windows)


def open_engine(
    runner: Runner, limits: Limits, curves: Curves, clock: Clock, inside: int,
    journal: Journal | None = None, executor: Executor | None = None,
) -> Engine:  # fmt: skip
    """An empty engine whose steps the runner runs. `inside`: requests that it takes at most;
    `executor`: one around a `ModelExecutor` of that runner, if not that alone.

    ValueError where the largest step of these limits has more rows than the runner's.
    """
    rows = max(limits.token_budget, limits.max_seqs)  # prefill gets what decodes leave
    if rows > runner.rows:
        raise ValueError(f"a step may have {rows} rows, the runner's {runner.rows} at most")
    config, plan = runner.model.config, runner.cache.plan
    limits = fitted(limits, config, plan)
    sizes = sizes_of(config, plan, limits, inside)
    return Engine(limits, curves, sizes, executor or ModelExecutor(runner), clock, journal)
