"""The Kaiju architecture as it is trained: what `kernels.model` computes, with gradients.

Layer by layer the same: RMSNorm without weights, clamps, a fused projection, rotary embedding, one
KV head shared by layers, windows, squared ReLU, residual scales, tied embeddings. In int8 every
value that serving quantises is quantised here in the same way.
"""

import torch
from torch import nn

from kernels.model.config import HEAD_DIM, ModelConfig
from kernels.training.attention import visible
from kernels.training.attention.visible import visible_attention
from kernels.training.demo.corpus import Packed
from kernels.training.demo.options import Tricks
from kernels.training.demo.updates import Pinned
from kernels.training.qat import linear
from kernels.training.qat.clamping import Limit, squared_relu
from kernels.training.qat.linear import Int8Linear, Kept, int8_linear
from kernels.training.qat.quantise import Rows
from kernels.training.zreg import z_reg

KV = tuple[torch.Tensor, torch.Tensor]


class Trainee(nn.Module):
    """The whole model. Parameters are float32."""

    table: torch.Tensor
    four: torch.Tensor

    def __init__(self, config: ModelConfig, tricks: Tricks) -> None:
        super().__init__()
        self.config, self.tricks = config, tricks
        options = linear.Options(tricks.forward, tricks.input_gradient)
        self.embedding = nn.Parameter(
            torch.randn(config.vocab, config.hidden) * config.hidden**-0.5
        )
        self.layers = nn.ModuleList(Layer(config, tricks, options, i) for i in range(config.layers))
        self.head = options
        self._kept = Kept()
        self.register_buffer("four", torch.full((1,), config.limit), persistent=False)
        self.register_buffer("table", rotary(config), persistent=False)

    def forward(
        self, tokens: torch.Tensor, packed: Packed, dtype: torch.dtype = torch.bfloat16
    ) -> torch.Tensor:
        """Logits `[batch, context, vocab]`, as `dtype` if they are an int8 product, else bf16."""
        x = self._embedded(tokens).bfloat16()
        turns = self.table[packed.positions]
        kept: dict[int, KV] = {}
        for layer in self.layers:
            x = layer(x, turns, packed, kept)
        hidden = norm(x, self.config, self.tricks)
        limit = limit_of(hidden, self.four, self.tricks)
        rows = self.rows() if self.tricks.forward == "int8" else None
        logits = int8_linear(
            hidden, self.embedding, limit, options=self.head, rows=rows, dtype=dtype
        )
        logits = logits * self.config.logits_scale
        weight = self.tricks.z_weight / tokens.numel()
        return z_reg(logits, weight) if weight else logits

    def rows(self) -> Rows:
        """The embedding in int8."""
        return self._kept(self.embedding)

    def _embedded(self, tokens: torch.Tensor) -> torch.Tensor:
        rows = self.embedding[tokens] * self.config.embedding_scale
        if self.tricks.forward == "bf16":
            return rows
        with torch.no_grad():
            w8, scale = self.rows()
            served = w8[tokens] * (scale * self.config.embedding_scale)[tokens][..., None]
        return rows + (served - rows).detach() if self.training else served


