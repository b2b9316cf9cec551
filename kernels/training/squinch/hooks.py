"""Squinch in PyTorch's data parallelism.

model.register_comm_hook(Channel(Reducer(options)), ddp_hook)              # DDP
model.register_comm_hook(Reducer(options), fsdp_hook)                      # FSDP 1
model.set_custom_reduce_scatter(ReduceScatter(options))                    # FSDP 2
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import GradBucket

from kernels.training.squinch.exchange import Options, Reducer

CUDA: Any = torch.cuda
"""torch does not say the types of its streams."""


class Channel:
    """A reducer with a stream of its own, so that buckets travel while the backward pass goes on.
    On a CPU there is no stream, and a bucket has arrived when the hook returns."""

    def __init__(self, reducer: Reducer) -> None:
        self.reducer = reducer
        self._stream: Any = None

    def reduce(self, x: torch.Tensor, key: object) -> torch.futures.Future[torch.Tensor]:
        """The mean of `x` over the ranks, when it is there."""
        if not x.is_cuda:
            done: torch.futures.Future[torch.Tensor] = torch.futures.Future()
            done.set_result(self.reducer.all_reduce(x, key))
            return done
        if self._stream is None:
            self._stream = CUDA.Stream(x.device)
        self._stream.wait_stream(CUDA.current_stream(x.device))
        x.record_stream(self._stream)
        future: torch.futures.Future[torch.Tensor] = torch.futures.Future(devices=[x.device])
        with CUDA.stream(self._stream):
            # The future remembers where its stream stands when the result is set.
            future.set_result(self.reducer.all_reduce(x, key))
        return future


def ddp_hook(channel: Channel, bucket: GradBucket) -> torch.futures.Future[torch.Tensor]:
    """For `DistributedDataParallel.register_comm_hook`: mean gradients of a bucket."""
    return channel.reduce(bucket.buffer(), bucket.index())


def fsdp_hook(reducer: Reducer, gradients: torch.Tensor, out: torch.Tensor) -> None:
    """For `FullyShardedDataParallel.register_comm_hook` with sharded gradients: this rank's share
    of the mean. FSDP names no parameters here, so errors cannot be fed back."""
    _refuse_feedback(reducer.options)
    reducer.reduce_scatter(gradients, out)


class ReduceScatter:
    """For `FSDPModule.set_custom_reduce_scatter`. Errors cannot be fed back here either."""

    def __init__(self, options: Options | None = None) -> None:
        self.options = options or Options()
        _refuse_feedback(self.options)
        self._reducers: dict[object, Reducer] = {}

    def allocate(
        self, size: Sequence[int], *, dtype: torch.dtype, device: torch.device
    ) -> torch.Tensor:
        """Memory for gradients."""
        return torch.empty(*size, dtype=dtype, device=device)

    def __call__(
        self, output_tensor: torch.Tensor, input_tensor: torch.Tensor,
        group: dist.ProcessGroup, op: Any, async_op: bool = False,
    ) -> None:  # fmt: skip
        """On the current stream, which FSDP has made its own for this."""
        if op not in (dist.ReduceOp.AVG, dist.ReduceOp.SUM) or async_op:
            raise ValueError(
                f"op: is {op}{', asynchronous' if async_op else ''}, must be a mean or a sum: "
                "leave the gradient divide factor as it is"
            )
        reducer = self._reducers.setdefault(group, Reducer(self.options, group))
        is_sum = bool(op == dist.ReduceOp.SUM)
        reducer.reduce_scatter(input_tensor, output_tensor, is_sum=is_sum)


def _refuse_feedback(options: Options) -> None:
    if options.feedback:
        raise ValueError("feedback: must be off with FSDP, which does not say whose gradients come")
