"""Launches Hopper decode attention."""

import torch

from kernels.common.device import multiprocessors
from kernels.common.layout import LOG2_E, KVPages
from kernels.common.schedule import DecodePlan
from kernels.hopper.decode import decode_kernel
from kernels.hopper.pages import page_descriptors, quarter_descriptors


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
        *page_descriptors(kv), *quarter_descriptors(kv), table, table.stride(0), q,
        v_scale if q_scale is None else q_scale,
        v_scale, out, mass_out, q.shape[0], plan.buffer, plan.partial, plan.mass,
        softmax_scale * LOG2_E, out_scale,
        HEADS=q.shape[1], KV_HEADS=kv.kv_heads, ROWS=rows, STAGES=stages, CHAINED=chained,
        num_warps=4,
        maxnreg=128 if rows == 64 and kv.is_int8 else 65536 // (warps * 32) // 8 * 8,
        launch_pdl=chained,
    )  # fmt: skip
