"""Two ranks that train the demo with ternary updates, two processes over gloo."""

import multiprocessing
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import torch
import torch.distributed as dist

from kernels.training.demo.comparison.arms import ARMS
from kernels.training.demo.options import Options
from kernels.training.demo.train import Run

RANKS = 2
TRICKS = replace(ARMS["int8, ternary updates"], clamping="constant", ranks=RANKS)
"""A running limit is a mean over real ranks, so with one a rehearsal is not the same to the bit."""
OPTIONS = Options(steps=4, evaluate_every=4, tricks=TRICKS)


def weights(run: Run) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in run.model.parameters()])


def serve(rank: int, folder: str, pipe: Connection) -> None:
    torch.set_num_threads(1)
    meeting = f"file://{folder}/meeting"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=RANKS)
    run = Run(OPTIONS, folder=Path(folder))
    run.train(3)
    run.save()
    pipe.send((weights(run).numpy(), len(run.updates.steppers), run.about()))
    dist.destroy_process_group()


def run(folder: Path) -> list[tuple[torch.Tensor, int, dict[str, object]]]:
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for rank in range(RANKS):
        here, there = context.Pipe()
        processes.append(
            context.Process(target=serve, args=(rank, str(folder), there), daemon=True)
        )
        processes[-1].start()
        there.close()
        pipes.append(here)
    found = [pipe.recv() for pipe in pipes]
    for process in processes:
        process.join(30)
    return [(torch.as_tensor(each), count, about) for each, count, about in found]
