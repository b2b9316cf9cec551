"""A tiny model with its cache, ready to run, for tests of steps."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from kernels.model.config import ModelConfig, tiny
from kernels.model.model import KaijuModel
from kernels.model.state.weights import State, random_state
from kernels.model.steps.cache import KVCache, plan_cache
from kernels.model.steps.runner import Result, Runner
from kernels.model.steps.sequences import SequenceKV, SequenceStore, step_of
from kernels.model.steps.step import Ints


@dataclass
class Bench:
    """A model, its runner and its sequences."""

    config: ModelConfig
    state: State
    model: KaijuModel
    runner: Runner
    store: SequenceStore

    def prefill(self, kv: SequenceKV, tokens: Ints, *, samples: bool = True) -> Result:
        result = self.runner.run(step_of(self.config, [], [(kv, tokens, samples)]))
        kv.advance(len(tokens))
        return result

    def decode(self, pairs: list[tuple[SequenceKV, int]]) -> Result:
        result = self.runner.run(step_of(self.config, pairs))
        for kv, _ in pairs:
            kv.advance(1)
        return result

    def logits(self, rows: int) -> torch.Tensor:
        """Logits of the first rows of the step that ran last, float32."""
        index = torch.arange(rows, dtype=torch.int32, device=self.model.device)
        return self.model.logits(self.runner.work, index).float()


def make_bench(
    config: ModelConfig | None = None, seed: int = 1, device: str = "cpu", *, rows: int = 512,
    graphs: bool | None = None, kv_bytes: int = 60_000_000,
) -> Bench:  # fmt: skip
    config = config or tiny()
    state = random_state(config, seed, device)
    model = KaijuModel(config, state)
    plan = plan_cache(config, kv_bytes, context=1024, rows=rows, chunks=4)
    cache = KVCache(config, plan, device)
    runner = Runner(model, cache, rows, graphs=graphs)
    return Bench(config, state, model, runner, SequenceStore(cache))


def prompt(config: ModelConfig, count: int, seed: int = 0) -> Ints:
    return np.random.default_rng(seed).integers(0, config.vocab, count).astype(np.int32)


def off(config: ModelConfig, state: State, layer: int) -> None:
    """Take a layer's attention out of the model: its output projection is zero."""
    state[f"layers.{layer}.o.weight"].zero_()


def two_layers(window: int) -> ModelConfig:
    """A local layer, then a global one."""
    return replace(
        tiny(), hidden=128, heads=2, ffn=128, vocab=128, kv_owner=(0, 1), global_layers=(1,),
        window=window,
    )  # fmt: skip


def distance(value: torch.Tensor, expected: torch.Tensor) -> float:
    return float((value - expected).norm() / expected.norm())
