"""What a run of the demo is: the size of the model, the tricks, the schedule."""

from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from kernels.model.config import ModelConfig, blocks_of_six

Clamping = Literal["values", "weights", "constant", "none"]
Gradients = Literal["fp32", "bf16", "squinch"]
VOCAB = 256
"""Bytes; 0 ends a document."""


@dataclass(frozen=True)
class Size:
    """A model and the batches that it is trained on."""

    layers: int
    hidden: int
    heads: int
    ffn: int
    window: int
    context: int
    batch: int
    rate: float


SIZES = {
    "tiny": Size(2, 64, 1, 128, 16, 64, 4, 5e-3),
    "small": Size(6, 256, 2, 1024, 128, 512, 16, 3e-3),
    "medium": Size(12, 512, 4, 2048, 256, 1024, 32, 2e-3),
    "large": Size(12, 1024, 8, 4096, 512, 2048, 32, 1e-3),
}
"""0.1, 4, 32 and 127 million parameters. tiny is for a CPU and for tests."""


@dataclass(frozen=True)
class Tricks:
    """What is switched on. Raises ValueError for what does not exist."""

    forward: Literal["int8", "bf16"] = "int8"
    """Linear layers and attention."""
    input_gradient: Literal["int8", "bf16"] = "bf16"
    """Gradients of the linear layers' inputs."""
    clamping: Clamping = "values"
    """Where the feed-forward's limit comes from. "none": nothing is clamped, and each int8 scale is
    of the largest value of the moment, which serving cannot do: no export."""
    scalars: bool = True
    """A virtual scalar for each linear layer."""
    z_weight: float = 1e-4
    """Z-Reg, of attention and of the head's logits; 0: none."""
    gradients: Gradients = "squinch"
    """How they are exchanged between ranks."""
    ranks: int = 2
    """Rehearsed ones: each has its part of a batch, and their gradients are put together as if they
    were that many processes. With real processes (torchrun) it is ignored."""
    stochastic: bool = False
    """Squinch rounds stochastically."""
    feedback: bool = False
    """Squinch feeds errors back."""
    updates: Literal["adam", "ternary"] = "adam"
    """Of the linear layers. "ternary": int8 weights, each moved by -1, 0 or +1 in a step."""
    ternary_rate: float = 0.5
    """Share of the weights that a ternary step moves, about, where the rate is at its peak."""

    def __post_init__(self) -> None:
        allowed = {
            "forward": ("int8", "bf16"), "input_gradient": ("int8", "bf16"),
            "clamping": ("values", "weights", "constant", "none"),
            "gradients": ("fp32", "bf16", "squinch"), "updates": ("adam", "ternary"),
        }  # fmt: skip
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise ValueError(f"{name}: is {getattr(self, name)!r}, must be one of {values}")
        if self.ranks < 1 or self.z_weight < 0:
            raise ValueError(f"ranks: {self.ranks}, z_weight: {self.z_weight}: must be 1 and 0 up")
        if self.updates == "ternary" and self.forward != "int8":
            raise ValueError("updates: ternary ones are of int8 weights, so forward must be int8")
        if self.ternary_rate <= 0:
            raise ValueError(f"ternary_rate: is {self.ternary_rate}, must be above 0")


@dataclass(frozen=True)
class Options:
    """One run."""

    size: str = "tiny"
    steps: int = 100
    seed: int = 0
    """Of weights and of the order of data."""
    corpus: str = "pydoc"
    """"pydoc", "stdlib", or a file of text."""
    tricks: Tricks = Tricks()
    targets: str = ""
    """Folder with a teacher's targets; empty: the text itself is learnt."""
    warm_batches: bool = True
    """Begin with a quarter of the batch, for the first tenth of the tokens."""
    evaluate_every: int = 50

    def __post_init__(self) -> None:
        if self.size not in SIZES:
            raise ValueError(f"size: is {self.size!r}, must be one of {', '.join(SIZES)}")
        if self.steps < 1 or self.evaluate_every < 1:
            raise ValueError(f"steps: {self.steps}: must be at least 1, and so evaluate_every")

    @property
    def sizes(self) -> Size:
        """The preset."""
        return SIZES[self.size]

    def as_dict(self) -> dict[str, Any]:
        """For a file."""
        return asdict(self)

    @classmethod
    def of(cls, found: dict[str, Any]) -> "Options":
        """From a file."""
        known = {f.name for f in fields(cls)}
        return cls(**{k: v for k, v in found.items() if k in known and k != "tricks"},
                   tricks=Tricks(**found["tricks"]))  # fmt: skip


def model_config(options: Options) -> ModelConfig:
    """The architecture of `kernels.model`, at the demo's size."""
    size = options.sizes
    global_layers: tuple[int, ...] = (size.layers - 1,)
    owner = tuple(range(size.layers))
    if size.layers % 6 == 0:
        global_layers, owner = blocks_of_six(size.layers)
    config = ModelConfig(
        f"demo-{options.size}", size.hidden, size.heads, size.ffn, VOCAB, kv_owner=owner,
        global_layers=global_layers, window=size.window,
    )  # fmt: skip
    # Embeddings of N(0, 1 / hidden) give a stream of size 1 and logits of size 1.
    return replace(config, embedding_scale=size.hidden**0.5, logits_scale=1.0)
