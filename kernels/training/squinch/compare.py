"""How good a code for gradients is, and the codes that Squinch is compared with.

Squinch buys small errors of the logarithm, so that small gradients keep their size, not the
smallest squared error: a uniform code of its size has less of that on normal gradients. Both are
reported, and so is what a round trip costs in bits.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch

from kernels.training.squinch.codec import reference_pack, reference_unpack
from kernels.training.squinch.noise import Noise

FP8_MOST = 448.0
INT8_GROUP = 128


class Errors(NamedTuple):
    """Of a round trip."""

    relative_l2: float
    """Norm of the difference over norm of the gradients."""
    log_error: float
    """Mean of |ln(|decoded| / |x|)| where both are not zero."""
    cosine: float
    size_ratio: float
    """Mean magnitude after over before."""
    lost: float
    """Share of gradients that are not zero and decode to zero."""


class Code(NamedTuple):
    """A code: its bits a gradient, with scales, and its round trip."""

    bits: float
    round_trip: Callable[[torch.Tensor], torch.Tensor]


def errors(x: torch.Tensor, decoded: torch.Tensor) -> Errors:
    """What a round trip did to gradients that are not all zero."""
    x, decoded = x.double().flatten(), decoded.double().flatten()
    both = (x != 0) & (decoded != 0)
    log_error = (decoded[both].abs() / x[both].abs()).log().abs().mean()
    return Errors(
        float((decoded - x).norm() / x.norm()),
        float(log_error),
        float(torch.dot(x, decoded) / (x.norm() * decoded.norm())),
        float(decoded.abs().mean() / x.abs().mean()),
        float(((x != 0) & (decoded == 0)).double().mean()),
    )


def squinch(x: torch.Tensor, noise: Noise | None = None) -> torch.Tensor:
    """Through Squinch and back."""
    return reference_unpack(reference_pack(x.flatten(), noise), x.numel()).view_as(x)


def uniform(x: torch.Tensor) -> torch.Tensor:
    """48 bits for 8: an 8-bit exponent as Squinch's, and whole numbers from -15 to 15 (sign and
    four bits) in units of the block's bound / 15."""
    blocks = x.float().view(-1, 8)
    largest = blocks.abs().amax(1, keepdim=True)
    bound = (((6 * largest.log()).ceil()) / 6).exp()
    unit = torch.where(largest > 0, bound / 15, torch.ones_like(bound))
    return ((blocks / unit).round().clamp(-15, 15) * unit).view_as(x)


def int8(x: torch.Tensor) -> torch.Tensor:
    """int8 with a float32 scale for each 128 gradients."""
    groups = x.float().view(-1, INT8_GROUP)
    unit = groups.abs().amax(1, keepdim=True).clamp(min=1e-30) / 127
    return ((groups / unit).round() * unit).view_as(x)


def fp8(x: torch.Tensor) -> torch.Tensor:
    """float8 e4m3 with one scale for the tensor."""
    unit = x.float().abs().amax().clamp(min=1e-30) / FP8_MOST
    return (x.float() / unit).to(torch.float8_e4m3fn).float() * unit


CODES = {
    "squinch": Code(6.0, squinch),
    "squinch, stochastic": Code(6.0, lambda x: squinch(x, Noise(1))),
    "uniform, same size": Code(6.0, uniform),
    "int8, groups of 128": Code(8.25, int8),
    "fp8 e4m3, one scale": Code(8.0, fp8),
    "bf16": Code(16.0, lambda x: x.bfloat16().float()),
}


def draws(count: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """Made-up gradients: normal, Laplace, Student t with 3 degrees, and log-uniform magnitudes over
    four decades (what Squinch assumes). `count` is a multiple of 128."""
    generator = torch.Generator().manual_seed(seed)

    def normal() -> torch.Tensor:
        return torch.randn(count, generator=generator)

    def number() -> torch.Tensor:
        return torch.rand(count, generator=generator)

    sign = torch.where(number() < 0.5, -1.0, 1.0)
    chi = sum(normal().square() for _ in range(3)) / 3
    return {
        "normal": normal(),
        "laplace": -sign * (number().clamp(min=1e-12)).log(),
        "student t3": normal() / torch.as_tensor(chi).sqrt(),
        "log-uniform, 4 decades": sign * 10 ** (-4 * number()),
    }
