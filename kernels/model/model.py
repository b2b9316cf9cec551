"""A Kaiju model on one rank: weights, KV cache, and a step from token ids to logits.

A layer is eight launches: norm, fused projection, rotary embedding with the write of K and V,
attention (decode rows, prefill rows), output projection, norm, FFN up, FFN down. The sums of the
residual stream are epilogues of the products; under tensor parallelism, where a product's parts
must be added up over the ranks first, and in bfloat16, they are part of the next norm.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch

from kernels.decode_attention import decode_attention
from kernels.embedding import embedding, head_scale
from kernels.matmul import matmul
from kernels.model.config import HEAD_DIM, ModelConfig
from kernels.model.linear import Linear
from kernels.model.steps.cache import KVCache
from kernels.model.steps.step import StepInputs
from kernels.model.steps.visible import Plans, fill
from kernels.norm_quantise import norm_quantise
from kernels.prefill_attention import prefill_attention
from kernels.product import Residual, SquaredRelu
from kernels.rotary_write import rotary_table, rotary_write

Reduce = Callable[[torch.Tensor], None]
"""Adds up a tensor over the ranks, in place."""


class Stream(NamedTuple):
    """The residual stream, bf16 `[rows, hidden]`, and what is still to be added to it: `delta`
    after scaling the stream by `scale`."""

    x: torch.Tensor
    delta: torch.Tensor | None = None
    scale: torch.Tensor | None = None


@dataclass(frozen=True)
class Layer:
    """One layer's weights."""

    index: int
    qkv: Linear
    o: Linear
    up: Linear
    down: Linear
    k_scale: torch.Tensor | None
    """Of the KV that this layer reads, float32 `[kv_heads, 128]`; None in float16."""
    v_scale: torch.Tensor
    attention_scale: torch.Tensor
    """Multiplies the residual stream before attention's output is added, float32 `[hidden]`."""
    ffn_scale: torch.Tensor
    """The same for the FFN's output."""

    @classmethod
    def of(cls, config: ModelConfig, state: Mapping[str, torch.Tensor], index: int) -> "Layer":
        """Layer number `index` of a state."""
        name, owner = f"layers.{index}", f"layers.{config.kv_owner[index]}"
        ones = torch.ones((config.kv_heads, HEAD_DIM), device=state["embedding.weight"].device)
        qkv, o, up, down = (Linear.of(state, f"{name}.{part}") for part in PARTS)
        return cls(
            index, qkv, o, up, down,
            state.get(f"{owner}.k_scale"), state.get(f"{owner}.v_scale", ones),
            state[f"{name}.attention_residual_scale"], state[f"{name}.ffn_residual_scale"],
        )  # fmt: skip


PARTS = ("qkv", "o", "up", "down")


