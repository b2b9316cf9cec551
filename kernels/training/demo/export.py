"""A trained model as `kernels.model` takes it, and text from it by the inference kernels.

Virtual scalars and the feed-forward's limits are folded into scales of int8 weights, so the served
model is the usual one: nothing of training is left but numbers.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from kernels.model.config import HEAD_DIM, ModelConfig
from kernels.model.model import KaijuModel
from kernels.model.state.load import load_metadata, load_state, save_state
from kernels.model.state.weights import State, state_layout
from kernels.model.steps.cache import KVCache, plan_cache
from kernels.model.steps.runner import Runner
from kernels.model.steps.sequences import SequenceStore, step_of
from kernels.model.steps.step import Draws
from kernels.training.demo.corpus import pack
from kernels.training.demo.model import Layer, Trainee
from kernels.training.qat.clamping import folded

FILE = "model.safetensors"
CACHE_BYTES = 2_000_000_000
ROWS = 512


@torch.no_grad()
def state_of(model: Trainee) -> State:
    """The tensors of `kernels.model.state.weights.state_layout`. Raises ValueError for a model
    that was trained without clamps, or in bf16."""
    if model.tricks.clamping == "none" or model.tricks.forward != "int8":
        raise ValueError("export: the model must be trained in int8, with clamping")
    rows = model.rows()
    state: State = {"embedding.weight": rows.values, "embedding.scale": rows.scale}
    for layer in model.layers:
        assert isinstance(layer, Layer)
        state |= _layer(layer, model.config)
    layout = state_layout(model.config)
    return {name: state[name].contiguous().clone() for name in layout}


def _layer(layer: Layer, config: ModelConfig) -> State:
    name = f"layers.{layer.index}"
    state: State = {}
    for part in ("qkv", "o", "up", "down"):
        rows = getattr(layer, part).quantised()
        state |= {f"{name}.{part}.weight": rows.values, f"{name}.{part}.scale": rows.scale}
    limit = layer.limit.at_rest(layer.up.weight)
    if layer.up.scalar is not None and layer.limit.source == "weights":
        limit = limit * layer.up.scalar.abs()
    up, down = folded(state[f"{name}.up.scale"], state[f"{name}.down.scale"], limit)
    state |= {f"{name}.up.scale": up, f"{name}.down.scale": down}
    unit = torch.full((config.kv_heads, HEAD_DIM), config.activation_scale, device=limit.device)
    if config.owns(layer.index):
        state |= {f"{name}.k_scale": unit, f"{name}.v_scale": unit}
    state[f"{name}.attention_residual_scale"] = layer.attention_scale.detach()
    state[f"{name}.ffn_residual_scale"] = layer.ffn_scale.detach()
    return state


def export(model: Trainee, folder: Path) -> Path:
    """Write the checkpoint, with the configuration as its metadata; the file's path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE
    save_state(path, state_of(model), metadata={"config": json.dumps(asdict(model.config))})
    return path


def read(path: Path, device: torch.device | str = "cpu") -> tuple[ModelConfig, State]:
    """An exported checkpoint. Raises ValueError (StateError)."""
    found = json.loads(load_metadata(path).get("config", "{}"))
    if not found:
        raise ValueError(f"{path}: has no configuration: it was not written by export")
    found |= {name: tuple(found[name]) for name in ("kv_owner", "global_layers")}
    config = ModelConfig(**found)
    state = load_state(path, state_layout(config), device)
    # Mapped from the file, tensors begin anywhere; kernels want multiples of 16 bytes.
    return config, {name: value.clone() for name, value in state.items()}


class Served:
    """The exported model behind the inference kernels (on a CPU they are interpreted, which takes
    TRITON_INTERPRET=1 in the environment)."""

    def __init__(self, config: ModelConfig, state: State) -> None:
        self.config = config
        self.model = KaijuModel(config, state)
        room = CACHE_BYTES if self.model.device.type == "cuda" else CACHE_BYTES // 50
        plan = plan_cache(config, room, context=4 * ROWS, rows=ROWS, chunks=4)
        cache = KVCache(config, plan, self.model.device)
        self.runner, self.store = Runner(self.model, cache, ROWS), SequenceStore(cache)

    def logits(self, tokens: np.ndarray) -> torch.Tensor:
        """At every position of one sequence of at most 512 tokens, float32 `[tokens, vocab]`: not
        rounded to bf16, in which two likeliest tokens are often the same number."""
        kv = self.store.new()
        self.runner.run(step_of(self.config, [], [(kv, tokens.astype(np.int32), True)]))
        index = torch.arange(len(tokens), dtype=torch.int32, device=self.model.device)
        found = self.model.logits(self.runner.work, index, torch.float32)
        kv.free()
        return found

    def generate(
        self, prompt: bytes, count: int, *, temperature: float = 0.8, seed: int = 0
    ) -> Iterator[int]:
        """`count` bytes after a prompt, one by one."""
        tokens, kv = np.frombuffer(prompt[-ROWS:], np.uint8).astype(np.int32), self.store.new()
        step = step_of(self.config, [], [(kv, tokens, True)])
        ahead = len(tokens)
        for number in range(count):
            token = int(self.runner.run(step, _draw(number, temperature, seed)).tokens[0])
            yield token
            kv.advance(ahead)
            step, ahead = step_of(self.config, [(kv, token)]), 1
        kv.free()


def _draw(number: int, temperature: float, seed: int) -> Draws:
    return Draws(
        seed=np.array([seed], np.int64), step=np.array([number], np.int32),
        temperature=np.array([temperature], np.float32),
    )  # fmt: skip


class Agreement(NamedTuple):
    """Of the served model's logits with those of the training graph."""

    top_1: float
    """Share of positions at which both name the same likeliest token, by float32 logits."""
    top_1_bf16: float
    """The same of logits rounded to bf16, as they are sampled from; of equals the lowest."""
    same_bits: float
    """Share of the float32 logits that are equal to the bit."""
    distance: float
    """Norm of the difference over norm of the logits."""
    positions: int


@torch.no_grad()
def agreement(model: Trainee, served: Served, windows: torch.Tensor) -> Agreement:
    """On windows of tokens, int64 `[windows, tokens]`, each one document for both."""
    model.eval()
    found = [_compared(model, served, row) for row in windows.where(windows > 0, 1)]
    top, top_bf16, bits, gaps, sizes = (sum(column) for column in zip(*found, strict=True))
    count = windows.numel()
    each = top / count, top_bf16 / count, bits / count / model.config.vocab
    return Agreement(*each, (gaps / sizes) ** 0.5, count)


def _compared(model: Trainee, served: Served, row: torch.Tensor) -> tuple[float, ...]:
    """Sums over a window: the same likeliest token, the same in bf16, the same bits, squares of
    differences and of logits."""
    tokens = row[None].to(model.embedding.device)
    mine = model(tokens, pack(tokens, model.config), torch.float32)[0].float()
    theirs = served.logits(row.cpu().numpy()).to(mine.device)
    sums = (
        mine.argmax(1) == theirs.argmax(1),
        mine.bfloat16().argmax(1) == theirs.bfloat16().argmax(1),
        mine == theirs, (mine - theirs).double().square(), mine.double().square(),
    )  # fmt: skip
    return tuple(float(x.sum()) for x in sums)
