"""Engines on a model for comparing with the simulator: one after the other, each empty, with all
steps captured before the first message."""

import gc
from typing import Any

import torch

from calibrate.bench import Served, Setting, Wrap
from calibrate.engine.clock import WallClock
from calibrate.engine.engine import Engine
from calibrate.gpu.card import GpuCard
from calibrate.gpu.engine import load_engine
from calibrate.gpu.serve.executor import ModelExecutor, sizes_of
from calibrate.gpu.serve.live import most_rows, shapes_to_capture
from calibrate.gpu.serve.opening import fitted
from calibrate.gpu.tables import TableMaker
from calibrate.measure.seam import Card
from calibrate.shapes import StepShape
from kaiju_sim.engine.limits import Limits
from kaiju_sim.steptime.curves import Curves
from kernels.model.config import ModelConfig
from kernels.model.model import KaijuModel
from kernels.model.steps.cache import CachePlan, KVCache, page_bytes, window_pages
from kernels.model.steps.runner import Runner


class ModelBench:
    """`calibrate.fidelity.serve.bench.Bench` on a model."""

    is_timed = True

    def __init__(self, model: KaijuModel, runner: Runner, card: Card) -> None:
        """A model that is loaded, with the runner of its steps and the cache that is to serve."""
        self.card = card
        self.vocab = model.config.vocab
        self._model, self._plan, self._rows = model, runner.cache.plan, runner.rows
        self._runner: Runner | None = runner
        self._captured: set[StepShape] = set()

    @property
    def runner(self) -> Runner:
        """Of the pools that there are now."""
        assert self._runner is not None
        return self._runner

    def fit(self, limits: Limits, context: int) -> Setting:
        """Pools of the wanted kind (the other kind's are given up for them), all steps captured."""
        plan = self._plan if limits.windows else one_pool(self._model.config, self._plan)
        if self.runner.cache.plan != plan:
            self._open_pools(plan)
        config = self._model.config
        fit = fitted(limits, config, plan)
        sizes = sizes_of(config, plan, fit, 1)
        assert context <= sizes.context, "the kernels take sequences of that length"
        for shape in shapes_to_capture(most_rows(fit), fit.max_seqs):
            if shape not in self._captured:
                self.runner.run(TableMaker(config, plan).step(shape, 0))
                self._captured.add(shape)
        return Setting(fit, sizes.blocks, sizes.reserve, sizes.context)

    def serve(self, setting: Setting, curves: Curves, inside: int, wrap: Wrap) -> Served:
        """An empty engine; its pages hold what they held."""
        clock = WallClock()
        executor = wrap(ModelExecutor(self.runner), clock)
        sizes = setting.sizes(inside)
        return Served(Engine(setting.limits, curves, sizes, executor, clock), clock)

    def versions(self) -> dict[str, Any]:
        """CUDA's."""
        return {"cuda": str(torch.version.cuda)}

    def close(self) -> None:
        """The card is no longer watched; memory goes with the process."""
        close = getattr(self.card, "close", None)
        if close is not None:
            close()

    def _open_pools(self, plan: CachePlan) -> None:
        device = self._model.device
        self._runner = None
        self._captured.clear()
        gc.unfreeze()
        gc.collect()  # engines that have served hold the runner in circles
        if device.type == "cuda":
            torch.cuda.empty_cache()
        cache = KVCache(self._model.config, plan, device)
        cache.fill_random(0)
        self._runner = Runner(self._model, cache, self._rows)


def one_pool(config: ModelConfig, plan: CachePlan) -> CachePlan:
    """The same memory as pages that have both layers' KV: the two pools are equally large."""
    whole, local = page_bytes(config, is_global=True), page_bytes(config, is_global=False)
    pages = (plan.global_pages * whole + plan.local_pages * local) // (whole + local)
    return CachePlan(pages, 0, window_pages(config), pages if config.window else 0)


def make_bench(config: ModelConfig) -> ModelBench:
    """On this process's first GPU, with the memory that a measuring job leaves for KV."""
    device = torch.device("cuda", 0)
    torch.cuda.set_device(device)
    engine = load_engine(config, device)
    return ModelBench(engine.model, engine.runner, GpuCard())
