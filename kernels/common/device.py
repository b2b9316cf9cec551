"""Which device a tensor is on, and which kernel to run there.

Every operator has a plain Triton kernel, which runs on any GPU that Triton knows and, through its
interpreter, on a CPU. Some have a second kernel for Hopper (`kernels/hopper`).
"""

from collections.abc import Callable
from functools import cache
from typing import Any, Literal, NamedTuple

import torch
import triton

Backend = Literal["auto", "triton", "hopper"]
BACKENDS = ("auto", "triton", "hopper")
HOPPER = (9, 0)


class Work(NamedTuple):
    """The least that an operator must do: operations (a multiply and an add count two) and bytes
    moved to and from device memory (each input read once, each output written once)."""

    flops: float
    bytes: float


def is_interpreted() -> bool:
    """Does Triton run kernels through its interpreter (`TRITON_INTERPRET=1`)?"""
    return bool(triton.knobs.runtime.interpret)


@cache
def capability(device: torch.device) -> tuple[int, int]:
    """The compute capability of a device; (0, 0) for a CPU."""
    return torch.cuda.get_device_capability(device) if device.type == "cuda" else (0, 0)


@cache
def multiprocessors(device: torch.device) -> int:
    """How many streaming multiprocessors a device has. A CPU counts as 4, which keeps the
    interpreter's grids small and more than one."""
    if device.type != "cuda":
        return 4
    return int(torch.cuda.get_device_properties(device).multi_processor_count)


def use_hopper(device: torch.device, backend: Backend, *, served: bool) -> bool:
    """Whether to run the Hopper kernel. `served`: does it take this shape and these options?

    Raises ValueError for an unknown backend, and for "hopper" where it cannot be had.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend: {backend!r} is none of {', '.join(BACKENDS)}")
    possible = served and capability(device) == HOPPER and not is_interpreted()
    if backend == "hopper" and not possible:
        why = "this shape is not served" if not served else f"{device} is no Hopper GPU"
        raise ValueError(f"backend: 'hopper' is not possible here: {why}")
    return possible and backend != "triton"


def capture(work: Callable[[], object], pool: Any = None) -> torch.cuda.CUDAGraph:
    """What `work` launches, as a graph; on a stream that is not the default one, with what it needs
    compiled and made before. `pool`: of the memory that several graphs share.

    By hand: `torch.cuda.graph` collects garbage and empties the allocator's cache each time.
    """
    graph = torch.cuda.CUDAGraph()
    # Of this thread only: NCCL has one of its own that asks after events.
    graph.capture_begin(pool=pool, capture_error_mode="thread_local")
    try:
        work()
    finally:
        graph.capture_end()
    return graph
