"""What a Kaiju model is made of: sizes, which layers see how far, which layers share a KV cache.

Public about Kaiju (Character.AI, 2024 and 2025): one KV head, about five layers with a window of
1024 tokens to one that sees the whole context, KV shared by two or three layers of the same kind,
squared ReLU without a gate, RMSNorm without weights, clamps at +-4, tied embeddings, int8 weights,
activations and KV. Layers, widths, heads and vocabulary are ours.

Variants answer what each choice is worth: more KV heads, float16 KV, bfloat16 weights, no window,
no sharing. All run on the same code.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

HEAD_DIM = 128

Weights = Literal["int8", "bfloat16"]
KVType = Literal["int8", "float16"]


@dataclass(frozen=True)
class ModelConfig:
    """One model. Raises ValueError where sizes contradict each other."""

    name: str
    """Name, as in the simulator's catalog where it is there."""
    hidden: int
    """Width of the residual stream."""
    heads: int
    """Query heads, 128 wide each."""
    ffn: int
    """Width of the feed-forward middle."""
    vocab: int
    """Tokens."""
    kv_owner: tuple[int, ...]
    """For each layer, the lowest layer of its group: whose KV it reads. Its own number: it has K
    and V projections and writes KV."""
    global_layers: tuple[int, ...]
    """Layers that see the whole context; the others see `window` tokens."""
    kv_heads: int = 1
    """1 is MQA."""
    window: int | None = 1024
    """Tokens that a local layer sees, its own included; None where there are no local layers."""
    weights: Weights = "int8"
    """int8 with static activation scales, or bfloat16 (a variant)."""
    kv: KVType = "int8"
    """int8, or float16 (a variant; attention is then in float16)."""
    limit: float = 4.0
    """Clamp of the norm's output, of q, k, v, and before the squared ReLU."""
    eps: float = 1e-5
    """Of the norm."""
    rotary_base: float = 10_000.0
    """Of the rotary embedding."""
    embedding_scale: float = 10.667
    """Multiplies the embedding."""
    logits_scale: float = 0.125
    """Multiplies the logits."""
    max_context: int = 32_768
    """Longest sequence."""

    def __post_init__(self) -> None:
        _check_sizes(self)
        _check_layers(self)

    @property
    def layers(self) -> int:
        """Layers of both kinds."""
        return len(self.kv_owner)

    @property
    def share(self) -> int:
        """Query heads of a KV head."""
        return self.heads // self.kv_heads

    @property
    def q_width(self) -> int:
        """Columns of the query projection."""
        return self.heads * HEAD_DIM

    @property
    def kv_width(self) -> int:
        """Columns of the K and V projections of an owner."""
        return 2 * self.kv_heads * HEAD_DIM

    @property
    def activation_scale(self) -> float:
        """Of int8 values that a clamp bounds: norm outputs, k, v, attention outputs."""
        return self.limit / 127

    @property
    def middle_scale(self) -> float:
        """Of the FFN's middle: a squared ReLU reaches limit^2."""
        return self.limit * self.limit / 127

    def is_global(self, layer: int) -> bool:
        """Does the layer see the whole context?"""
        return layer in self.global_layers

    def owns(self, layer: int) -> bool:
        """Does the layer have K and V of its own?"""
        return self.kv_owner[layer] == layer

    def owners(self, *, is_global: bool) -> list[int]:
        """The layers of one kind that store KV, in order."""
        return [i for i in range(self.layers) if self.owns(i) and self.is_global(i) == is_global]

    def projection(self, layer: int) -> int:
        """Columns of the layer's fused projection: q, and k and v of an owner."""
        return self.q_width + (self.kv_width if self.owns(layer) else 0)

    @property
    def parameters(self) -> int:
        """All weights, with two residual scale vectors a layer; the embedding is tied."""
        each = 2 * self.q_width + 2 * self.ffn + 2
        owners = sum(self.owns(i) for i in range(self.layers))
        return self.hidden * (self.layers * each + owners * self.kv_width + self.vocab)


