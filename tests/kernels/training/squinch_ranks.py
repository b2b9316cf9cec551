"""Two ranks that reduce gradients, on two CPU processes over gloo or two GPUs over NCCL; each
returns what it found."""

import multiprocessing
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

RANKS = 2
COUNT = 9000


def gradients(rank: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(rank)
    return torch.randn(COUNT, generator=generator) * 1e-3


def network() -> torch.nn.Module:
    torch.manual_seed(3)
    return torch.nn.Sequential(torch.nn.Linear(16, 24), torch.nn.ReLU(), torch.nn.Linear(24, 4))


def batch(rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(10 + rank)
    return torch.randn(8, 16, generator=generator), torch.randn(8, 4, generator=generator)


def loss_of(model: torch.nn.Module, rank: int, device: torch.device | str = "cpu") -> torch.Tensor:
    x, y = (part.to(device) for part in batch(rank))
    return (model(x) - y).square().mean()


def whole(parameter: torch.Tensor) -> torch.Tensor:
    gradient: Any = parameter.grad
    return gradient.full_tensor() if hasattr(gradient, "full_tensor") else gradient


def reductions(device: torch.device) -> dict[str, torch.Tensor]:
    from kernels.training.squinch.exchange import Options, Reducer

    mine = gradients(dist.get_rank()).to(device)
    found = {"all": Reducer().all_reduce(mine.clone())}
    found["bf16"] = Reducer().all_reduce(mine.bfloat16()).float()
    found["noise"] = Reducer(Options(stochastic=True)).all_reduce(mine.clone())
    reducer = Reducer()
    found["share"] = reducer.reduce_scatter(mine, torch.empty(COUNT // RANKS, device=device))
    found["sent"] = torch.tensor(reducer.bytes_sent)
    reducer = Reducer(Options(feedback=True))
    many = [reducer.all_reduce(mine.clone(), "k").double() for _ in range(16)]
    found["feedback"] = torch.stack(many).mean(0)
    return found


def hooks(device: torch.device) -> dict[str, torch.Tensor]:
    from torch.distributed.fsdp import fully_shard
    from torch.nn.parallel import DistributedDataParallel

    from kernels.training.squinch.exchange import Reducer
    from kernels.training.squinch.hooks import Channel, ReduceScatter, ddp_hook, fsdp_hook

    rank = dist.get_rank()
    ddp = DistributedDataParallel(network().to(device))
    ddp.register_comm_hook(Channel(Reducer()), ddp_hook)
    loss_of(ddp, rank, device).backward()
    found = {"ddp": torch.cat([whole(p).flatten() for p in ddp.parameters()])}
    sharded: Any = network().to(device)
    fully_shard(sharded, mesh=dist.device_mesh.init_device_mesh(device.type, (RANKS,)))
    sharded.set_custom_reduce_scatter(ReduceScatter())
    loss_of(sharded, rank, device).backward()
    found["fsdp"] = torch.cat([whole(p).flatten() for p in sharded.parameters()])
    share = torch.empty(COUNT // RANKS, device=device)
    fsdp_hook(Reducer(), gradients(rank).to(device), share)
    found["fsdp hook"] = share
    return found


def serve(rank: int, kind: str, meeting: str, pipe: Connection) -> None:
    torch.set_num_threads(1)
    device = torch.device(kind, rank) if kind == "cuda" else torch.device("cpu")
    if kind == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group(
        "nccl" if kind == "cuda" else "gloo", init_method=f"file://{meeting}", rank=rank,
        world_size=RANKS,
    )  # fmt: skip
    pipe.send({k: v.cpu().numpy() for k, v in (reductions(device) | hooks(device)).items()})
    dist.destroy_process_group()


def run(folder: Path, kind: str = "cpu") -> list[dict[str, torch.Tensor]]:
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for rank in range(RANKS):
        here, there = context.Pipe()
        arguments = (rank, kind, str(folder / "meeting"), there)
        processes.append(context.Process(target=serve, args=arguments, daemon=True))
        processes[-1].start()
        there.close()
        pipes.append(here)
    found = [pipe.recv() for pipe in pipes]
    for process in processes:
        process.join(30)
    return [{k: torch.as_tensor(v) for k, v in each.items()} for each in found]
