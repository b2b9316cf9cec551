"""A model's tensors: their names, shapes and types, random values for them, and a rank's share.

Everything that a model knows is one flat dict of tensors, as in a checkpoint file. A weight is
`[outputs, inputs]`; an int8 weight has a float32 scale for each output, real = int8 * scale.
"""

import zlib
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import torch

from kernels.model.config import HEAD_DIM, ModelConfig, check_ranks

State = dict[str, torch.Tensor]

WEIGHT_STD = 32.0
"""Of random int8 weights: four standard deviations reach the end of int8."""
QKV_STD = 1.5
"""Of random q, k, v: the clamp at 4 is at 2.7 of them, and attention is peaked as in real models
(logits of standard deviation 2.25), so that its outputs are many steps of int8."""
MIDDLE_STD = 1.5
"""Of the FFN's middle before the clamp."""
OUT_STD = 0.3
"""Of what a sub-layer adds to the residual stream, whose size then stays about 1."""
KEPT = 0.95
"""Residual scale that keeps the stream's size: KEPT^2 + OUT_STD^2 is about 1."""
EMBEDDING_RMS = 2.5
"""Of the scaled embedding: where the residual stream begins. Logits then have a spread of about 2,
as those of trained models have, where hidden is 5120."""


class TensorSpec(NamedTuple):
    """What a tensor must be."""

    shape: tuple[int, ...]
    dtype: torch.dtype


def state_layout(config: ModelConfig) -> dict[str, TensorSpec]:
    """Name, shape and type of every tensor of a model, in the order of use."""
    layout = _matrix(config, "embedding", config.vocab, config.hidden)
    channels = TensorSpec((config.hidden,), torch.float32)
    scales = TensorSpec((config.kv_heads, HEAD_DIM), torch.float32)
    for i in range(config.layers):
        layer = f"layers.{i}"
        layout |= _matrix(config, f"{layer}.qkv", config.projection(i), config.hidden)
        if config.owns(i) and config.kv == "int8":
            layout |= {f"{layer}.k_scale": scales, f"{layer}.v_scale": scales}
        layout |= _matrix(config, f"{layer}.o", config.hidden, config.q_width)
        layout |= _matrix(config, f"{layer}.up", config.ffn, config.hidden)
        layout |= _matrix(config, f"{layer}.down", config.hidden, config.ffn)
        layout |= {f"{layer}.attention_residual_scale": channels}
        layout |= {f"{layer}.ffn_residual_scale": channels}
    return layout


def _matrix(config: ModelConfig, name: str, rows: int, columns: int) -> dict[str, TensorSpec]:
    """A weight, and the scale of an int8 one. The embedding is int8 in every variant."""
    if config.weights == "bfloat16" and name != "embedding":
        return {f"{name}.weight": TensorSpec((rows, columns), torch.bfloat16)}
    return {
        f"{name}.weight": TensorSpec((rows, columns), torch.int8),
        f"{name}.scale": TensorSpec((rows,), torch.float32),
    }


def random_state(
    config: ModelConfig, seed: int = 0, device: torch.device | str = "cpu", *,
    rank: int = 0, ranks: int = 1,
) -> State:  # fmt: skip
    """Random weights in which no clamp saturates everywhere and no int8 value collapses.

    Every tensor has its own stream of numbers, from the seed and its name: a rank's share is a part
    of the whole model's. CPU and GPU draw different numbers.
    """
    state: State = {}
    for name, spec in state_layout(config).items():
        value = _draw(config, name, spec, seed, torch.device(device))
        state[name] = shard(config, name, value, rank, ranks)
        del value
    return state


