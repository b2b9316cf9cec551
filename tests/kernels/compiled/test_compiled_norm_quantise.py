"""Norm, residual and quantisation, compiled for sm_90a."""

import pytest
import sm90

from kernels.norm_quantise import default_warps

TYPES = {
    "x_ptr": "*bf16", "delta_ptr": "*bf16", "residual_scale_ptr": "*fp32", "rows_ptr": "*i32",
    "out_ptr": "*i8", "row_scale_ptr": "*fp32", "x_rows": "i32", "x_stride": "i32",
    "delta_stride": "i32", "eps": "fp32",
}  # fmt: skip


def build(hidden: int, block: int, warps: int, *, chained: bool = False, **has: bool) -> sm90.Code:
    """Every tensor that is not there is None, as in the launcher."""
    needs = {"delta_ptr": "residual", "residual_scale_ptr": "residual", "rows_ptr": "rows",
             "row_scale_ptr": "dynamic"}  # fmt: skip
    absent = {name: None for name, what in needs.items() if not has.get(what)}
    types = {name: kind for name, kind in TYPES.items() if name not in absent}
    constants: dict[str, object] = {
        "LIMIT": 4.0, "CHAINED": chained, "HIDDEN": hidden, "BLOCK": block,
        "HAS_DELTA": has.get("residual", False),
        "HAS_SCALE": has.get("residual", False), "HAS_ROWS": has.get("rows", False),
        "DYNAMIC": has.get("dynamic", False), "INT8": True,
    }  # fmt: skip
    aligned = [name for name in types if name.endswith(("_ptr", "_stride"))]
    return sm90.compile(
        "kernels.norm_quantise", "_norm_quantise", types, constants | absent, aligned,
        num_warps=warps, launch_pdl=chained,
    )  # fmt: skip


@pytest.mark.parametrize("hidden", [5120, 7168])
@pytest.mark.parametrize("tokens", [1, 8192])
@pytest.mark.parametrize(
    "has", [{}, {"dynamic": True}, {"residual": True}, {"rows": True}], ids=str
)
def test_rows_move_16_bytes_at_a_time(hidden: int, tokens: int, has: dict[str, bool]) -> None:
    warps = default_warps(hidden, tokens, has.get("residual", False))
    code = build(hidden, 8192, warps, **has)
    assert (code.spills, code.local_bytes) == (0, 0)
    assert code.count("LDG", width=16) == code.count("LDG") - has.get("rows", False)
    scales = code.count("STG", width=4)
    assert scales == has.get("dynamic", False), "one a row"
    assert code.count("STG") - scales == code.count("STG", width=16) + code.count("STG", width=8)
    assert code.count("STG") - scales >= hidden // (32 * warps * 16), "16 channels of int8 a store"


def test_a_chained_launch_waits_before_it_loads_its_rows() -> None:
    code = build(5120, 8192, 4, chained=True)
    assert (code.count("ACQBULK"), code.count("PREEXIT")) == (1, 1)
    assert code.sass.index("ACQBULK") < code.sass.index("LDG")
    assert build(5120, 8192, 4).count("ACQBULK", "PREEXIT") == 0


def test_clamps_are_one_instruction_each() -> None:
    code = build(5120, 8192, 4)
    assert code.opcodes["FMNMX.XORSIGN"] == code.count("FMNMX") == 8192 // 128 * 3 // 4
