"""Launches the Hopper matmul: its workspace, descriptors and constants."""

from functools import cache
from typing import Any, NamedTuple

import torch
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

from kernels.common.device import multiprocessors
from kernels.hopper.matmul import kernel
from kernels.hopper.matmul.tiling import COUNTERS, Tiling, cut, tiling_for
from kernels.product import Request

MOST_COLUMNS = 128
"""Of one int8 matrix instruction: a power of two, and the compiler takes at most 224."""

LARGEST_TILE = 256 * 192
"""Sums of a multiprocessor's CTAs."""


class Workspace(NamedTuple):
    """Partial sums, and how many have been left: zero between launches."""

    partials: torch.Tensor
    counters: torch.Tensor


@cache
def workspace(device: torch.device, stream: int) -> Workspace:
    """A stream's own workspace, 2 partial sums of the largest tile for each CTA: launches on one
    stream do not overlap. Made at its first use, so use it once before capturing a CUDA graph."""
    size = 2 * LARGEST_TILE * multiprocessors(device)
    return Workspace(
        torch.empty(size, dtype=torch.int32, device=device),
        torch.zeros(COUNTERS, dtype=torch.int32, device=device),
    )


def descriptor(matrix: torch.Tensor, rows: int, k_tile: int) -> TensorDescriptor:
    """For copies of `rows` x `k_tile` of an int8 matrix; outside of it they read zeros."""
    layout = gl.NVMMASharedLayout(swizzle_byte_width=128, element_bitwidth=8, rank=2)
    return TensorDescriptor.from_tensor(matrix, [rows, k_tile], layout)


@cache
def store_layout(tiling: Tiling, size: int) -> gl.BlockedLayout:
    """Registers of a part of the result as it is written: 16 bytes a thread, along n."""
    vector = 16 // size
    if tiling.swap:
        along = min(tiling.rows // vector, 32)
        return gl.BlockedLayout([vector, 1], [along, 32 // along], [1, 4], [0, 1])
    along = min(min(tiling.part, tiling.columns) // vector, 32)
    return gl.BlockedLayout([1, vector], [32 // along, along], [4, 1], [1, 0])


def constants(tiling: Tiling, epilogue: int, *, has_row_scale: bool, size: int) -> dict[str, Any]:
    """What the kernel is compiled for; `size`: bytes of an element of the result."""
    return {
        "GROUP": tiling.group,
        "CONSUMERS": tiling.consumers,
        "STAGES": tiling.stages,
        "SWAP": tiling.swap,
        "EPILOGUE": epilogue,
        "HAS_ROW_SCALE": has_row_scale,
        "INSTRUCTION": min(tiling.columns, MOST_COLUMNS),
        "STORE": store_layout(tiling, size),
        "PART": tiling.part,
        "REGISTERS": tiling.registers[1],
        "CHAINED": tiling.chained,
        "EXTRA": tiling.extra,
    }


def launch(
    request: Request,
    tiling: Tiling | None = None,
    space: Workspace | None = None,
    *,
    chained: bool = False,
) -> None:
    """Runs the kernel, with the tiling for its size and the current stream's workspace, unless
    they are given. `chained`: see `kernels.matmul.matmul`."""
    m, n, k = request.sizes
    device = request.x.device
    if tiling is None:
        residual = request.residual is not None
        tiling = tiling_for(m, n, k, chained, residual, multiprocessors(device))
    space = space or workspace(device, torch.cuda.current_stream(device).cuda_stream)
    work = cut(m, n, k, tiling, multiprocessors(device))
    fixed = constants(
        tiling, request.epilogue, has_row_scale=request.row_scale is not None,
        size=request.out.element_size(),
    )  # fmt: skip
    a, b = (request.w, request.x) if tiling.swap else (request.x, request.w)
    kernel.matmul_kernel[(work.ctas,)](
        descriptor(a, tiling.rows, tiling.k_tile), descriptor(b, tiling.columns, tiling.k_tile),
        descriptor(b, tiling.extra or tiling.columns, tiling.k_tile),
        request.out, request.row_scale, request.col_scale, request.residual,
        request.residual_scale, space.partials, space.counters, m, n, work.shared, work.sharing,
        work.whole, work.k_tiles, work.row_tiles, work.column_tiles, request.x_scale, request.limit,
        request.inverse_scale, **fixed, launch_pdl=tiling.chained, num_warps=4,
        maxnreg=tiling.registers[0],
    )  # fmt: skip
