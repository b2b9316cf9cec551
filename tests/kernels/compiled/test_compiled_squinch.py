"""Squinch, compiled for sm_90a."""

import pytest
import sm90

from kernels.training.squinch.codec import BLOCKS, TILE, TILE_BYTES

FORM = {"BLOCKS": BLOCKS, "TILE_BYTES": TILE_BYTES, "STEPS_E": 6.0, "BIAS": 128.0, "PLAIN": False}

SIZE = {"bf16": 2, "fp32": 4}
THREADS = 128


def build(kernel: str, types: dict[str, str], constants: dict[str, object]) -> sm90.Code:
    aligned = [name for name in types if name.endswith("_ptr")] + ["stride"] * ("stride" in types)
    module = "kernels.training.squinch.pack"
    return sm90.compile(module, kernel, types, FORM | constants, aligned, num_warps=4)


@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
@pytest.mark.parametrize("stochastic", [False, True])
def test_packing_loads_16_bytes_at_a_time_and_spills_nothing(dtype: str, stochastic: bool) -> None:
    types = {
        "x_ptr": f"*{dtype}", "out_ptr": "*u8", "count": "i32", "stride": "i32", "key": "i32",
        "step": "i32",
    }  # fmt: skip
    code = build(
        "_pack", types, {"STOCHASTIC": stochastic, "FEEDBACK": False, "residual_ptr": None}
    )
    assert (code.spills, code.local_bytes) == (0, 0)
    assert code.count("LDG", width=16) == TILE * SIZE[dtype] // THREADS // 16
    assert code.count("LDG", width=SIZE[dtype]) == TILE // THREADS, "the last tile's, with masks"


@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
@pytest.mark.parametrize("ranks", [1, 2])
def test_unpacking_stores_16_bytes_at_a_time(dtype: str, ranks: int) -> None:
    types = {
        "payload_ptr": "*u8", "out_ptr": f"*{dtype}", "count": "i32", "stride": "i32",
        "factor": "fp32",
    }  # fmt: skip
    code = build("_unpack", types, {"RANKS": ranks})
    assert (code.spills, code.local_bytes) == (0, 0)
    assert code.count("STG", width=16) == TILE * SIZE[dtype] // THREADS // 16
    assert code.count("STG", width=SIZE[dtype]) == TILE // THREADS, "the last tile's, with masks"
    assert code.registers <= 80
