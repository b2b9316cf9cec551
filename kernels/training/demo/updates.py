"""What a step does to the weights: Adam for all, or ternary updates for pinned int8 weights.

A pinned layer has int8 weights with scales that never change, and nothing else: a step moves each
weight by -1, 0 or +1 of a unit, Adam goes on with embeddings, residual scales and virtual scalars.
Pinned layers are dealt out to the ranks: the one that has a layer has its momentum, decides, and
sends five trits a byte, which the others apply.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.autograd.graph import increment_version

from kernels.training.demo.gradients import Exchange
from kernels.training.demo.options import Tricks
from kernels.training.qat.linear import Int8Linear
from kernels.training.qat.quantise import Rows, quantise_rows
from kernels.training.steps.ternary import TernaryStepper, packed_bytes, ternary_apply


class Pinned(Int8Linear):
    """A layer whose weights are int8 for good. `weight` is the same in float32: a place for the
    gradient, with nothing in it that the integers do not have."""

    values: torch.Tensor
    scale: torch.Tensor

    def __init__(self, inputs: int, outputs: int, **options: Any) -> None:
        super().__init__(inputs, outputs, **options)
        rows = quantise_rows(self.weight.detach())
        self.register_buffer("values", rows.values)
        self.register_buffer("scale", rows.scale)
        self.settle()

    def rows(self) -> Rows:
        """The weight."""
        return Rows(self.values, self.scale)

    @torch.no_grad()
    def settle(self) -> None:
        """After the integers have moved."""
        torch.mul(self.values, self.scale[:, None], out=self.weight)


class Updates:
    """Adam, and the ternary steps of the pinned layers that are this process's."""

    def __init__(
        self, model: nn.Module, tricks: Tricks, exchange: Exchange, rate: float, seed: int
    ) -> None:
        self.exchange, self.rate, self.ternary_rate = exchange, rate, tricks.ternary_rate
        self.pinned = [m for m in model.modules() if isinstance(m, Pinned)]
        fixed = {id(layer.weight) for layer in self.pinned}
        free = [p for p in model.parameters() if id(p) not in fixed]
        self.adam = torch.optim.AdamW(groups(free, rate), betas=(0.9, 0.95), eps=1e-10, fused=True)
        self.steppers = {
            n: TernaryStepper(layer.values, seed=(seed << 16) + n)
            for n, layer in enumerate(self.pinned) if self._owner(n) in (None, exchange.rank)
        }  # fmt: skip

    def _owner(self, number: int) -> int | None:
        """The rank that has a layer; None where all ranks are rehearsed here."""
        return number % self.exchange.ranks if self.exchange.is_real else None

    def step(self, rate: float) -> None:
        """Apply the gradients, and take them out. `rate`: Adam's, from the schedule; ternary steps
        have the same share of their own peak."""
        for group in self.adam.param_groups:
            group["lr"] = rate
        self.adam.step()
        for group in self.adam.param_groups:  # which the fused step leaves out
            for parameter in group["params"]:
                increment_version(parameter)
        self.adam.zero_grad()
        for number, layer in enumerate(self.pinned):
            self._move(number, layer, self.ternary_rate * rate / self.rate)

    @torch.no_grad()
    def _move(self, number: int, layer: Pinned, rate: float) -> None:
        owner, stepper = self._owner(number), self.steppers.get(number)
        if stepper is not None:
            assert layer.weight.grad is not None
            packed = stepper.step(layer.weight.grad, rate)
        else:
            size = packed_bytes(layer.values.numel())
            packed = torch.empty(size, dtype=torch.uint8, device=layer.values.device)
        if owner is not None:
            dist.broadcast(packed, owner)
        if stepper is None:
            ternary_apply(layer.values, packed)
        layer.weight.grad = None
        layer.settle()

    @property
    def bytes_a_step(self) -> int:
        """What a rank sends to the others of ternary updates in one step, on average."""
        each = sum(packed_bytes(layer.values.numel()) for layer in self.pinned)
        return each * (self.exchange.ranks - 1) // self.exchange.ranks

    def state(self) -> dict[str, Any]:
        """For a checkpoint. Every rank must call this: momentum comes from where it is."""
        velocities = []
        for number, layer in enumerate(self.pinned):
            owner, stepper = self._owner(number), self.steppers.get(number)
            found = torch.zeros(layer.values.shape, device=layer.values.device)
            if stepper is not None:
                found.copy_(stepper.velocity)
            if owner is not None:
                dist.broadcast(found, owner)
            velocities.append(found.bfloat16())
        steps = max((s.steps for s in self.steppers.values()), default=0)
        return {"adam": self.adam.state_dict(), "velocities": velocities, "steps": steps}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.adam.load_state_dict(state["adam"])
        for number, stepper in self.steppers.items():
            stepper.velocity.copy_(state["velocities"][number])
            stepper.steps = state["steps"]


def groups(free: list[nn.Parameter], rate: float) -> list[dict[str, Any]]:
    """For Adam: matrices decay, vectors do not."""
    many = [p for p in free if p.dim() > 1]
    few = [p for p in free if p.dim() <= 1]
    return [
        {"params": many, "weight_decay": 0.1, "lr": rate},
        {"params": few, "weight_decay": 0.0, "lr": rate},
    ]
