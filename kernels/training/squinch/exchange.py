"""Reductions over the ranks of a group, in 6 bits a gradient.

A rank packs its gradients once, and each rank is sent the tiles of its share (all-to-all); it adds
up what it got in float32. That is the reduce-scatter. An all-reduce packs the sums again and
gathers them, so every rank decodes the same bytes, and all have the same gradients to the bit.
So a gradient is rounded once on its way in, and once more in an all-reduce; bytes on the wire are
6/16 of what bf16 needs with the same algorithm.

The group's backend is whatever moves bytes: NCCL between GPUs, gloo between CPUs.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.distributed as dist

from kernels.training.squinch.codec import FORMAT, TILE, TILE_BYTES, Format, tiles_of
from kernels.training.squinch.noise import Noise
from kernels.training.squinch.pack import squinch_pack, squinch_unpack


class Options(NamedTuple):
    """How gradients are packed."""

    stochastic: bool = False
    """Unbiased rounding; else to the nearest step of the root."""
    feedback: bool = False
    """Keep what was lost, in float32, and add it to the next gradients of that key: 4 bytes a
    parameter, and another quarter byte or more for each rank's share of an all-reduce."""
    seed: int = 0
    """Of stochastic rounding; ranks draw different numbers from the same seed."""
    form: Format = FORMAT
    """What the exponent byte means."""


class Reducer:
    """Squinch in one group of ranks (None: all). Every rank calls the same methods in the same
    order."""

    def __init__(
        self, options: Options | None = None, group: dist.ProcessGroup | None = None
    ) -> None:
        self.options, self.group = options or Options(), group
        self.ranks, self.rank = dist.get_world_size(group), dist.get_rank(group)
        self.bytes_sent = 0
        """By this rank to the others, so far."""
        self._packings = 0
        self._residuals: dict[object, torch.Tensor] = {}

    def all_reduce(self, x: torch.Tensor, key: object = None) -> torch.Tensor:
        """Replaces flat gradients, float32 or bf16, by their mean over the ranks; returns them.

        `key` names them where errors are fed back: the same on every step.
        """
        share = -(-tiles_of(len(x)) // self.ranks)
        payload = torch.empty((self.ranks, share * TILE_BYTES), dtype=torch.uint8, device=x.device)
        packed = tiles_of(len(x)) * TILE_BYTES
        payload.view(-1)[packed:].zero_()  # blocks of zeros
        self._pack(x, payload.view(-1)[:packed], (key, "all"))
        mean = self._mean_of_mine(payload, share * TILE_BYTES // 6 * 8)
        mine = torch.empty_like(payload[0])
        self._pack(mean, mine, (key, "share"))
        self.bytes_sent += (self.ranks - 1) * len(mine)
        _gather(payload.view(-1), mine, self.group)
        return squinch_unpack(payload.view(-1)[:packed], len(x), form=self.options.form, out=x)

    def reduce_scatter(
        self, x: torch.Tensor, out: torch.Tensor, *, key: object = None, is_sum: bool = False
    ) -> torch.Tensor:
        """`out`: this rank's share of the mean (or sum) of flat gradients, of which each rank has
        `[ranks * len(out)]`. Raises ValueError for another size."""
        if x.numel() != self.ranks * out.numel():
            raise ValueError(
                f"x: has {x.numel()} elements, must have {self.ranks} times {out.numel()}"
            )
        payload = self._pack(x.view(self.ranks, -1), None, (key, "scatter"))
        return out.copy_(self._mean_of_mine(payload, out.numel(), is_sum=is_sum).view_as(out))

    def _pack(
        self, x: torch.Tensor, out: torch.Tensor | None, key: tuple[object, str]
    ) -> torch.Tensor:
        noise, residual = None, None
        if self.options.stochastic:
            self._packings += 1
            noise = Noise(self.options.seed + (self.rank << 32), self._packings)
        if self.options.feedback:
            residual = self._residual(key, x)
        return squinch_pack(x, noise=noise, residual=residual, form=self.options.form, out=out)

    def _residual(self, key: tuple[object, str], x: torch.Tensor) -> torch.Tensor:
        kept = self._residuals.get(key)
        if kept is None or kept.shape != x.shape:  # DDP cuts its buckets anew after a step
            kept = self._residuals[key] = torch.zeros_like(x, dtype=torch.float32)
        return kept

    def _mean_of_mine(
        self, payload: torch.Tensor, count: int, *, is_sum: bool = False
    ) -> torch.Tensor:
        """Send each rank its row; the mean of what came, float32 `[count]`."""
        got = torch.empty_like(payload)
        dist.all_to_all_single(got.view(-1), payload.view(-1), group=self.group)
        self.bytes_sent += (self.ranks - 1) * payload.shape[1]
        factor = 1.0 if is_sum else 1.0 / self.ranks
        return squinch_unpack(got, count, factor=factor, form=self.options.form)


class Rehearsal:
    """The same all-reduce for `ranks` whose gradients are all here, to the bit: what Squinch does
    to training is seen without a second GPU. `all_reduce` takes the gradients of each rank."""

    def __init__(self, ranks: int, options: Options | None = None) -> None:
        self.options, self.ranks = options or Options(), ranks
        self._residuals: dict[tuple[str, int], torch.Tensor] = {}
        self._packings = 0

    def all_reduce(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        """Their mean, as every rank would have it."""
        self._packings += 1
        count, form = len(parts[0]), self.options.form
        packed = torch.stack([self._pack("all", rank, x) for rank, x in enumerate(parts)])
        mean = squinch_unpack(packed, count, factor=1 / self.ranks, form=form)
        share = -(-tiles_of(count) // self.ranks) * TILE
        self._packings += 1
        for rank, piece in enumerate(mean.split(share)):
            mine = self._pack("share", rank, piece)
            piece.copy_(squinch_unpack(mine, len(piece), form=form))
        return mean.to(parts[0].dtype)

    def _pack(self, what: str, rank: int, x: torch.Tensor) -> torch.Tensor:
        noise, residual = None, None
        if self.options.stochastic:
            noise = Noise(self.options.seed + (rank << 32), self._packings)
        if self.options.feedback:
            zeros = torch.zeros_like(x, dtype=torch.float32)
            residual = self._residuals.setdefault((what, rank), zeros)
        return squinch_pack(x, noise=noise, residual=residual, form=self.options.form)


def _gather(out: torch.Tensor, mine: torch.Tensor, group: dist.ProcessGroup | None) -> None:
    """The parts of all ranks; torch 2.13 has another name for it, 2.11 has not."""
    gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
    gather(out, mine, group)