class Layer(nn.Module):
    """Attention and feed-forward."""

    def __init__(
        self, config: ModelConfig, tricks: Tricks, options: linear.Options, index: int
    ) -> None:
        super().__init__()
        self.config, self.tricks, self.index = config, tricks, index
        hidden, small = config.hidden, (2 * config.layers) ** -0.5

        kind = Pinned if tricks.updates == "ternary" else Int8Linear

        def make(inputs: int, outputs: int, gain: float = 1.0, *, fused: bool = True) -> Int8Linear:
            std = gain * inputs**-0.5
            return kind(
                inputs, outputs, limit=config.limit, std=std, has_scalar=tricks.scalars,
                is_fused=fused, options=options,
            )  # fmt: skip

        self.qkv = make(hidden, config.projection(index), fused=False)
        self.o = make(config.q_width, hidden, small)
        self.up, self.down = make(hidden, config.ffn), make(config.ffn, hidden, small)
        self.attention_scale = nn.Parameter(torch.ones(hidden))
        self.ffn_scale = nn.Parameter(torch.ones(hidden))
        source = "constant" if tricks.clamping == "none" else tricks.clamping
        self.limit = Limit(source)

    def forward(
        self, x: torch.Tensor, turns: torch.Tensor, packed: Packed, kept: dict[int, KV]
    ) -> torch.Tensor:
        """The stream after this layer, bf16."""
        x = self._sum(self.o, self._attention(x, turns, packed, kept), x, self.attention_scale)
        return self._sum(self.down, self._ffn(x), x, self.ffn_scale)

    @property
    def _is_served(self) -> bool:
        """Whether this is to round as serving does: in evaluation, where serving is possible."""
        is_int8 = self.tricks.forward == "int8" and self.tricks.clamping != "none"
        return is_int8 and not self.training

    def _sum(
        self, linear: Int8Linear, given: tuple[torch.Tensor, torch.Tensor], x: torch.Tensor,
        scale: torch.Tensor,
    ) -> torch.Tensor:  # fmt: skip
        """The stream after a product of (input, its limit)."""
        if self._is_served and x.is_cuda:
            return linear.summed(*given, x, scale)
        return added(x, scale, linear(*given))

    def _attention(
        self, x: torch.Tensor, turns: torch.Tensor, packed: Packed, kept: dict[int, KV]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What the last product takes, and its limit."""
        config, tricks, served = self.config, self.tricks, self._is_served
        turn = turned_exactly if served else turned
        normed = norm(x, config, tricks)
        qkv = self.qkv(normed, limit_of(normed, self.qkv.limit, tricks))
        qkv = clamped(qkv.float().unflatten(-1, (-1, HEAD_DIM)), config.limit, tricks)
        q = turn(qkv[..., : config.heads, :], turns * config.activation_scale if served else turns)
        if config.owns(self.index):
            k, v = qkv[..., config.heads :, :].chunk(2, -2)
            kept[self.index] = turn(k, turns), v
        k, v = kept[config.kv_owner[self.index]]
        blocks = packed.blocks["global" if config.is_global(self.index) else "local"]
        weight = tricks.z_weight / (x.shape[0] * x.shape[1] * config.heads)
        int8 = tricks.forward == "int8" and tricks.clamping != "none"
        # Serving rounds them once, to int8, and so the result, which a training step keeps in bf16.
        kind = torch.float32 if int8 else torch.bfloat16
        q, k, v = (part.to(kind).contiguous() for part in (q, k, v))
        options = visible.Options(weight, int8, config.limit, served=served)
        out = visible_attention(q, k, v, blocks, options).flatten(-2)
        return out, limit_of(out, self.o.limit, tricks)

    def _ffn(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The same of the feed-forward."""
        tricks = self.tricks
        normed = norm(x, self.config, tricks)
        u = self.up(normed, limit_of(normed, self.up.limit, tricks))
        if tricks.clamping == "none":
            limit = u.detach().float().abs().amax().view(1)
        else:
            limit = self.limit(u, self.up.weight)
            if self.up.scalar is not None and tricks.clamping == "weights":
                limit = limit * self.up.scalar.detach().abs()
        return squared_relu(u, limit), limit.square()


def norm(x: torch.Tensor, config: ModelConfig, tricks: Tricks) -> torch.Tensor:
    """RMSNorm and clamp, float32."""
    wide = x.float()
    normed = wide * (wide.square().mean(-1, keepdim=True) + config.eps).rsqrt()
    return clamped(normed, config.limit, tricks)


def clamped(x: torch.Tensor, limit: float, tricks: Tricks) -> torch.Tensor:
    """Within +-limit, where anything is clamped."""
    return x if tricks.clamping == "none" else x.clamp(-limit, limit)


def limit_of(x: torch.Tensor, known: torch.Tensor, tricks: Tricks) -> torch.Tensor:
    """What int8 values are scaled with: what is known, or without clamps the largest of now."""
    if tricks.clamping != "none":
        return known
    return x.detach().float().abs().amax().clamp(min=1e-6).view(1)


def added(x: torch.Tensor, scale: torch.Tensor, delta: torch.Tensor) -> torch.Tensor:
    """The residual sum, rounded as serving rounds it."""
    return (x.float() * scale + delta.float()).bfloat16()


def rotary(config: ModelConfig, most: int = 4096) -> torch.Tensor:
    """Cosines and sines of positions, float32 `[most, 2, 64]`."""
    half = HEAD_DIM // 2
    frequency = config.rotary_base ** (-torch.arange(half, dtype=torch.float64) / half)
    angle = torch.arange(most, dtype=torch.float64)[:, None] * frequency
    return torch.stack((angle.cos(), angle.sin()), 1).float()


def turned(x: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """Rotary embedding of `[batch, tokens, heads, 128]`, channel d with d + 64."""
    cos, sin = turns[..., 0, :][..., None, :], turns[..., 1, :][..., None, :]
    low, high = x.chunk(2, -1)
    return torch.cat((low * cos - high * sin, high * cos + low * sin), -1)


def turned_exactly(x: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """The same with the rounding of serving's kernel (`kernels.common.page_write.rotated`): the
    second product is rounded, the first and the sum are one multiply-add. Float64 has no rounding
    of its own here: a product of two float32 has 48 bits."""
    cos, sin = turns[..., 0, :][..., None, :], turns[..., 1, :][..., None, :]
    low, high = x.chunk(2, -1)
    first = torch.cat((low.double() * cos.double(), high.double() * cos.double()), -1)
    return (first + torch.cat((high * -sin, low * sin), -1).double()).float()


def parameters(model: nn.Module) -> int:
    """How many there are."""
    return sum(p.numel() for p in model.parameters())
