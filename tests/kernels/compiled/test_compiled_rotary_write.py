"""Rotation, quantisation and the write into pages, compiled for sm_90a."""

import pytest
import sm90

from kernels.rotary_write import default_tile


def types(kind: str) -> dict[str, str]:
    return {
        "qkv_ptr": "*bf16", "positions_ptr": "*i32", "table_ptr": "*fp32", "k_scale_ptr": "*fp32",
        "v_scale_ptr": "*fp32", "slots_ptr": "*i32", "q_ptr": kind, "q_scale_ptr": "*fp32",
        "k_pages_ptr": kind, "v_pages_ptr": kind, "tokens": "i32", "qkv_stride": "i32",
    }  # fmt: skip


def build(
    heads: int, kv_heads: int, *, has_kv: bool = True, is_int8: bool = True,
    chained: bool = False, tile: tuple[int, int, int] | None = None,
) -> sm90.Code:  # fmt: skip
    absent: set[str] = set()
    if not is_int8:
        absent |= {"k_scale_ptr", "v_scale_ptr", "q_scale_ptr"}
    if not has_kv:
        absent |= {"v_scale_ptr", "slots_ptr", "k_pages_ptr", "v_pages_ptr"}
    kinds = types("*i8" if is_int8 else "*fp16")
    signature = {name: kind for name, kind in kinds.items() if name not in absent}
    block, piece, warps = tile or default_tile(heads)
    constants = {
        "LIMIT": 4.0, "HEADS": heads, "KV_HEADS": kv_heads, "HAS_KV": has_kv, "INT8": is_int8,
        "BLOCK_H": block, "PIECE": piece, "CHAINED": chained,
    }  # fmt: skip
    aligned = {name for name in signature if name.endswith(("_ptr", "_stride"))} - {"q_ptr"}
    return sm90.compile(
        "kernels.rotary_write", "_rotary_write", signature,
        constants | dict.fromkeys(absent), sorted(aligned), num_warps=warps, launch_pdl=chained,
    )  # fmt: skip


@pytest.mark.parametrize("heads", [40, 64, 128])
def test_queries_alone_move_in_wide_pieces(heads: int) -> None:
    code = build(heads, 1, has_kv=False)
    assert (code.spills, code.local_bytes) == (0, 0)
    assert code.count("LDG", width=16) == code.count("LDG") - 1, "all but the position"
    assert code.count("STG", width=8) == code.count("STG") - 1, "all but the scale's: 8 channels"


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


def test_all_loads_of_queries_start_before_anything_is_computed() -> None:
    """But for the table's, which wait for the position alone."""
    code = build(64, 1, has_kv=False)
    loads, barrier = code.count("LDG"), code.sass.index("BAR.SYNC")
    assert code.sass[:barrier].count("LDG") == loads - 4
    assert code.sass.rindex("LDG") < code.sass.index("FMNMX")


def test_a_chained_launch_waits_before_it_loads_the_projection() -> None:
    code = build(64, 1, has_kv=False, chained=True)
    assert (code.count("ACQBULK"), code.count("PREEXIT")) == (1, 1)
    wait = code.sass.index("ACQBULK")
    assert code.sass[:wait].count("LDG") == 1 + 4 + 4, "position, scales of K, table"
    assert build(64, 1, chained=True).count("ACQBULK") == 3, "queries, keys, values"
