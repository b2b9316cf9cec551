"""How the gradients of ranks come together: exactly, in bf16, or through Squinch.

With torchrun each process is a rank. Without, ranks are rehearsed: their gradients are computed one
after the other and put together by the same arithmetic.
"""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import nn

from kernels.training.demo.options import Tricks
from kernels.training.squinch.codec import packed_bytes
from kernels.training.squinch.exchange import Options, Reducer, Rehearsal


def flat(model: nn.Module) -> torch.Tensor:
    """All gradients of a model, float32; of a parameter without one zeros. They are taken out."""
    parts = []
    for p in model.parameters():
        parts.append(torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten())
        p.grad = None
    return torch.cat(parts)


def put(model: nn.Module, gradients: torch.Tensor) -> None:
    """The other way."""
    at = 0
    for p in model.parameters():
        p.grad = gradients[at : at + p.numel()].view_as(p)
        at += p.numel()


class Exchange:
    """The ranks of a run."""

    def __init__(self, tricks: Tricks) -> None:
        self.tricks = tricks
        options = Options(stochastic=tricks.stochastic, feedback=tricks.feedback)
        self.is_real = dist.is_initialized()
        self.ranks = dist.get_world_size() if self.is_real else tricks.ranks
        self.rank = dist.get_rank() if self.is_real else 0
        self._rehearsal = Rehearsal(self.ranks, options)
        self._reducer = Reducer(options) if self.is_real else None

    @property
    def here(self) -> range:
        """The ranks whose gradients are computed in this process."""
        return range(self.rank, self.rank + 1) if self.is_real else range(self.ranks)

    def mean(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        """Of flat gradients of the ranks that are here, over all ranks."""
        if self.ranks == 1:
            return parts[0]
        if self._reducer is not None:
            return self._real(parts[0])
        if self.tricks.gradients == "squinch":
            return self._rehearsal.all_reduce(parts)
        if self.tricks.gradients == "bf16":
            total = parts[0].bfloat16()
            for part in parts[1:]:
                total = total + part.bfloat16()
            return total.float() / self.ranks
        return torch.stack(list(parts)).mean(0)

    def _real(self, mine: torch.Tensor) -> torch.Tensor:
        if self.tricks.gradients == "squinch" and self._reducer is not None:
            return self._reducer.all_reduce(mine, "all")
        sent = mine.bfloat16() if self.tricks.gradients == "bf16" else mine
        dist.all_reduce(sent)
        return sent.float() / self.ranks

    def agree(self, values: torch.Tensor) -> torch.Tensor:
        """The mean over real ranks of what each keeps for itself (running limits, losses)."""
        if self.is_real:
            dist.all_reduce(values)
            values = values / self.ranks
        return values

    def bytes_a_step(self, count: int) -> int:
        """What a rank sends to the others in one step, of `count` gradients."""
        each = {"fp32": 4 * count, "bf16": 2 * count, "squinch": packed_bytes(count)}
        return 2 * each[self.tricks.gradients] * (self.ranks - 1) // self.ranks
