"""How the model is trained: the cluster, int8, how gradients travel, what is kept.

Only a scenario that has `economics.pretraining` knows these; `kaiju-sim economics` then prices the
run step by step, and again without each trick (docs/economics.md).
"""

from typing import Literal

from pydantic import Field

from kaiju_sim.scenario.assumed import Assumed, AssumedShare, assumed, assumed_share
from kaiju_sim.scenario.base import Part

_KAIJU = "Character.AI, Inside Kaiju, November 2025"
_SQUINCH = "Character.AI, Squinch, December 2025"


class Pretraining(Part):
    """One training run. Tokens, runs, months and the GPU's share of its peak are those of
    `economics.training`, whose share of the peak is that of a bf16 step without waiting."""

    gpus: int = Field(default=512, ge=1, le=1_000_000)
    """GPUs of the cluster, the scenario's kind. A guess: nobody has said."""
    node_gpus: int = Field(default=8, ge=1, le=1024)
    """GPUs of a node, over which each layer is divided; weights are sharded over the nodes."""
    forward: Literal["int8", "bf16"] = "int8"
    """Weights of the forward pass: what is computed with, and what is gathered."""
    gradients: Literal["squinch", "bf16"] = "squinch"
    """How gradients travel between nodes."""
    step: Literal["stated", "measured"] = "stated"
    """Where the time of a step comes from. `stated`: `economics.training.flops_utilisation` and
    `int8_speedup`. `measured`: one layer of the 13B on an H100 (docs/training.md), its share of
    that GPU's peak, with the time of coding gradients; its norms and sums are not fused."""
    int8_speedup: Assumed = assumed(*(1.25, 1.0, 1.3, f"20-30 % faster ({_KAIJU}); low: none", "P"))
    """Speed of an int8 step / speed of a bf16 step, without waiting for the network."""
    batch_tokens: Assumed = assumed(
        *(4e6, 1e6, 1.6e7, "4 M of Llama 2 to 16 M of Llama 3 (2307.09288, 2407.21783)", "R")
    )
    """Tokens of a step."""
    network_bytes_per_s: Assumed = assumed(
        *(1.25e10, 5e9, 5e10, f"a quarter of 400 Gb/s a GPU (a quarter: {_SQUINCH})", "I")
    )
    """What a GPU sends to other nodes in a second."""
    overlap: AssumedShare = assumed_share(
        *(0.7, 0.0, 0.95, "share of a step's computing under which transfers hide; a guess", "U")
    )
    """Share of the time of computing during which the network works too."""
    checkpoint_hours: Assumed = assumed(*(1.0, 0.25, 6.0, "an hour's work may be lost", "U"))
    """Hours between checkpoints."""
    checkpoint_pause_s: Assumed = assumed(
        *(20.0, 0.0, 120.0, "asynchronous: the copy to host memory only", "U")
    )
    """How long all GPUs wait for one."""
    checkpoints_kept: Assumed = assumed(*(20, 3, 200, "a guess", "U"))
    """How many are kept, for as long as the model is written off."""
    distilled_tokens: Assumed = assumed(*(0.0, 0.0, 2e12, "none by default", "U"))
    """Tokens for which a teacher's targets are kept."""
    distilled_k: Assumed = assumed(*(64, 16, 256, "not published", "U"))
    """Tokens that are kept of each distribution, 4 bytes each (kernels/training/distill)."""
