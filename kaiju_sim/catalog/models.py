"""Models: the dimensions from which weights, KV bytes and operations follow.

A dense decoder with two kinds of attention layers: global ones attend to the whole context, local
ones to a window. Neighbouring layers of one kind share a KV cache: the **owner** has the K and V
projections and stores KV, the others read it. Sharing therefore saves memory and parameters but
not reads: every layer reads its KV once per step.

Other designs are other fields: `kv_heads` 8 is GQA, `kv_heads == heads` is MHA, `kv_bytes` 2 is a
bf16 cache, no local layers (and `window` null) is full attention, owners == layers is no sharing.
Not modelled: mixture of experts, latent attention, biases, norm weights (Kaiju's norm has none).
"""

from functools import cache
from typing import Any

from pydantic import Field, model_validator

from kaiju_sim.catalog.table import Entry, read_table, unknown_name

Count = Field(ge=1)


class Model(Entry):
    """One model."""

    name: str
    """Catalog name."""
    description: str
    """Full name, and whose dimensions these are."""
    global_layers: int = Field(ge=0)
    """Layers that attend to the whole context."""
    local_layers: int = Field(ge=0)
    """Layers that attend to the last `window` tokens."""
    global_kv_owners: int = Field(ge=0)
    """Global layers that store KV (the others share theirs)."""
    local_kv_owners: int = Field(ge=0)
    """Local layers that store KV."""
    hidden: int = Count
    """Width of the residual stream."""
    heads: int = Count
    """Query heads."""
    head_dim: int = Field(default=128, ge=1)
    """Width of a head."""
    kv_heads: int = Field(default=1, ge=1)
    """KV heads: 1 is MQA."""
    ffn: int = Count
    """Width of the feed-forward middle."""
    ffn_matrices: int = Field(default=2, ge=2, le=3)
    """2: ungated (ReLU squared); 3: gated."""
    vocab: int = Count
    """Vocabulary."""
    tied_embedding: bool = True
    """Input and output embedding are one matrix."""
    window: int | None = Field(default=1024, ge=1)
    """Tokens that a local layer sees, its own included; none without local layers."""
    weight_bytes: int = Field(default=1, ge=1, le=2)
    """Bytes per weight: 1 int8 (int8 matrix products), 2 bf16."""
    kv_bytes: int = Field(default=1, ge=1, le=2)
    """Bytes per KV element: 1 int8, 2 bf16."""
    activation_bytes: int = Field(default=2, ge=2, le=4)
    """Bytes per element of the residual stream."""

    @model_validator(mode="after")
    def _consistent(self) -> "Model":
        if self.layers < 1:
            raise ValueError("a model needs at least one layer")
        if (self.window is None) != (self.local_layers == 0):
            raise ValueError("window must be given exactly when there are local layers")
        if self.heads % self.kv_heads:
            raise ValueError("heads must be a multiple of kv_heads")
        _check_owners("global", self.global_layers, self.global_kv_owners)
        _check_owners("local", self.local_layers, self.local_kv_owners)
        return self

    @property
    def layers(self) -> int:
        """Layers of both kinds."""
        return self.global_layers + self.local_layers

    @property
    def kv_owners(self) -> int:
        """Layers that have K and V projections and store KV."""
        return self.global_kv_owners + self.local_kv_owners

    @property
    def q_width(self) -> int:
        """Columns of the query projection: all heads."""
        return self.heads * self.head_dim

    @property
    def params(self) -> int:
        """All parameters, with two residual scale vectors per layer."""
        return self.layer_params + self.embedding_params * (1 if self.tied_embedding else 2)

    @property
    def embedding_params(self) -> int:
        """Parameters of one embedding matrix."""
        return self.vocab * self.hidden

    @property
    def layer_params(self) -> int:
        """Parameters of all layers; only KV owners have K and V projections."""
        each = 2 * self.q_width + self.ffn_matrices * self.ffn + 2
        kv = 2 * self.kv_heads * self.head_dim
        return self.hidden * (self.layers * each + self.kv_owners * kv)

    def rank_kv_heads(self, tensor_parallel: int = 1) -> int:
        """KV heads on each rank: split as far as there are enough, else replicated."""
        return -(-self.kv_heads // tensor_parallel)

    def rank_weight_bytes(self, tensor_parallel: int = 1) -> int:
        """Weight bytes on each rank: all split but the replicated part of K and V projections."""
        kv = 2 * self.hidden * self.head_dim * self.kv_owners
        split = self.params - kv * self.kv_heads
        rank_params = -(-split // tensor_parallel) + kv * self.rank_kv_heads(tensor_parallel)
        return self.weight_bytes * rank_params

    def layer_kv_bytes(self, tensor_parallel: int = 1) -> int:
        """KV bytes of one token in one layer, on each rank."""
        return 2 * self.head_dim * self.kv_bytes * self.rank_kv_heads(tensor_parallel)

    def global_kv_token_bytes(self, tensor_parallel: int = 1) -> int:
        """KV bytes stored per token of context by the global layers, on each rank."""
        return self.global_kv_owners * self.layer_kv_bytes(tensor_parallel)

    def local_kv_token_bytes(self, tensor_parallel: int = 1) -> int:
        """KV bytes stored per token in the window by the local layers, on each rank."""
        return self.local_kv_owners * self.layer_kv_bytes(tensor_parallel)

    def kv_store_bytes(self, context: int, tensor_parallel: int = 1) -> int:
        """KV bytes that one sequence of `context` tokens holds, on each rank."""
        whole = self.global_kv_token_bytes(tensor_parallel) * context
        return whole + self.local_kv_token_bytes(tensor_parallel) * self.in_window(context)

    def kv_read_bytes(self, context: int, tensor_parallel: int = 1) -> int:
        """KV bytes that a decode step reads for one sequence: each layer its own, shared or not."""
        tokens = self.global_layers * context + self.local_layers * self.in_window(context)
        return tokens * self.layer_kv_bytes(tensor_parallel)

    def in_window(self, context: int) -> int:
        """Tokens of `context` that a local layer sees (all, if there are no local layers)."""
        return context if self.window is None else min(context, self.window)


def _check_owners(kind: str, layers: int, owners: int) -> None:
    if owners > layers or (layers > 0) != (owners > 0):
        raise ValueError(f"{kind}_kv_owners must be between 1 and {kind}_layers")


def model_names() -> list[str]:
    """Names of all models in the catalog."""
    return list(read_table("models"))


@cache
def find_model(name: str) -> Model:
    """The model of that name; UserError with the nearest and all allowed names otherwise."""
    if name not in model_names():
        unknown_name("model", name, model_names())
    return Model(name=name, **read_table("models")[name])


def variant(model: Model, **fields: Any) -> Model:
    """The model with other fields (GQA, bf16 KV, no window ...), validated anew."""
    return Model(**{**model.model_dump(), **fields})
