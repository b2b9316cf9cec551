"""The runs that are compared, by name."""

from collections.abc import Sequence
from dataclasses import replace

from kernels.training.demo.options import Tricks

PLAIN = Tricks("bf16", "bf16", "constant", False, 0.0, "fp32", 2)
"""bf16, static clamps, gradients put together exactly: what all is compared with."""
QAT = replace(PLAIN, forward="int8", clamping="values")

ARMS: dict[str, Tricks] = {
    "bf16": PLAIN,
    "int8": QAT,
    "int8, input gradient too": replace(QAT, input_gradient="int8"),
    "int8, virtual scalars": replace(QAT, scalars=True),
    "int8, limit of the weights": replace(QAT, clamping="weights"),
    "int8, constant limits": replace(QAT, clamping="constant"),
    "int8, no clamping": replace(QAT, clamping="none"),
    "int8, ternary updates": replace(QAT, updates="ternary"),
    "bf16, z-reg": replace(PLAIN, z_weight=1e-4),
    "bf16, bf16 gradients": replace(PLAIN, gradients="bf16"),
    "bf16, squinch": replace(PLAIN, gradients="squinch"),
    "bf16, squinch stochastic": replace(PLAIN, gradients="squinch", stochastic=True),
    "bf16, squinch with feedback": replace(PLAIN, gradients="squinch", feedback=True),
    "all": Tricks(),
}
"""Distillation is beside these: its teacher is the bf16 run."""
SERVED = ("int8", "int8, ternary updates", "all")
"""Arms whose served logits are compared with those of the training graph."""
DISTILLATION = "distillation"
SCRATCH, STUDENT = "short run", "short run, distilled"
NAMES = (*ARMS, DISTILLATION)


def chosen(names: Sequence[str] | None) -> list[str]:
    """What to train, in the fixed order; None: all. Raises ValueError for an unknown name."""
    wanted = NAMES if names is None else names
    if unknown := set(wanted) - set(NAMES):
        raise ValueError(f"arms: {sorted(unknown)}: must be among {', '.join(NAMES)}")
    return [name for name in NAMES if name in wanted]