class KaijuModel:
    """A model, or one rank's share of it. `config` are the sizes of the share.

    `reduce` adds up a tensor over the ranks; None on a single one.
    """

    def __init__(
        self, config: ModelConfig, state: Mapping[str, torch.Tensor], reduce: Reduce | None = None
    ) -> None:
        self.config, self.reduce = config, reduce
        self.layers = [Layer.of(config, state, i) for i in range(config.layers)]
        self.table, self.table_scale = state["embedding.weight"], state["embedding.scale"]
        self.head_scale = head_scale(self.table_scale, config.logits_scale)
        self.device = self.table.device
        self.rotary = rotary_table(config.max_context, config.rotary_base, self.device)
        self.sums_in_products = reduce is None and config.weights == "int8"
        """Whether sums of the residual stream are epilogues of the products."""

    def forward(
        self, inputs: StepInputs, plans: dict[str, Plans], cache: KVCache, work: Stream
    ) -> None:
        """All layers: the stream is then in `work`, K and V of the step's tokens are in the cache.

        `work` has room for at least the step's rows, and a delta unless `sums_in_products`.
        """
        fill(plans)
        rows = inputs.shape.rows
        x = embedding(
            inputs["tokens"], self.table, self.table_scale, scale=self.config.embedding_scale,
            out=work.x[:rows],
        )  # fmt: skip
        room = None if work.delta is None else work.delta[:rows]
        stream = Stream(x)
        for layer in self.layers:
            stream = self._attention(layer, stream, inputs, plans, cache, room)
            stream = self._ffn(layer, stream, room)

    def make_work(self, rows: int) -> Stream:
        """Room for the residual stream of steps of up to so many rows, for `forward`."""
        x = torch.zeros((rows, self.config.hidden), dtype=torch.bfloat16, device=self.device)
        if self.sums_in_products:
            return Stream(x)
        return Stream(x, torch.zeros_like(x), self.layers[-1].ffn_scale)

    def hidden(self, stream: Stream, rows: torch.Tensor) -> torch.Tensor:
        """The final norm of those rows, bf16 `[len(rows), hidden]`; a row of -1 gives zeros."""
        out = torch.empty((len(rows), self.config.hidden), dtype=torch.bfloat16, device=self.device)
        return self._norm(stream, rows=rows, out=out)

    def logits(
        self, stream: Stream, rows: torch.Tensor, dtype: torch.dtype = torch.bfloat16
    ) -> torch.Tensor:
        """Logits of those rows, bf16 or float32 `[len(rows), vocab]`."""
        out = torch.empty((len(rows), self.config.hidden), dtype=torch.int8, device=self.device)
        last = self._norm(stream, rows=rows, out=out)
        return matmul(
            last, self.table, None, self.head_scale, x_scale=self.config.activation_scale,
            dtype=dtype, chained=True,
        )  # fmt: skip

    def _norm(
        self, stream: Stream, *, rows: torch.Tensor | None = None, out: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The norm that begins a sub-layer; adds to the stream what is still to be added."""
        x, delta, scale = stream
        if out is None:
            kind = torch.int8 if self.config.weights == "int8" else torch.bfloat16
            out = torch.empty(x.shape, dtype=kind, device=x.device)
        return norm_quantise(
            x, delta=delta, residual_scale=scale, rows=rows, out=out, limit=self.config.limit,
            eps=self.config.eps, chained=True,
        ).values  # fmt: skip

    def _add(
        self, stream: Stream, linear: Linear, value: torch.Tensor, x_scale: float,
        scale: torch.Tensor, room: torch.Tensor | None,
    ) -> Stream:  # fmt: skip
        """A product whose result is added to the stream, now or in the next norm."""
        if self.sums_in_products:
            x = stream.x
            linear(value, x_scale, epilogue=Residual(x, scale), out=x, chained=True)
            return Stream(x)
        delta = linear(value, x_scale, out=room, chained=True)
        if self.reduce is not None:
            self.reduce(delta)
        return Stream(stream.x, delta, scale)

    def _attention(
        self, layer: Layer, stream: Stream, inputs: StepInputs, plans: dict[str, Plans],
        cache: KVCache, room: torch.Tensor | None,
    ) -> Stream:  # fmt: skip
        config = self.config
        normed = self._norm(stream)
        qkv = layer.qkv(normed, config.activation_scale, chained=True)
        out = self._attend(layer, qkv, inputs, plans, cache)
        out = out.view(len(out), config.q_width)
        return self._add(stream, layer.o, out, config.activation_scale, layer.attention_scale, room)

    def _attend(
        self, layer: Layer, qkv: torch.Tensor, inputs: StepInputs, plans: dict[str, Plans],
        cache: KVCache,
    ) -> torch.Tensor:  # fmt: skip
        config = self.config
        kind = "global" if config.is_global(layer.index) else "local"
        kv = cache.of(layer.index)
        owns = config.owns(layer.index)
        q, q_scale = rotary_write(
            qkv, inputs["positions"], self.rotary, k_scale=layer.k_scale,
            v_scale=layer.v_scale if owns and layer.k_scale is not None else None,
            pages=kv if owns else None, slots=inputs[f"{kind}_slots"] if owns else None,
            limit=config.limit, chained=True,
        )  # fmt: skip
        is_int8 = config.weights == "int8"
        out = torch.empty(q.shape, dtype=torch.int8 if is_int8 else torch.bfloat16, device=q.device)
        out_scale = config.activation_scale if is_int8 else None
        decode, prefill = plans[kind]
        if decode is not None:
            n = inputs.shape.decodes
            decode_attention(
                q[:n], None if q_scale is None else q_scale[:n], kv, layer.v_scale,
                inputs[f"decode_{kind}_table"], decode.start, decode.limit, plan=decode,
                out=out[:n], out_scale=out_scale, chained=True,
            )  # fmt: skip
        if prefill is not None:
            prefill_attention(
                q, q_scale, kv, layer.v_scale, inputs[f"{kind}_table"], prefill.cu_q,
                prefill.start, prefill.limit, plan=prefill, out=out, out_scale=out_scale,
            )  # fmt: skip
        return out

    def _ffn(self, layer: Layer, stream: Stream, room: torch.Tensor | None) -> Stream:
        config = self.config
        normed = self._norm(stream)
        relu = SquaredRelu(config.limit, config.middle_scale)
        middle = layer.up(normed, config.activation_scale, epilogue=relu, chained=True)
        return self._add(stream, layer.down, middle, config.middle_scale, layer.ffn_scale, room)
