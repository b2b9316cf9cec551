"""Launches the Hopper matmul: which tiles, how the work is cut, the workspace."""

from functools import cache
from typing import Any, NamedTuple

import torch
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

from kernels.common.device import multiprocessors
from kernels.common.product import Request
from kernels.hopper import matmul as kernel

MOST_COLUMNS = 128
"""Of one int8 matrix instruction: a power of two, and the compiler takes at most 224."""

LARGEST_TILE = 256 * 192
"""Sums of a multiprocessor's CTAs."""

COUNTERS = 1 << 16
"""Tiles times warpgroups that can be shared by CTAs in one launch."""


class Tiling(NamedTuple):
    """How the Hopper kernel cuts a product. Rows are the matrix instruction's: tokens, or weights
    when `swap`. A CTA's tile is `consumers * rows` by `columns`."""

    rows: int
    consumers: int
    columns: int
    stages: int
    swap: bool
    splits: int = 1
    """CTAs that share each tile of the last, partial wave, at most. 0: all CTAs share all tiles
    evenly, wherever along K that cuts them (stream-K)."""
    group: int = 8
    part: int = 64
    ctas: int = 1
    """CTAs on a multiprocessor."""
    k_tile: int = 128
    """Bytes of K a stage holds."""
    chained: bool = False
    """Start while the kernel before is still running, and wait for its end only then."""

    @property
    def registers(self) -> tuple[int, int]:
        """Registers a thread at the start (all warps the same), and those of the consumers that
        are not the default one after they are handed out again."""
        if self.ctas > 1:
            return (128, 128) if self.ctas == 2 else (80, 80)
        return {1: (168, 232), 2: (168, 232), 3: (128, 160)}[self.consumers]

    @property
    def partials(self) -> int:
        """Accumulators of one tile."""
        return self.rows * self.consumers * self.columns


class Cut(NamedTuple):
    """The work of one launch: the first `sharing` of `ctas` take `shared` tiles together, then all
    take `whole` tiles one by one."""

    ctas: int
    shared: int
    sharing: int
    whole: int
    row_tiles: int
    column_tiles: int
    k_tiles: int


def cut(m: int, n: int, k: int, tiling: Tiling, multiprocessors: int) -> Cut:
    """Divides an m x n x k product over the multiprocessors.

    Where the last wave of tiles would leave most of them idle, each of its tiles is cut along K
    into as many equal parts as there is room for. These come first, so that the sums are added up
    while others are at their whole tiles.
    """
    height, width = (n, m) if tiling.swap else (m, n)
    row_tiles = -(-height // (tiling.rows * tiling.consumers))
    column_tiles = -(-width // tiling.columns)
    tiles, k_tiles = row_tiles * column_tiles, -(-k // tiling.k_tile)
    ctas = multiprocessors * tiling.ctas
    shared, sharing = tiles, min(ctas, tiles * k_tiles)
    if tiling.splits:
        shared = tiles % ctas
        sharing = shared * min(tiling.splits, ctas // max(shared, 1), k_tiles)
    if sharing <= shared and tiling.splits or shared * tiling.consumers > COUNTERS:
        shared, sharing = 0, 1
    whole = tiles - shared
    return Cut(
        min(ctas, max(sharing, whole)), shared, sharing, whole, row_tiles, column_tiles, k_tiles
    )


def tiling_for(m: int, n: int, k: int) -> Tiling:
    """The fastest measured (docs/kernels-log.md), by the number of tokens."""
    if m <= 16:
        return Tiling(64, 2, 16, 11, swap=True, splits=0)
    if m <= 64:
        return Tiling(64, 2, 64, 8, swap=True, splits=0)
    if m <= 128:
        return Tiling(64, 2, 128, 6, swap=True, splits=0)
    if m <= 256:
        return Tiling(64, 2, 256, 4, swap=True, splits=0)
    return Tiling(64, 2, 256, 4, swap=False)


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
    }


def launch(request: Request, tiling: Tiling | None = None, space: Workspace | None = None) -> None:
    """Runs the kernel, with the tiling for its size and the current stream's workspace, unless
    they are given."""
    m, n, k = request.sizes
    device = request.x.device
    tiling = tiling or tiling_for(m, n, k)
    space = space or workspace(device, torch.cuda.current_stream(device).cuda_stream)
    work = cut(m, n, k, tiling, multiprocessors(device))
    fixed = constants(
        tiling, request.epilogue, has_row_scale=request.row_scale is not None,
        size=request.out.element_size(),
    )  # fmt: skip
    a, b = (request.w, request.x) if tiling.swap else (request.x, request.w)
    kernel.matmul_kernel[(work.ctas,)](
        descriptor(a, tiling.rows, tiling.k_tile), descriptor(b, tiling.columns, tiling.k_tile),
        request.out, request.row_scale, request.col_scale, request.residual,
        request.residual_scale, space.partials, space.counters, m, n, work.shared, work.sharing,
        work.whole, work.k_tiles, work.row_tiles, work.column_tiles, request.x_scale, request.limit,
        request.inverse_scale, **fixed, launch_pdl=tiling.chained, num_warps=4,
        maxnreg=tiling.registers[0],
    )  # fmt: skip
