"""The specification of a model: float32, dense masks, no pages, the same weights.

Two of them: `reference_logits` takes real weights and quantises no activation: what the int8 model
approximates, by which its error is measured. Clamps are there, as the model is trained with them.
"""

from collections.abc import Mapping

import torch

from kernels.model.config import HEAD_DIM, ModelConfig
from kernels.model.state.weights import real_weight

State = Mapping[str, torch.Tensor]


def reference_logits(config: ModelConfig, state: State, tokens: torch.Tensor) -> torch.Tensor:
    """Logits at every position of one sequence, float32 `[tokens, vocab]`."""
    return (
        final_hidden(config, state, tokens)
        @ real_weight(state, "embedding").T
        * (config.logits_scale)
    )


def final_hidden(config: ModelConfig, state: State, tokens: torch.Tensor) -> torch.Tensor:
    """The final norm at every position, float32 `[tokens, hidden]`: what head and classifier
    read."""
    x = real_weight(state, "embedding")[tokens.long()] * config.embedding_scale
    kept: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
    for i in range(config.layers):
        name = f"layers.{i}"
        out = _attention(config, state, i, _norm(config, x), kept)
        x = x * state[f"{name}.attention_residual_scale"] + out @ real_weight(state, f"{name}.o").T
        up = _norm(config, x) @ real_weight(state, f"{name}.up").T
        middle = up.clamp(-config.limit, config.limit).relu().square()
        down = middle @ real_weight(state, f"{name}.down").T
        x = x * state[f"{name}.ffn_residual_scale"] + down
    return _norm(config, x)


def _norm(config: ModelConfig, x: torch.Tensor) -> torch.Tensor:
    normed = x * (x.square().mean(-1, keepdim=True) + config.eps).rsqrt()
    return normed.clamp(-config.limit, config.limit)


def _attention(
    config: ModelConfig, state: State, layer: int, x: torch.Tensor,
    kept: dict[int, tuple[torch.Tensor, torch.Tensor]],
) -> torch.Tensor:  # fmt: skip
    """Heads of all positions, `[tokens, heads * 128]`; owners leave their K and V in `kept`."""
    qkv = x @ real_weight(state, f"layers.{layer}.qkv").T
    qkv = qkv.unflatten(-1, (-1, HEAD_DIM)).clamp(-config.limit, config.limit)
    q = _rotate(config, qkv[:, : config.heads])
    if config.owns(layer):
        k, v = qkv[:, config.heads :].chunk(2, 1)
        kept[layer] = _rotate(config, k), v
    k, v = (part.repeat_interleave(config.share, 1) for part in kept[config.kv_owner[layer]])
    scores = torch.einsum("qhd,khd->hqk", q, k) * HEAD_DIM**-0.5
    scores.masked_fill_(~_seen(config, layer, len(x)).to(x.device), float("-inf"))
    return torch.einsum("hqk,khd->qhd", scores.softmax(-1), v).flatten(1)


def _seen(config: ModelConfig, layer: int, tokens: int) -> torch.Tensor:
    """Which keys (columns) a query (row) sees: those up to itself, in a window where local."""
    seen = torch.ones((tokens, tokens), dtype=torch.bool).tril()
    if config.is_global(layer) or config.window is None:
        return seen
    return seen & torch.ones_like(seen).triu(1 - config.window)


def _rotate(config: ModelConfig, x: torch.Tensor) -> torch.Tensor:
    """Rotary embedding, channel d with d + 64, positions from 0."""
    half = HEAD_DIM // 2
    frequency = config.rotary_base ** (-torch.arange(half, dtype=torch.float64) / half)
    angle = torch.arange(len(x), dtype=torch.float64)[:, None, None] * frequency
    cos, sin = angle.cos().float().to(x.device), angle.sin().float().to(x.device)
    low, high = x[..., :half], x[..., half:]
    return torch.cat((low * cos - high * sin, high * cos + low * sin), -1)
