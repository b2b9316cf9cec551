"""What operators are run on: the model, its cache, and random numbers."""

from dataclasses import dataclass, replace
from functools import cached_property

import torch

from calibrate.gpu.operators.replay import Call
from calibrate.gpu.tables import TableMaker
from calibrate.shapes import StepShape
from kernels.common.layout import PAGE
from kernels.model.model import KaijuModel
from kernels.model.steps.cache import KVCache
from kernels.model.steps.step import Step

COPIED_BYTES = 256 << 20
"""Copies of what an operator reads and writes of activations, all together."""
FEWEST_COPIES, MOST_COPIES = 2, 32
MOST_DECODES = 512
"""Rows of a step beyond these are prefill."""


@dataclass(frozen=True)
class Bed:
    """A model with its cache. All that is drawn follows from `seed`."""

    model: KaijuModel
    cache: KVCache
    seed: int

    @property
    def device(self) -> torch.device:
        """Of the model."""
        return self.model.device

    @cached_property
    def generator(self) -> torch.Generator:
        """Random numbers on the device."""
        return torch.Generator(self.device).manual_seed(self.seed)

    def kind(self, layer: int) -> str:
        """`global` or `local`."""
        return "global" if self.model.config.is_global(layer) else "local"

    def copies(self, size: int) -> int:
        """How many copies of `size` bytes rotate. A single one is run in the interpreter."""
        if self.device.type != "cuda":
            return 1
        return min(MOST_COPIES, max(FEWEST_COPIES, COPIED_BYTES // size))

    def normal(self, *size: int, spread: float = 1.0) -> torch.Tensor:
        """bfloat16 N(0, spread)."""
        out = torch.empty(size, dtype=torch.bfloat16, device=self.device)
        return out.normal_(0.0, spread, generator=self.generator)

    def activations(self, rows: int, width: int, *, squared: bool = False) -> torch.Tensor:
        """Inputs of a product in the model's type, distributed as the model's are: norm outputs,
        N(0, 1) clamped at the limit; or, `squared`, squared ReLUs, of which half are zero."""
        config = self.model.config
        value = self.normal(rows, width).clamp_(-config.limit, config.limit)
        scale = config.activation_scale
        if squared:
            value, scale = value.clamp_(min=0).square_(), config.middle_scale
        if config.weights != "int8":
            return value
        return value.div_(scale).round_().clamp_(-127, 127).to(torch.int8)

    def step(self, shape: StepShape) -> Step:
        """A step of that shape on random pages; pages are met twice where a pool is too small."""
        plan = self.cache.plan
        longest = max([*shape.decodes, *(c.cached + c.new for c in shape.chunks)])
        wanted = (len(shape.decodes) + len(shape.chunks)) * (-(-longest // PAGE))
        large = replace(
            plan, global_pages=max(plan.global_pages, wanted),
            transient_pages=plan.transient_pages + max(0, wanted - plan.local_pages),
        )  # fmt: skip
        return TableMaker(self.model.config, large).step(shape, self.seed)

    def pages(self, kind: str) -> int:
        """Of a pool."""
        plan = self.cache.plan
        return plan.global_pages if kind == "global" else plan.local_pages

    def shuffled(self, table: torch.Tensor, kind: str) -> torch.Tensor:
        """The table with every page exchanged for another one of the pool, at random."""
        order = torch.randperm(self.pages(kind), generator=self.generator, device=self.device)
        return order.to(torch.int32)[table.long() % self.pages(kind)]

    def slots(self, rows: int, kind: str) -> torch.Tensor:
        """Where so many rows write K and V: decode rows anywhere, prefill rows one after the
        other; none twice."""
        count = self.pages(kind)
        order = torch.randperm(count, generator=self.generator, device=self.device)
        row = torch.arange(rows, device=self.device)
        if rows <= MOST_DECODES:
            offset = (row // count + 37 * (row % count)) % PAGE
            return (order[row % count] * PAGE + offset).to(torch.int32)
        return (order[row // PAGE % count] * PAGE + row % PAGE).to(torch.int32)

    def ints(self, count: int, below: int) -> torch.Tensor:
        """int32, uniform."""
        out = torch.randint(0, below, (count,), generator=self.generator, device=self.device)
        return out.to(torch.int32)


Calls = list[Call]
