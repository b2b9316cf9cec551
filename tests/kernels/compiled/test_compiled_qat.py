"""Quantisation of rows and the squared ReLU of training, compiled for sm_90a."""

import pytest
import sm90

MODULE = "kernels.training.qat."


@pytest.mark.parametrize(("dtype", "size"), [("bf16", 2), ("fp32", 4)])
@pytest.mark.parametrize("width", [5120, 17536])
def test_rows_are_read_once_16_bytes_at_a_time(dtype: str, size: int, width: int) -> None:
    block = 1 << (width - 1).bit_length()
    types = {
        "x_ptr": f"*{dtype}", "out_ptr": "*i8", "scale_ptr": "*fp32", "rows": "i32", "width": "i32",
        "seed": "i64",
    }  # fmt: skip
    fixed = {"BLOCK": block, "ROWS": 1, "HAS_FACTOR": False, "STOCHASTIC": False}
    fixed["factor_ptr"] = None
    aligned = ["x_ptr", "out_ptr", "scale_ptr", "width"]
    warps = min(16, block // 1024)
    code = sm90.compile(MODULE + "quantise", "_rows", types, fixed, aligned, num_warps=warps)
    assert (code.spills, code.local_bytes) == (0, 0)
    assert code.count("LDG", width=16) == code.count("LDG") == block * size // (16 * 32 * warps)


def test_the_squared_relu_moves_16_bytes_at_a_time() -> None:
    types = {"x_ptr": "*bf16", "limit_ptr": "*fp32", "out_ptr": "*bf16", "count": "i32"}
    code = sm90.compile(MODULE + "clamping", "_forward", types, {"BLOCK": 2048}, types)
    assert code.spills == 0
    assert code.count("STG", width=16) == code.count("STG") == 2
