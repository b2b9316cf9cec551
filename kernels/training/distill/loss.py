"""The student's loss on subsampled soft targets.

    loss of a row = sum over its tokens of w(v) * (lse - z(v)),   lse the log-sum-exp of logits z

Its expectation over the subsampling is the cross-entropy with all of the teacher's distribution,
and so is its gradient's: sum(w) * softmax(z) - w. (Where nothing was left out, it is that.)
"""

from typing import Any

import torch
import triton
import triton.language as tl

from kernels.common import checks
from kernels.common.device import Work
from kernels.training.distill.subsample import Targets
from kernels.training.rows import row_mass

FLOATS = (torch.float32, torch.bfloat16)
BLOCK = 4096


def reference(logits: torch.Tensor, targets: Targets) -> torch.Tensor:
    """The specification, in float64 and differentiable by itself: `[rows]`."""
    logp = logits.double().log_softmax(1)
    chosen = logp.gather(1, targets.ids.long().clamp(min=0))
    return -(targets.weights.double() * chosen).sum(1)


@triton.jit
def _forward(
    x_ptr, ids_ptr, weights_ptr, loss_ptr, lse_ptr, width, stride, k,
    BLOCK: tl.constexpr, K_BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    x_ptr += row * stride
    largest, mass = row_mass(x_ptr, width, BLOCK)
    lse = largest + tl.log(mass)
    one = tl.arange(0, K_BLOCK)
    ids = tl.load(ids_ptr + row * k + one, mask=one < k, other=-1)
    weights = tl.load(weights_ptr + row * k + one, mask=one < k, other=0.0)
    chosen = tl.load(x_ptr + ids, mask=ids >= 0, other=0.0).to(tl.float32)
    tl.store(loss_ptr + row, tl.sum(tl.where(ids >= 0, weights * (lse - chosen), 0.0), 0))
    tl.store(lse_ptr + row, lse)


@triton.jit
def _backward(
    x_ptr, ids_ptr, weights_ptr, lse_ptr, g_ptr, out_ptr, width, stride, k,
    BLOCK: tl.constexpr, K_BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    x_ptr += row * stride
    out_ptr += row * width
    lse, g = tl.load(lse_ptr + row), tl.load(g_ptr + row)
    one = tl.arange(0, K_BLOCK)
    ids = tl.load(ids_ptr + row * k + one, mask=one < k, other=-1)
    weights = tl.load(weights_ptr + row * k + one, mask=one < k, other=0.0)
    mass = g * tl.sum(weights, 0)
    for first in range(0, width, BLOCK):
        at = first + tl.arange(0, BLOCK)
        x = tl.load(x_ptr + at, mask=at < width, other=float("-inf")).to(tl.float32)
        value = mass * tl.exp(x - lse)
        tl.store(out_ptr + at, value.to(out_ptr.dtype.element_ty), mask=at < width)
    tl.debug_barrier()  # the few that differ are written over what other threads wrote
    chosen = tl.load(x_ptr + ids, mask=ids >= 0, other=0.0).to(tl.float32)
    value = mass * tl.exp(chosen - lse) - g * weights
    tl.store(out_ptr + ids, value.to(out_ptr.dtype.element_ty), mask=ids >= 0)


class _Loss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: torch.Tensor, ids: torch.Tensor, weights: torch.Tensor
    ) -> torch.Tensor:
        rows, width = logits.shape
        loss = torch.empty(rows, dtype=torch.float32, device=logits.device)
        lse = torch.empty_like(loss)
        _forward[(rows,)](
            logits, ids, weights, loss, lse, width, logits.stride(0), ids.shape[1],
            **_blocks(width, ids.shape[1]),
        )  # fmt: skip
        ctx.save_for_backward(logits, ids, weights, lse)
        return loss

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        logits, ids, weights, lse = ctx.saved_tensors
        out = torch.empty(logits.shape, dtype=logits.dtype, device=logits.device)
        rows, width = logits.shape
        _backward[(rows,)](
            logits, ids, weights, lse, gradients[0].float().contiguous(), out, width,
            logits.stride(0), ids.shape[1], **_blocks(width, ids.shape[1]),
        )  # fmt: skip
        return out, None, None


def _blocks(width: int, k: int) -> dict[str, int]:
    return {
        "BLOCK": min(BLOCK, triton.next_power_of_2(width)),
        "K_BLOCK": triton.next_power_of_2(max(k, 16)), "num_warps": 8,
    }  # fmt: skip


def distillation_loss(
    logits: torch.Tensor, targets: Targets, *, by_torch: bool | None = None
) -> torch.Tensor:
    """Cross-entropy of the student's logits, float32 or bf16 `[rows, vocab]`, with the teacher's
    subsampled targets: float32 `[rows]`, differentiable in the logits. Raises ValueError."""
    checks.tensor("logits", logits, (None, None), FLOATS, rows_only=True)
    rows = len(logits)
    checks.tensor("ids", targets.ids, (rows, None), torch.int32, logits.device)
    shape = targets.ids.shape
    checks.tensor("weights", targets.weights, shape, torch.float32, logits.device)
    if (not logits.is_cuda) if by_torch is None else by_torch:
        return reference(logits, targets).float()
    return _Loss.apply(logits, targets.ids, targets.weights)


def flops_and_bytes(rows: int, vocab: int, k: int, itemsize: int = 2) -> Work:
    """Forward and backward: logits read twice, the gradient written, targets read twice."""
    return Work(12.0 * rows * vocab, float(rows * (3 * vocab * itemsize + 16 * k)))
