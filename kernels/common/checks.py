"""Checks of an operator's arguments, before any launch.

A wrong stride or dtype on a GPU is a wrong number or a lost context, far from its cause. So each
launcher says what it needs, and a ValueError names the argument, what it is and what it must be.
"""

from collections.abc import Iterable, Sequence

import torch

from kernels.common.layout import GROUP, GROUPS, HEAD_DIM, PAGE, KVPages

Dim = int | None


def tensor(
    name: str,
    value: object,
    shape: Sequence[Dim],
    dtypes: torch.dtype | Iterable[torch.dtype],
    device: torch.device | None = None,
    *,
    rows_only: bool = False,
) -> None:
    """`value` is a tensor of this shape (None: any size), dtype, device, and contiguous.

    `rows_only`: only the last dimension need be contiguous.
    """
    if not isinstance(value, torch.Tensor):
        raise ValueError(f"{name}: must be a tensor, not {type(value).__name__}")
    _shape(name, value, shape)
    _dtype(name, value, dtypes)
    if device is not None and value.device != device:
        raise ValueError(f"{name}: is on {value.device}, must be on {device} like the others")
    _stride(name, value, rows_only)


def _shape(name: str, value: torch.Tensor, shape: Sequence[Dim]) -> None:
    want = ", ".join("any" if size is None else str(size) for size in shape)
    fits = value.dim() == len(shape) and all(
        want_size is None or size == want_size
        for size, want_size in zip(value.shape, shape, strict=True)
    )
    if not fits:
        raise ValueError(f"{name}: shape is {list(value.shape)}, must be [{want}]")


def _dtype(name: str, value: torch.Tensor, dtypes: torch.dtype | Iterable[torch.dtype]) -> None:
    allowed = (dtypes,) if isinstance(dtypes, torch.dtype) else tuple(dtypes)
    if value.dtype not in allowed:
        names = " or ".join(str(dtype).removeprefix("torch.") for dtype in allowed)
        raise ValueError(f"{name}: dtype is {value.dtype}, must be {names}")


def _stride(name: str, value: torch.Tensor, rows_only: bool) -> None:
    if rows_only:
        if value.dim() and value.shape[-1] > 1 and value.stride(-1) != 1:
            raise ValueError(f"{name}: stride is {value.stride()}, the last must be 1")
    elif not value.is_contiguous():
        raise ValueError(f"{name}: stride is {value.stride()}, must be contiguous")


def aligned(name: str, value: torch.Tensor) -> None:
    """The tensor begins at a multiple of 16 bytes, as wide copies want."""
    if value.data_ptr() % 16:
        raise ValueError(f"{name}: begins at {value.data_ptr():#x}, must be a multiple of 16 bytes")


def multiple(name: str, what: str, size: int, of: int) -> None:
    """A size is a multiple of something, and not zero."""
    if size <= 0 or size % of:
        raise ValueError(f"{name}: {what} is {size}, must be a multiple of {of}")


def number(name: str, value: object, low: float, high: float) -> None:
    """`value` is a finite number from low to high."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"{name}: is {value!r}, must be a number from {low} to {high}")


def one_of(name: str, value: object, allowed: Sequence[object]) -> None:
    """`value` is one of a few."""
    if value not in allowed:
        raise ValueError(f"{name}: is {value!r}, must be one of {', '.join(map(str, allowed))}")


def page_table(table: torch.Tensor, start: torch.Tensor, limit: torch.Tensor, pages: int) -> None:
    """Every table entry that start and limit make visible names one of `pages` pages.

    `table` int `[batch, entries]`, `start` and `limit` int `[batch]`, in tokens. Reads the device:
    for tests and for the edge of an engine, not for every step.
    """
    first, last = start.long() // 128, (limit.long() + 127) // 128
    entry = torch.arange(table.shape[1], device=table.device)
    seen = (entry >= first[:, None]) & (entry < last[:, None]) & (start < limit)[:, None]
    bad = seen & ((table < 0) | (table >= pages))
    out_of_reach = (limit.long() > table.shape[1] * 128) | (start < 0)
    if (out_of_reach & (start < limit)).any():
        raise ValueError(
            f"start, limit: must lie in 0 to {table.shape[1] * 128}, the table's reach"
        )
    if bad.any():
        row, column = (int(index) for index in bad.nonzero()[0])
        page = int(table[row, column])
        raise ValueError(f"pages: entry [{row}, {column}] is {page}, must be in 0 to {pages - 1}")


def kv_pages(name: str, kv: KVPages, device: torch.device) -> None:
    """K and V of the layout that `kernels.common.layout` describes, with as many pages each."""
    if not isinstance(kv, KVPages):
        raise ValueError(f"{name}: must be KVPages, not {type(kv).__name__}")
    tensor(f"{name}.k", kv.k, (None, None, PAGE, HEAD_DIM), (torch.int8, torch.float16), device)
    tail = (GROUPS, HEAD_DIM, GROUP) if kv.is_int8 else (PAGE, HEAD_DIM)
    tensor(f"{name}.v", kv.v, (*kv.k.shape[:2], *tail), kv.k.dtype, device)
    aligned(f"{name}.k", kv.k)
    aligned(f"{name}.v", kv.v)


def heads(name: str, query_heads: int, kv_heads: int, most: int) -> None:
    """Query heads share KV heads evenly, at most `most` a KV head."""
    if kv_heads < 1 or query_heads < 1 or query_heads % kv_heads:
        raise ValueError(f"{name}: {query_heads} heads, must be a multiple of {kv_heads} KV heads")
    if query_heads // kv_heads > most:
        share = query_heads // kv_heads
        raise ValueError(f"{name}: {share} heads share a KV head, must be {most} at most")


def attention(
    q: torch.Tensor,
    q_scale: torch.Tensor | None,
    kv: KVPages,
    v_scale: torch.Tensor,
    most_share: int,
) -> None:
    """What both attention operators take: queries `[rows, heads, 128]` like the pages, int8 with a
    scale for each row and head or float16 with none, and V's channel scales."""
    tensor("q", q, (None, None, HEAD_DIM), (torch.int8, torch.float16))
    rows, query_heads, _ = q.shape
    kv_pages("kv", kv, q.device)
    if q.dtype != kv.k.dtype:
        raise ValueError(f"q: dtype is {q.dtype}, must be {kv.k.dtype} like the pages")
    heads("q", query_heads, kv.kv_heads, most_share)
    if kv.is_int8:
        tensor("q_scale", q_scale, (rows, query_heads), torch.float32, q.device)
    elif q_scale is not None:
        raise ValueError("q_scale: must be None with float16 pages, whose q has no scale")
    tensor("v_scale", v_scale, (kv.kv_heads, HEAD_DIM), torch.float32, q.device)
