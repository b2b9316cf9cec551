"""Tensor parallelism: one process a GPU, each with its share of heads and FFN.

Query heads and the FFN's middle are divided (`state.weights.shard`). The output projection and the
FFN's second product then give partial sums, which NCCL adds up over the ranks, in the captured
graph; the sum joins the residual stream in the next norm. All ranks hold the embedding and compute
all logits, from the same sums, so they draw the same tokens without a word.

With one KV head every rank needs all of K and V: each projects them, and holds the whole KV cache.
The alternative is to divide the batch for attention: each rank holds KV of half the sequences and
attends for them with all heads, between two all-to-all exchanges of queries and results a layer.
What each costs is measured and written in docs/models.md.
"""

import datetime

import torch
import torch.distributed as dist

from kernels.model.model import Reduce

WAIT = datetime.timedelta(minutes=5)


def join(rank: int, ranks: int, meeting: str, device: torch.device) -> None:
    """Meet the other ranks at a file that all see; NCCL between GPUs, gloo between CPUs.

    Waits for all of them, five minutes at most. Once a process.
    """
    is_gpu = device.type == "cuda"
    dist.init_process_group(
        "nccl" if is_gpu else "gloo", init_method=f"file://{meeting}", rank=rank,
        world_size=ranks, timeout=WAIT, device_id=device if is_gpu else None,
    )  # fmt: skip


def leave() -> None:
    """Part from the others."""
    dist.destroy_process_group()


def add_up() -> Reduce:
    """The sum of a tensor over all ranks, in place, bf16 in and out."""

    def reduce(value: torch.Tensor) -> None:
        dist.all_reduce(value)

    return reduce


def least(value: int, device: torch.device) -> int:
    """The least value of all ranks: what they must agree on. The value itself where there is one
    rank."""
    if not dist.is_initialized():
        return value
    found = torch.tensor([value], dtype=torch.int64, device=device)
    dist.all_reduce(found, dist.ReduceOp.MIN)
    return int(found.item())
