"""The tied embedding: rows of an int8 table to the residual stream, and the head's scales.

One table serves both ends of the model, int8 `[vocab, hidden]` with one float32 scale a token.
Into the model: row `id` * row_scale[id] * embedding_scale, in bf16. Out of it: logits are the int8
matmul of the normed last tokens (`norm_quantise(rows=...)`) with the same table as weights, and
what multiplies the logits (muP's 0.125) folds into its column scale, so it costs nothing.
"""

import torch
import triton
import triton.language as tl

from kernels.common import checks
from kernels.common.device import Work


def reference(
    ids: torch.Tensor, table: torch.Tensor, row_scale: torch.Tensor, scale: float = 1.0
) -> torch.Tensor:
    """The specification, in float64, `[tokens, hidden]`. Ids outside the table give zeros."""
    inside = (ids >= 0) & (ids < len(table))
    index = ids.long().clamp(0, len(table) - 1)
    return table[index].double() * (row_scale[index].double() * inside)[:, None] * scale


@triton.jit
def _embedding(
    ids_ptr, table_ptr, row_scale_ptr, out_ptr, vocab, scale,
    HIDDEN: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One program a token and BLOCK channels."""
    row = tl.program_id(0)
    token = tl.load(ids_ptr + row)
    inside = (token >= 0) & (token < vocab)
    token = tl.where(inside, token, 0).to(tl.int64)
    factor = tl.load(row_scale_ptr + token, mask=inside, other=0.0) * scale
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = columns < HIDDEN
    values = tl.load(table_ptr + token * HIDDEN + columns, mask=mask & inside, other=0)
    embedded = (values.to(tl.float32) * factor).to(tl.bfloat16)
    tl.store(out_ptr + row.to(tl.int64) * HIDDEN + columns, embedded, mask=mask)


def embedding(
    ids: torch.Tensor, table: torch.Tensor, row_scale: torch.Tensor, *,
    scale: float = 1.0, out: torch.Tensor | None = None, check: bool = False,
) -> torch.Tensor:  # fmt: skip
    """`table[ids] * row_scale[ids] * scale`, bf16 `[tokens, hidden]`.

    `ids` int32 `[tokens]`, `table` int8 `[vocab, hidden]`, `row_scale` float32 `[vocab]`. An id
    outside the table (an empty slot) gives zeros, or a ValueError with `check`, which reads the
    device. Raises ValueError that names the argument, before any launch.
    """
    checks.tensor("table", table, (None, None), torch.int8)
    vocab, hidden = table.shape
    checks.tensor("ids", ids, (None,), torch.int32, table.device)
    checks.tensor("row_scale", row_scale, (vocab,), torch.float32, table.device)
    checks.number("scale", scale, -1e6, 1e6)
    if out is None:
        out = torch.empty((len(ids), hidden), dtype=torch.bfloat16, device=table.device)
    checks.tensor("out", out, (len(ids), hidden), torch.bfloat16, table.device)
    if check and bool(((ids < 0) | (ids >= vocab)).any()):
        raise ValueError(f"ids: must lie in 0 to {vocab - 1}")
    if out.numel():
        launch(ids, table, row_scale, scale, out)
    return out


def launch(
    ids: torch.Tensor, table: torch.Tensor, row_scale: torch.Tensor, scale: float,
    out: torch.Tensor, *, block: int = 0, warps: int = 0,
) -> None:  # fmt: skip
    """Launch without checks. `block` (channels a program) and `warps`: 0: this module chooses, as
    measured on an H100: whole rows where there are many, small pieces where there are few."""
    vocab, hidden = table.shape
    whole = triton.next_power_of_2(hidden)
    block = min(block or (8192 if len(ids) >= 256 else 1024), whole)
    _embedding[(len(ids), triton.cdiv(hidden, block))](
        ids, table, row_scale, out, vocab, scale,
        HIDDEN=hidden, BLOCK=block, num_warps=warps or min(8, max(4, block // 1024)),
    )  # fmt: skip


def head_scale(row_scale: torch.Tensor, logits_scale: float) -> torch.Tensor:
    """The head's column scale: the table's row scale times what multiplies the logits. Once, when
    the weights are loaded."""
    return row_scale * logits_scale


def flops_and_bytes(tokens: int, hidden: int) -> Work:
    """Least work: a row of int8 and its scale in, a row of bf16 out; one multiply an element."""
    return Work(float(tokens * hidden), float(tokens * (3 * hidden + 8)))