def blocks_of_six(layers: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Global layers and KV owners of a stack of blocks: five local layers, then a global one.

    The five share two caches, three layers and two; a global layer shares with that of the block
    before, so in pairs. Raises ValueError unless the layers are a multiple of six.
    """
    if layers < 1 or layers % 6:
        raise ValueError(f"layers: is {layers}, must be a multiple of 6")
    owner = []
    for first in range(0, layers, 6):
        pair = first if first // 6 % 2 == 0 else first - 6
        owner += [first, first, first, first + 3, first + 3, pair + 5]
    return tuple(range(5, layers, 6)), tuple(owner)


def kaiju(name: str, layers: int, *, hidden: int, heads: int, ffn: int, vocab: int) -> ModelConfig:
    """A Kaiju model with the usual layers."""
    global_layers, owner = blocks_of_six(layers)
    return ModelConfig(name, hidden, heads, ffn, vocab, kv_owner=owner, global_layers=global_layers)


def tiny(window: int = 256) -> ModelConfig:
    """A model that Triton's interpreter runs in seconds, with every kind of layer: owners and
    sharers, neighbours of one kind and others in between."""
    return ModelConfig(
        "tiny", hidden=256, heads=4, ffn=512, vocab=512, kv_owner=(0, 0, 2, 3, 2),
        global_layers=(2, 4), window=window, embedding_scale=2.0, logits_scale=0.5,
        max_context=2048,
    )  # fmt: skip


def variant(
    config: ModelConfig, *, kv_heads: int | None = None, weights: Weights | None = None,
    kv: KVType | None = None, full_attention: bool = False, share_kv: bool = True,
) -> ModelConfig:  # fmt: skip
    """The model with single choices undone; what is not given stays. `full_attention`: no windows.
    `share_kv` False: every layer has its own KV."""
    changed = replace(
        config, kv_heads=kv_heads or config.kv_heads, weights=weights or config.weights,
        kv=kv or config.kv,
    )  # fmt: skip
    every = tuple(range(config.layers))
    if full_attention:
        changed = replace(changed, global_layers=every, window=None)
    return changed if share_kv else replace(changed, kv_owner=every)


def check_ranks(config: ModelConfig, ranks: int) -> None:
    """ValueError unless heads and FFN divide by the ranks, and K and V are the same on all."""
    for name, size in (("heads", config.heads), ("ffn", config.ffn // 16)):
        if ranks < 1 or size % ranks:
            raise ValueError(f"ranks: is {ranks}, must divide the model's {name} ({size})")
    if ranks > 1 and config.kv_heads > 1 and config.kv_heads % ranks:
        raise ValueError(f"ranks: is {ranks}, must divide its KV heads ({config.kv_heads})")


def _check_sizes(config: ModelConfig) -> None:
    if config.heads < 1 or config.kv_heads < 1 or config.heads % config.kv_heads:
        raise ValueError(
            f"heads: {config.heads}, must be a multiple of kv_heads ({config.kv_heads})"
        )
    if config.share > 128:
        raise ValueError(f"heads: {config.share} share a KV head, must be 128 at most")
    for name in ("hidden", "ffn", "vocab"):
        size = getattr(config, name)
        if size < 16 or size % 16:
            raise ValueError(f"{name}: is {size}, must be a multiple of 16")


def _check_layers(config: ModelConfig) -> None:
    known = range(config.layers)
    if not config.kv_owner:
        raise ValueError("kv_owner: is empty, a model needs a layer")
    _check_global(config.global_layers, config.layers)
    if (config.window is None) != (len(config.global_layers) == config.layers):
        raise ValueError("window: must be given exactly where there are local layers")
    for layer, owner in enumerate(config.kv_owner):
        if owner not in known or owner > layer or config.kv_owner[owner] != owner:
            raise ValueError(f"kv_owner: layer {layer} names {owner}, which owns no KV below it")
        if config.is_global(layer) != config.is_global(owner):
            raise ValueError(f"kv_owner: layer {layer} and {owner} do not see equally far")


def _check_global(layers: Sequence[int], count: int) -> None:
    if sorted(set(layers)) != list(layers) or any(not 0 <= i < count for i in layers):
        raise ValueError(f"global_layers: must be increasing numbers of the {count} layers")
