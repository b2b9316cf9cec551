"""The machine code of decode attention for sm_90a."""

import pytest
import sm90

PLAN = {"plan": "*i32", "partial": "*fp16", "mass": "*fp32"}
POINTERS = {
    "table": "*i32",
    "q": "*i8",
    "q_scale": "*fp32",
    "v_scale": "*fp32",
    "out": "*bf16",
} | PLAN
NUMBERS = {"entries": "i32", "batch": "i32", "softmax_scale": "fp32", "out_scale": "fp32"}
INT8_MMA = "wgmma.mma_async.sync.aligned.m64n128k32.s32.s8.s8"


def hopper(rows: int, *, chained: bool) -> sm90.Code:
    """The kernel for 64 or 128 query heads on one KV head, as launched."""
    descriptors = {
        "k_desc": sm90.descriptor("i8", 128, 128, gluon=True),
        "v_desc": sm90.descriptor("i32", 16, 256, gluon=True, swizzle=0),
        "k_part": sm90.descriptor("i8", 32, 128, gluon=True),
        "v_part": sm90.descriptor("i32", 4, 256, gluon=True, swizzle=0),
    }
    constants = {"HEADS": rows, "KV_HEADS": 1, "ROWS": rows, "STAGES": 3, "CHAINED": chained}
    return sm90.compile(
        "kernels.hopper.decode",
        "decode_kernel",
        descriptors | POINTERS | NUMBERS,
        constants | {"mass_out": None},
        divisible_by_16=tuple(POINTERS),
        num_warps=4,
        maxnreg=128 if rows == 64 else 168,
        launch_pdl=chained,
    )


@pytest.mark.parametrize(("rows", "chained"), [(64, False), (64, True), (128, False)])
def test_hopper(rows: int, chained: bool) -> None:
    code = hopper(rows, chained=chained)
    assert set(code.mma) == {INT8_MMA}
    # 4 products for Q @ K and 4 for P @ V; loops over sequences hold these loops over tiles.
    tiles = [loop for loop in code.loops if loop.count("IGMMA") == 8 and loop.total < 1000]
    assert len(tiles) == 2 * (rows // 64), "with and without a mask, for each warpgroup"
    for loop in tiles:
        assert loop.count("LDL") == loop.count("STL") == 0
        assert loop.count("LDG") == 0, "pages come by the copy engine"
        assert loop.count("SHFL") <= 8, "the row maximum and sum; P needs none"
        assert loop.count("F2I") == 0
    assert min(loop.total for loop in tiles) < 640
    assert code.spills <= 32, "a few words a sequence, none a tile"
    assert code.count("UTMALDG") >= 2
    assert ("griddepcontrol.wait" in code.ptx) == chained
    assert code.shared * (2 if rows == 64 else 1) <= 227 * 1024


def test_plain_triton() -> None:
    pointers = {
        "q_ptr": "*i8",
        "q_scale_ptr": "*fp32",
        "k_ptr": "*i8",
        "v_ptr": "*i8",
        "table_ptr": "*i32",
        "start_ptr": "*i32",
        "limit_ptr": "*i32",
        "partial_ptr": "*fp16",
        "mass_ptr": "*fp32",
    }
    code = sm90.compile(
        "kernels.decode_attention",
        "_piece_kernel",
        pointers | {"entries": "i32", "softmax_scale": "fp32"},
        {"HEADS": 64, "KV_HEADS": 1, "ROWS": 64, "PIECES": 8, "PIECE": 8, "INT8": True},
        divisible_by_16=tuple(pointers),
        num_warps=4,
    )
    assert set(code.mma) == {INT8_MMA}
    copies = dict(code.async_bytes)
    assert copies.pop(4, 0) <= 4, "the page's number, a tile ahead"
    assert set(copies) == {16}, "K and V by asynchronous copies of 16 bytes"
    assert code.spills == 0


@pytest.mark.parametrize(("rows", "stages"), [(64, 3), (128, 2)])
def test_hopper_on_float16_pages(rows: int, stages: int) -> None:
    descriptors = {
        name: sm90.descriptor("fp16", 128, 128, gluon=True) for name in ("k_desc", "v_desc")
    }
    constants = {"HEADS": rows, "KV_HEADS": 1, "ROWS": rows, "STAGES": stages, "CHAINED": False}
    code = sm90.compile(
        "kernels.hopper.decode",
        "decode_kernel",
        descriptors | POINTERS | {"q": "*fp16"} | NUMBERS,
        constants | {"mass_out": None, "k_part": None, "v_part": None},
        divisible_by_16=tuple(POINTERS),
        num_warps=4,
        maxnreg=256 if rows == 64 else 168,
    )
    assert set(code.mma) == {"wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16"}
    for loop in code.loops:
        if loop.count("HGMMA") and loop.total < 1500:
            assert loop.count("LDL") == loop.count("STL") == 0
    assert code.shared <= 227 * 1024


def test_the_plan_and_the_merge() -> None:
    plan = sm90.compile(
        "kernels.common.schedule",
        "_plan_kernel",
        {"start_ptr": "*i32", "limit_ptr": "*i32", "plan_ptr": "*i32"}
        | dict.fromkeys(("batch", "workers", "counters_a_sequence"), "i32"),
        {"BATCH": 512, "WORKERS": 8, "TILE": 128, "RECORD": 16, "START": 3, "MERGE": 2, "LEAST": 2},
        divisible_by_16=("start_ptr", "limit_ptr", "plan_ptr"),
    )
    assert plan.spills == 0
    floats = {"partial_ptr": "*fp16", "mass_ptr": "*fp32", "v_scale_ptr": "*fp32"}
    merge = sm90.compile(
        "kernels.decode_attention",
        "_merge_kernel",
        floats
        | {"start_ptr": "*i32", "limit_ptr": "*i32", "out_ptr": "*bf16", "out_scale": "fp32"},
        {"HEADS": 64, "KV_HEADS": 1, "ROWS": 64, "PIECES": 8, "PIECE": 8, "mass_out_ptr": None},
        divisible_by_16=(*floats, "out_ptr"),
    )
    assert merge.spills == 0
    assert merge.count("STG", width=16) > 0
