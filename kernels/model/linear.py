"""A weight and its product: int8 with static activation scales, or bfloat16 (a variant)."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
import triton
import triton.language as tl

from kernels.matmul import matmul
from kernels.product import PLAIN, Epilogue, SquaredRelu

BLOCK = 2048


class Linear(NamedTuple):
    """`weight` `[outputs, inputs]`; `scale` float32 `[outputs]`, None in bfloat16."""

    weight: torch.Tensor
    scale: torch.Tensor | None

    @classmethod
    def of(cls, state: Mapping[str, torch.Tensor], name: str) -> "Linear":
        """The weight of that name."""
        return cls(state[f"{name}.weight"], state.get(f"{name}.scale"))

    def __call__(
        self, x: torch.Tensor, x_scale: float, *,
        epilogue: Epilogue = PLAIN, out: torch.Tensor | None = None, chained: bool = False,
    ) -> torch.Tensor:  # fmt: skip
        """x @ weight^T with its scales, bf16 `[rows, outputs]`, and what follows it.

        `x` int8 with the static scale `x_scale`, or bf16, which knows no epilogue but none and the
        squared ReLU. `chained` as in `kernels.matmul.matmul`.
        """
        if self.scale is not None:
            return matmul(
                x, self.weight, None, self.scale, x_scale=x_scale, epilogue=epilogue, out=out,
                chained=chained,
            )  # fmt: skip
        result = torch.mm(x, self.weight.T, out=out)
        if isinstance(epilogue, SquaredRelu):
            squared_relu(result, epilogue.limit)
        else:
            assert epilogue == PLAIN, "a bfloat16 product has no such epilogue"
        return result


@triton.jit
def _squared_relu(x_ptr, count, limit, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = at < count
    value = tl.load(x_ptr + at, mask=mask, other=0.0).to(tl.float32)
    value = tl.minimum(tl.maximum(value, 0.0), limit)
    tl.store(x_ptr + at, (value * value).to(tl.bfloat16), mask=mask)


def squared_relu(x: torch.Tensor, limit: float) -> None:
    """relu(clamp(x, limit))^2 in place, bf16, contiguous: the epilogue of a bfloat16 product."""
    _squared_relu[(triton.cdiv(x.numel(), BLOCK),)](x, x.numel(), limit, BLOCK=BLOCK)
