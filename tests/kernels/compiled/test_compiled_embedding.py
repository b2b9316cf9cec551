"""The embedding, compiled for sm_90a."""

import pytest
import sm90

TYPES = {
    "ids_ptr": "*i32", "table_ptr": "*i8", "row_scale_ptr": "*fp32", "out_ptr": "*bf16",
    "vocab": "i32", "scale": "fp32",
}  # fmt: skip


@pytest.mark.parametrize(("hidden", "block", "warps"), [(5120, 8192, 8), (7168, 1024, 4)])
def test_rows_move_in_wide_pieces(hidden: int, block: int, warps: int) -> None:
    aligned = [name for name in TYPES if name.endswith("_ptr")]
    constants = {"HIDDEN": hidden, "BLOCK": block}
    code = sm90.compile(
        "kernels.embedding", "_embedding", TYPES, constants, aligned, num_warps=warps
    )
    assert (code.spills, code.local_bytes) == (0, 0)
    most = min(hidden, block) // (32 * warps)  # channels a thread
    assert code.count("STG") == code.count("STG", width=16) >= most // 8
    assert code.count("LDG", width=16 if most >= 16 else 8) >= max(1, most // 16)
    assert code.count("LDG", width=1) == 0
