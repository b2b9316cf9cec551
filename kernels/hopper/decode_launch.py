"""Launches Hopper decode attention."""

import torch
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

from kernels.common.device import multiprocessors
from kernels.common.layout import HEAD_DIM, PAGE, KVPages
from kernels.common.schedule import DecodePlan
from kernels.hopper.decode import decode_kernel

LOG2_E = 1.4426950408889634
V_ROWS, V_WORDS = 16, 256


def page_descriptors(kv: KVPages) -> tuple[TensorDescriptor | None, ...]:
    """Descriptors with which the copy engine fetches a page's K and V, and, of int8, a quarter of
    them."""
    bits = 8 * kv.k.element_size()
    tile = [PAGE, HEAD_DIM]
    rows = gl.NVMMASharedLayout(128, bits, 2)
    keys = TensorDescriptor.from_tensor(kv.k.view(-1, HEAD_DIM), tile, rows)
    if not kv.is_int8:
        return keys, TensorDescriptor.from_tensor(kv.v.view(-1, HEAD_DIM), tile, rows), None, None
    # A page of V is contiguous: as rows of 1 KiB the copy engine moves it fastest.
    words = kv.v.view(torch.int32).view(-1, V_WORDS)
    whole = gl.NVMMASharedLayout(0, 32, 2)
    return (
        keys,
        TensorDescriptor.from_tensor(words, [V_ROWS, V_WORDS], whole),
        TensorDescriptor.from_tensor(kv.k.view(-1, HEAD_DIM), [PAGE // 4, HEAD_DIM], rows),
        TensorDescriptor.from_tensor(words, [V_ROWS // 4, V_WORDS], whole),
    )


def default_stages(kv: KVPages, plan: DecodePlan) -> int:
    """Tiles of the ring. More in flight is not faster: device memory then serves more pages at a
    time, each more slowly (docs/kernels-log.md)."""
    rows = plan.partial.shape[2]
    if not kv.is_int8:
        return 3 if rows == 64 else 2
    two_workers = plan.workers * kv.kv_heads > multiprocessors(kv.k.device)
    return 2 if two_workers or 2 * plan.batch > plan.workers else 3


def launch(
    q: torch.Tensor, q_scale: torch.Tensor | None, kv: KVPages, v_scale: torch.Tensor,
    table: torch.Tensor, plan: DecodePlan, out: torch.Tensor, mass_out: torch.Tensor | None,
    softmax_scale: float, out_scale: float, stages: int | None = None,
    chained: bool = False,
) -> None:  # fmt: skip
    """Launch the kernel; the arguments have been checked.

    `chained`: begin while the launch before it ends (programmatic dependent launch).
    """
    rows = plan.partial.shape[2]
    warps = 4 * (rows // 64) + 4
    stages = stages or default_stages(kv, plan)
    decode_kernel[(plan.workers, kv.kv_heads)](
        *page_descriptors(kv), table, table.stride(0), q, v_scale if q_scale is None else q_scale,
        v_scale, out, mass_out, q.shape[0], plan.buffer, plan.partial, plan.mass,
        softmax_scale * LOG2_E, out_scale,
        HEADS=q.shape[1], KV_HEADS=kv.kv_heads, ROWS=rows, STAGES=stages, CHAINED=chained,
        num_warps=4,
        maxnreg=128 if rows == 64 and kv.is_int8 else 65536 // (warps * 32) // 8 * 8,
        launch_pdl=chained,
    )  # fmt: skip
