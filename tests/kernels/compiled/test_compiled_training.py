"""Training operators that are bound by bytes, compiled for sm_90a: nothing spills, and whole
blocks are moved 16 bytes at a time where rows are aligned."""

from typing import Any

import pytest
import sm90

MODULE = "kernels.training."
CASES: dict[str, tuple[str, str, dict[str, str], dict[str, Any], int]] = {
    "z-reg": (
        "zreg", "_gradient",
        {"x_ptr": "*bf16", "g_ptr": "*bf16", "out_ptr": "*bf16", "width": "i32", "weight": "fp32",
         "x_stride": "i32", "g_stride": "i32"},
        {"BLOCK": 4096}, 8,
    ),
    "gumbel": (
        "distill.subsample", "_keys",
        {"logits_ptr": "*bf16", "rows_ptr": "*i64", "out_ptr": "*fp32", "vocab": "i32",
         "stride": "i32", "inverse": "fp32", "seed": "i64"},
        {"BLOCK": 2048}, 4,
    ),
    "loss": (
        "distill.loss", "_forward",
        {"x_ptr": "*bf16", "ids_ptr": "*i32", "weights_ptr": "*fp32", "loss_ptr": "*fp32",
         "lse_ptr": "*fp32", "width": "i32", "stride": "i32", "k": "i32"},
        {"BLOCK": 4096, "K_BLOCK": 64}, 8,
    ),
    "loss's gradient": (
        "distill.loss", "_backward",
        {"x_ptr": "*bf16", "ids_ptr": "*i32", "weights_ptr": "*fp32", "lse_ptr": "*fp32",
         "g_ptr": "*fp32", "out_ptr": "*bf16", "width": "i32", "stride": "i32", "k": "i32"},
        {"BLOCK": 4096, "K_BLOCK": 64}, 8,
    ),
    "ternary": (
        "steps.ternary", "_pack",
        {"wish_ptr": "*bf16", "out_ptr": "*u8", "count": "i32", "key": "i32", "step": "i32"},
        {"TILE_BYTES": 1024, "STOCHASTIC": True}, 4,
    ),
    "ternary's application": (
        "steps.ternary", "_apply", {"weights_ptr": "*i8", "packed_ptr": "*u8", "count": "i32"},
        {"TILE_BYTES": 1024}, 4,
    ),
    "static scale": (
        "qat.quantise", "_static",
        {"x_ptr": "*bf16", "limit_ptr": "*fp32", "out_ptr": "*i8", "count": "i32"},
        {"BLOCK": 2048}, 4,
    ),
    "transposition": (
        "qat.quantise", "_transpose",
        {"x_ptr": "*i8", "out_ptr": "*i8", "rows": "i32", "columns": "i32"}, {"TILE": 64}, 4,
    ),
    "real values": (
        "qat.quantise", "_real",
        {"x_ptr": "*i8", "scale_ptr": "*fp32", "out_ptr": "*bf16", "rows": "i32", "width": "i32",
         "scale_stride": "i32"},
        {"BLOCK": 2048, "ROWS": 1}, 4,
    ),
    "squared ReLU's gradient": (
        "qat.clamping", "_backward",
        {"x_ptr": "*bf16", "limit_ptr": "*fp32", "g_ptr": "*bf16", "out_ptr": "*bf16",
         "count": "i32"},
        {"BLOCK": 2048}, 4,
    ),
}  # fmt: skip
SIZES = ("width", "vocab", "count", "rows", "columns", "stride", "x_stride", "g_stride")
NARROW = {"loss", "loss's gradient"}
"""Of these, a few tokens of a row are moved one by one."""


@pytest.mark.parametrize("name", CASES)
def test_nothing_spills_and_blocks_move_wide(name: str) -> None:
    module, kernel, types, constants, warps = CASES[name]
    aligned = [n for n in types if n.endswith("_ptr") or n in SIZES]
    code = sm90.compile(MODULE + module, kernel, types, constants, aligned, num_warps=warps)
    assert (code.spills, code.local_bytes) == (0, 0)
    if name not in NARROW:
        assert code.count("LDG", width=16) + code.count("LDG", width=8) >= 1
        assert code.count("STG", width=16) + code.count("STG", width=8) == code.count("STG")