def _draw(
    config: ModelConfig, name: str, spec: TensorSpec, seed: int, device: torch.device
) -> torch.Tensor:
    generator = torch.Generator(device).manual_seed(zlib.crc32(name.encode()) ^ seed)
    part = name.split(".")[-2] if name.endswith((".weight", ".scale")) else ""
    if name.endswith("residual_scale"):
        return KEPT + 0.02 * torch.randn(spec.shape, generator=generator, device=device)
    if not part:  # k_scale, v_scale
        return torch.full(spec.shape, config.activation_scale, device=device)
    if name.endswith(".scale"):
        spread = 1 + 0.1 * torch.randn(spec.shape, generator=generator, device=device)
        return spread.clamp(0.6, 1.4) * (_gain(config, part) / WEIGHT_STD)
    half = torch.float16 if device.type == "cuda" else torch.float32
    values = torch.randn(spec.shape, generator=generator, device=device, dtype=half)
    if spec.dtype == torch.bfloat16:
        return values.mul_(_gain(config, part)).to(torch.bfloat16)
    return values.mul_(WEIGHT_STD).round_().clamp_(-127, 127).to(torch.int8)


def _gain(config: ModelConfig, part: str) -> float:
    """Standard deviation of real weights: what each product's output is to have, over that of its
    inputs times the root of their number."""
    middle = MIDDLE_STD**2 * 1.5**0.5  # rms of the squared ReLU of a normal variable
    attended = 0.2 * QKV_STD  # of attention outputs: a mean over some 25 values that count
    target, inputs, count = {
        "embedding": (EMBEDDING_RMS, config.embedding_scale, 1),
        "qkv": (QKV_STD, 1.0, config.hidden),
        "o": (OUT_STD, attended, config.q_width),
        "up": (MIDDLE_STD, 1.0, config.hidden),
        "down": (OUT_STD, middle, config.ffn),
    }[part]
    return target / (inputs * count**0.5)


def rank_config(config: ModelConfig, ranks: int) -> ModelConfig:
    """The sizes of one rank's share: heads and FFN divided, a single KV head on each."""
    check_ranks(config, ranks)
    kv_heads = max(1, config.kv_heads // ranks)
    return replace(config, heads=config.heads // ranks, ffn=config.ffn // ranks, kv_heads=kv_heads)


def shard(
    config: ModelConfig, name: str, value: torch.Tensor, rank: int, ranks: int
) -> torch.Tensor:
    """A rank's share of a tensor.

    Divided: query heads, FFN. On every rank: the embedding (it is the head, too: each rank computes
    all logits and draws the same token), the KV projections of MQA, residual scales.
    """
    if ranks == 1:
        return value
    check_ranks(config, ranks)
    part = name.rsplit(".", 1)
    owner = part[0].rsplit(".", 1)[-1]
    if owner == "qkv":
        return _shard_qkv(config, value, rank, ranks)
    if owner == "up":
        return value.chunk(ranks, 0)[rank].contiguous()
    if owner in ("o", "down") and part[1] == "weight":
        return value.chunk(ranks, 1)[rank].contiguous()
    if part[1] in ("k_scale", "v_scale") and config.kv_heads > 1:
        return value.chunk(ranks, 0)[rank].contiguous()
    return value


def _shard_qkv(config: ModelConfig, value: torch.Tensor, rank: int, ranks: int) -> torch.Tensor:
    """Query rows of the rank's heads; rows of K and V divided too, or all of a single KV head."""
    q, rest = value[: config.q_width], value[config.q_width :]
    parts = [q.chunk(ranks, 0)[rank]]
    if len(rest):
        k, v = rest.chunk(2, 0)
        many = config.kv_heads > 1
        parts += [k.chunk(ranks, 0)[rank], v.chunk(ranks, 0)[rank]] if many else [k, v]
    return torch.cat(parts).contiguous()


def state_bytes(state: Mapping[str, torch.Tensor]) -> int:
    """Memory of the tensors."""
    return sum(value.numel() * value.element_size() for value in state.values())


def real_weight(state: Mapping[str, torch.Tensor], name: str) -> torch.Tensor:
    """A weight as float32."""
    weight = state[f"{name}.weight"].float()
    scale = state.get(f"{name}.scale")
    return weight if scale is None else weight * scale[:, None]
