"""Squinch over NCCL beside bf16, on the GPUs of one host.

    python -m benchmarks.training.exchange            # on a machine with two GPUs or more

All ranks reduce the same number of gradients: all-reduce and reduce-scatter, in bf16 by NCCL and in
6 bits. Inside a host NVLink is so fast that packing may cost more than it saves; what Squinch is
for are networks between hosts, of which this says nothing. So the bytes are printed too, and from
which bandwidth on Squinch's time is less: where what it saves takes as long as what it adds. Prints
one JSON object with medians and samples of rank 0.
"""

import argparse
import datetime
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from benchmarks.kernels.gpu import commit, described
from calibrate.gpu.stopwatch import Stopwatch
from kernels.model import parallel
from kernels.training.squinch.codec import packed_bytes
from kernels.training.squinch.exchange import Reducer

COUNTS = (1 << 22, 1 << 25, 1 << 28)
TURNS = 15


def microseconds(call: Callable[[], object]) -> float:
    """Of one call, all ranks beginning together."""
    watch = Stopwatch()
    dist.barrier()
    watch.start()
    call()
    watch.stop()
    return 1e6 * watch.seconds()


def measure(count: int, rank: int, ranks: int) -> dict[str, Any]:
    """Medians over turns, of this rank."""
    x = torch.randn(count, device="cuda") * 1e-4
    sent, share = x.bfloat16(), torch.empty(count // ranks, dtype=torch.bfloat16, device="cuda")
    reducer, mean = Reducer(), x.bfloat16()
    dist.all_reduce(mean)
    got = reducer.all_reduce(x.bfloat16()).float()
    want = mean.float() / ranks
    calls: dict[str, Callable[[], object]] = {
        "all_reduce, bf16": lambda: dist.all_reduce(sent),
        "all_reduce, squinch": lambda: reducer.all_reduce(sent),
        "reduce_scatter, bf16": lambda: dist.reduce_scatter_tensor(share, sent),
        "reduce_scatter, squinch": lambda: reducer.reduce_scatter(sent, share),
    }
    found: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(TURNS + 3):
        sent.copy_(x)  # sums of sums would overflow
        for name, call in calls.items():
            us = microseconds(call)
            if turn >= 3:
                found[name].append(us)
    medians: dict[str, Any] = {n: round(statistics.median(us), 1) for n, us in found.items()}
    error = float((got - want).norm() / want.norm())
    samples = {name: [round(t, 1) for t in us] for name, us in found.items()}
    told = {"gradients": count, "relative_error": error, **medians, "samples": samples}
    return told | even(count, ranks, medians)


def even(count: int, ranks: int, us: dict[str, Any]) -> dict[str, float]:
    """Bytes that a rank sends in a reduce-scatter, and the bandwidth below which Squinch wins, if
    what it takes here beyond bf16 stays and the bytes travel at that bandwidth instead."""
    bf16, squinch = (n * (ranks - 1) / ranks for n in (2 * count, packed_bytes(count)))
    added_us = us["reduce_scatter, squinch"] - us["reduce_scatter, bf16"]
    wins = (bf16 - squinch) / added_us * 1e-3 if added_us > 0 else float("inf")
    found = {"bytes_bf16": bf16, "bytes_squinch": squinch}
    return found | ({} if wins == float("inf") else {"wins_below_gb_per_s": round(wins, 1)})


def serve(rank: int, ranks: int, meeting: str, known: str | None) -> None:
    """One rank; rank 0 prints."""
    device = torch.device("cuda", rank)
    torch.cuda.set_device(device)
    parallel.join(rank, ranks, meeting, device)
    rows = [measure(count, rank, ranks) for count in COUNTS]
    if rank == 0:
        told = {**described(), "commit": known or commit(), "ranks": ranks, "us": rows}
        told["run"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        sys.stdout.write(json.dumps(told, indent=1) + "\n")
    parallel.leave()


def main() -> int:
    """All GPUs of the machine; 2 if there are fewer than two."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training.exchange")
    parser.add_argument("--commit", help="the commit that runs, where git cannot tell")
    known = parser.parse_args().commit
    ranks = torch.cuda.device_count()
    if ranks < 2:
        sys.stderr.write(f"there must be two GPUs at least, and there are {ranks}\n")
        return 2
    with tempfile.TemporaryDirectory() as folder:
        meeting = str(Path(folder) / "meeting")
        torch.multiprocessing.spawn(serve, (ranks, meeting, known), nprocs=ranks)
    return 0


if __name__ == "__main__":
    sys.exit(main())
