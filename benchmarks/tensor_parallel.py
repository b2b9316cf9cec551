"""Tensor parallelism with one KV head: should every rank hold all KV, or KV of half the batch?

    python -m benchmarks.tensor_parallel            # on a machine with two GPUs

Replicated: a rank attends for the whole batch with its half of the heads. Split by batch: a rank
attends for half the batch with all heads, between two exchanges a layer (all-to-all): of int8
queries with their scales, and of int8 results. Both are timed as CUDA graphs of the operations of
one layer of the 110B (128 heads), with random pages that do not fit into L2, one after the other in
turns. Prints one JSON object: microseconds of a layer for each batch, context and way.
"""

import json
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist

from calibrate.gpu.stopwatch import Stopwatch
from kernels.common.example import decode_inputs
from kernels.decode_attention import decode_attention, make_plan
from kernels.model import parallel

HEADS, RANKS = 128, 2
CASES = ((32, 4096), (128, 4096), (256, 4096), (128, 1024))
SETS, TURNS = 4, 15


def attend(batch: int, context: int, heads: int, seed: int) -> Callable[[], torch.Tensor]:
    """A call of decode attention on its own pages."""
    inputs = decode_inputs([context] * batch, heads=heads, device="cuda", seed=seed)
    plan = make_plan(inputs.start, inputs.limit, heads=heads)
    return lambda: decode_attention(*inputs, plan=plan, out_scale=4 / 127)


def exchange(batch: int) -> Callable[[], None]:
    """Queries to the rank of their sequence, and results back: half of what a rank has."""
    rows = batch * HEADS // RANKS
    q = torch.zeros((rows, 128 + 4), dtype=torch.int8, device="cuda")
    out = torch.zeros((rows, 128), dtype=torch.int8, device="cuda")
    there, back = torch.empty_like(q), torch.empty_like(out)

    def both() -> None:
        dist.all_to_all_single(there, q)
        dist.all_to_all_single(back, out)

    return both


def graph_of(calls: list[Callable[[], object]]) -> torch.cuda.CUDAGraph:
    """The calls, captured."""
    for call in calls:
        call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for call in calls:
            call()
    return graph


def microseconds(graph: torch.cuda.CUDAGraph, calls: int) -> float:
    """Of one call."""
    watch = Stopwatch()
    dist.barrier()
    watch.start()
    graph.replay()
    watch.stop()
    return 1e6 * watch.seconds() / calls


def measure(batch: int, context: int) -> dict[str, float]:
    """Medians over turns, of this rank."""
    calls = {
        "replicated": [attend(batch, context, HEADS // RANKS, s) for s in range(SETS)],
        "split, attention": [attend(batch // RANKS, context, HEADS, s) for s in range(SETS)],
        "split, exchange": [exchange(batch)] * SETS,
    }
    graphs = {name: graph_of(list(of)) for name, of in calls.items()}
    found: dict[str, list[float]] = {name: [] for name in graphs}
    for _ in range(TURNS):
        for name, graph in graphs.items():
            found[name].append(microseconds(graph, SETS))
    return {name: round(statistics.median(us), 2) for name, us in found.items()}


def serve(rank: int, meeting: str) -> None:
    """One rank; rank 0 prints."""
    device = torch.device("cuda", rank)
    torch.cuda.set_device(device)
    parallel.join(rank, RANKS, meeting, device)
    rows = [{"batch": b, "context": c, **measure(b, c)} for b, c in CASES]
    if rank == 0:
        print(json.dumps({"gpu": torch.cuda.get_device_name(0), "us_per_layer": rows}))  # noqa: T201
    parallel.leave()


def main() -> None:
    """Both ranks."""
    with tempfile.TemporaryDirectory() as folder:
        meeting = str(Path(folder) / "meeting")
        torch.multiprocessing.spawn(serve, (meeting,), nprocs=RANKS)


if __name__ == "__main__":
    main()
