"""Rotation, quantisation and the write into pages, compiled for sm_90a."""

import pytest
import sm90

from kernels.rotary_write import default_tile


def types(kind: str) -> dict[str, str]:
    return {
        "qkv_ptr": "*bf16", "positions_ptr": "*i32", "table_ptr": "*fp32", "k_scale_ptr": "*fp32",
        "v_scale_ptr": "*fp32", "slots_ptr": "*i32", "q_ptr": kind, "q_scale_ptr": "*fp32",
        "k_pages_ptr": kind, "v_pages_ptr": kind, "tokens": "i32", "qkv_stride": "i32",
        "limit": "fp32",
    }  # fmt: skip


def build(heads: int, kv_heads: int, *, has_kv: bool = True, is_int8: bool = True) -> sm90.Code:
    absent: set[str] = set()
    if not is_int8:
        absent |= {"k_scale_ptr", "v_scale_ptr", "q_scale_ptr"}
    if not has_kv:
        absent |= {"v_scale_ptr", "slots_ptr", "k_pages_ptr", "v_pages_ptr"}
    kinds = types("*i8" if is_int8 else "*fp16")
    signature = {name: kind for name, kind in kinds.items() if name not in absent}
    tokens, block, warps = default_tile(heads)
    constants = {
        "HEADS": heads, "KV_HEADS": kv_heads, "HAS_KV": has_kv, "INT8": is_int8,
        "TOKENS": tokens, "BLOCK_H": block,
    }  # fmt: skip
    aligned = [name for name in signature if name.endswith(("_ptr", "_stride"))]
    return sm90.compile(
        "kernels.rotary_write", "_rotary_write", signature,
        constants | dict.fromkeys(absent), aligned, num_warps=warps,
    )  # fmt: skip


@pytest.mark.parametrize("heads", [40, 64, 128])
def test_queries_alone_move_in_wide_pieces(heads: int) -> None:
    code = build(heads, 1, has_kv=False)
    assert (code.spills, code.local_bytes) == (0, 0)
    assert code.count("LDG", width=16) == code.count("LDG") - 1, "all but the position"
    assert code.count("STG", width=16) == code.count("STG") - 1, "all but the scale"


@pytest.mark.parametrize(
    ("heads", "kv_heads", "is_int8"),
    [(40, 1, True), (64, 1, True), (128, 1, True), (64, 8, True), (64, 64, False)],
)
def test_writing_pages_spills_nothing(heads: int, kv_heads: int, is_int8: bool) -> None:
    code = build(heads, kv_heads, is_int8=is_int8)
    assert (code.spills, code.local_bytes) == (0, 0)
    assert code.registers <= 128
    assert code.count("STG", width=16) > 0, "whole groups of V, or fp16"
    assert code.count("LDG", width=16) > 0
