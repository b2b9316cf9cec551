"""Two ranks of a model on two CPU processes give what one gives."""

import multiprocessing
from multiprocessing.connection import Connection

import numpy as np
import torch
from model_bench import Bench, distance, make_bench, prompt, two_layers

from kernels.model import parallel
from kernels.model.model import KaijuModel
from kernels.model.state.weights import random_state, rank_config
from kernels.model.steps.cache import KVCache, plan_cache
from kernels.model.steps.runner import Runner
from kernels.model.steps.sequences import SequenceStore

TOKENS = 9


def steps_of(bench: Bench) -> tuple[np.ndarray, np.ndarray]:
    """Logits of a short prompt and of a decode after it, and the tokens drawn."""
    tokens = prompt(bench.config, TOKENS)
    kv = bench.store.new()
    drawn = [bench.prefill(kv, tokens[:-1]).tokens]
    logits = [bench.logits(TOKENS - 1)]
    drawn.append(bench.decode([(kv, int(tokens[-1]))]).tokens)
    logits.append(bench.logits(1))
    return torch.cat(logits).numpy(), np.concatenate(drawn)


def serve_rank(rank: int, ranks: int, meeting: str, pipe: Connection) -> None:
    torch.set_num_threads(1)
    parallel.join(rank, ranks, meeting, torch.device("cpu"))
    config = two_layers(128)
    mine = rank_config(config, ranks)
    state = random_state(config, 1, rank=rank, ranks=ranks)
    model = KaijuModel(mine, state, parallel.add_up())
    cache = KVCache(mine, plan_cache(mine, 60_000_000, context=1024, rows=512, chunks=4))
    bench = Bench(mine, state, model, Runner(model, cache, 512), SequenceStore(cache))
    assert parallel.least(7 + rank, torch.device("cpu")) == 7
    pipe.send(steps_of(bench))
    parallel.leave()


def test_two_ranks_are_one_model(tmp_path):
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for rank in range(2):
        here, there = context.Pipe()
        args = (rank, 2, str(tmp_path / "meeting"), there)
        processes.append(context.Process(target=serve_rank, args=args, daemon=True))
        processes[-1].start()
        pipes.append(here)
    expected, drawn = steps_of(make_bench(two_layers(128)))
    found = [pipe.recv() if pipe.poll(240) else None for pipe in pipes]
    for process in processes:
        process.join(30)
    assert all(part is not None for part in found)
    (first, tokens), (second, same_tokens) = found
    assert np.array_equal(first, second), "ranks compute the same logits, so draw the same tokens"
    assert np.array_equal(tokens, same_tokens)
    assert distance(torch.tensor(first), torch.tensor(expected)) < 0.05
    assert tokens.shape == drawn.shape
