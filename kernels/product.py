"""What a product is asked for: operands, scales, what follows it; and the checks of all that.

Both matmul kernels, the plain and the Hopper one, take a `Request` as `make_request` has made it.
"""

from typing import NamedTuple

import torch

from kernels.common import checks

MOST_K = 1 << 16
"""128 * 128 * MOST_K is below 2^31, and so is every sum."""

MOST_ELEMENTS = 1 << 31
"""Of x, w and out each: offsets in the kernels are 32 bits."""

LARGEST = 3e38
"""About the largest float32."""


class Plain(NamedTuple):
    """The scaled product."""


class Clamp(NamedTuple):
    """The product, clamped to +-limit."""

    limit: float = 4.0


class SquaredRelu(NamedTuple):
    """relu(clamp(product))^2 as int8 with a static scale: the input of the next layer.

    The largest value is limit^2, so a scale of limit^2 / 127 uses all of int8.
    """

    limit: float = 4.0
    scale: float = 16 / 127


class Residual(NamedTuple):
    """residual * scale[n] + product; `residual` like the result `[M, N]`, which may be the same
    memory; `scale` float32 `[N]`, or None for ones."""

    residual: torch.Tensor
    scale: torch.Tensor | None = None


Epilogue = Plain | Clamp | SquaredRelu | Residual
EPILOGUES = (Plain, Clamp, SquaredRelu, Residual)
"""In the order of the kernels' codes."""

PLAIN = Plain()


class Request(NamedTuple):
    """One product, checked, with what its epilogue needs (zeros and None where it needs none)."""

    x: torch.Tensor
    w: torch.Tensor
    out: torch.Tensor
    row_scale: torch.Tensor | None
    x_scale: float
    col_scale: torch.Tensor
    epilogue: int
    limit: float
    inverse_scale: float
    residual: torch.Tensor | None
    residual_scale: torch.Tensor | None

    @property
    def sizes(self) -> tuple[int, int, int]:
        """M, N and K."""
        return self.x.shape[0], self.w.shape[0], self.x.shape[1]


def make_request(x, w, out, row_scale, col_scale, x_scale, epilogue) -> Request:
    """What a kernel wants to know."""
    limit, inverse_scale = 0.0, 0.0
    residual, residual_scale = None, None
    if isinstance(epilogue, Clamp | SquaredRelu):
        limit = float(epilogue.limit)
    if isinstance(epilogue, SquaredRelu):
        inverse_scale = 1.0 / epilogue.scale
    if isinstance(epilogue, Residual):
        residual, residual_scale = epilogue
    code = EPILOGUES.index(type(epilogue))
    static = 1.0 if x_scale is None else float(x_scale)
    return Request(
        x, w, out, row_scale, static, col_scale, code, limit, inverse_scale, residual,
        residual_scale,
    )  # fmt: skip


def check_operands(x, w, row_scale, col_scale, x_scale) -> None:
    """x, w and their scales, as `kernels.matmul.matmul` takes them."""
    checks.tensor("x", x, (None, None), torch.int8)
    m, k = x.shape
    checks.tensor("w", w, (None, k), torch.int8, x.device)
    n = w.shape[0]
    checks.multiple("x", "K", k, 16)
    checks.multiple("w", "N", n, 16)
    if k > MOST_K:
        raise ValueError(f"x: K is {k}, must be {MOST_K} at most for the sums to fit into int32")
    for name, size in (("x", m * k), ("w", n * k), ("out", m * n)):
        if size >= MOST_ELEMENTS:
            raise ValueError(f"{name}: has {size} elements, must have fewer than {MOST_ELEMENTS}")
    for name, value in (("x", x), ("w", w)):
        checks.aligned(name, value)
    checks.tensor("col_scale", col_scale, (n,), torch.float32, x.device)
    if row_scale is not None:
        checks.tensor("row_scale", row_scale, (m,), torch.float32, x.device)
        if x_scale is not None:
            raise ValueError("x_scale: must be None where row_scale is given")
    elif x_scale is None:
        raise ValueError("row_scale: is None, and so is x_scale: one of them must be given")
    else:
        checks.number("x_scale", x_scale, 0.0, LARGEST)


def check_epilogue(epilogue, dtype, shape, device) -> None:
    """An epilogue, and the dtype of what it gives, for a result of this shape."""
    if not isinstance(epilogue, EPILOGUES):
        names = ", ".join(kind.__name__ for kind in EPILOGUES)
        raise ValueError(f"epilogue: is a {type(epilogue).__name__}, must be one of {names}")
    if isinstance(epilogue, SquaredRelu):
        checks.number("epilogue.limit", epilogue.limit, 0.0, 1e18)
        least = epilogue.limit * epilogue.limit / 127 * (1 - 1e-6)
        checks.number("epilogue.scale", epilogue.scale, max(least, 1e-37), LARGEST)
        checks.one_of("dtype", dtype, (torch.int8,))
        return
    checks.one_of("dtype", dtype, (torch.bfloat16, torch.float32))
    if isinstance(epilogue, Clamp):
        checks.number("epilogue.limit", epilogue.limit, 0.0, LARGEST)
    if isinstance(epilogue, Residual):
        checks.tensor("epilogue.residual", epilogue.residual, shape, dtype, device)
        checks.aligned("epilogue.residual", epilogue.residual)
        if epilogue.scale is not None:
            checks.tensor("epilogue.scale", epilogue.scale, shape[1:], torch.float32, device)
