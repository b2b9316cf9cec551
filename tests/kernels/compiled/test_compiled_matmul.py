"""int8 matmul, compiled for sm_90a: int8 warpgroup products, asynchronous copies, no spills."""

from dataclasses import dataclass
from typing import Any

import pytest
import sm90

from kernels.hopper.matmul.kernel import CHANGING
from kernels.hopper.matmul.launch import MOST_COLUMNS, constants
from kernels.hopper.matmul.tiling import Tiling, tiling_for
from kernels.matmul import plain_tiling
from kernels.product import Clamp, Epilogue, Plain, Residual, SquaredRelu

EPILOGUES = (Plain, Clamp, SquaredRelu, Residual)
POINTERS = {
    "row_scale": "*fp32",
    "col_scale": "*fp32",
    "residual": "*bf16",
    "residual_scale": "*fp32",
}
NUMBERS = {"x_scale": "fp32", "limit": "fp32", "inverse_scale": "fp32"}
SIZES = (1, 64, 256, 2048)
"""Tokens, one for each tiling of the plain kernel."""

PRODUCTS = [
    (1, 17536, 5120, Plain),
    (1, 5120, 17536, Plain),
    (64, 17536, 5120, SquaredRelu),
    (64, 5120, 17536, Residual),
    (128, 5120, 8192, Residual),
    (128, 17536, 5120, SquaredRelu),
    (192, 8448, 5120, Plain),
    (192, 5120, 8192, Residual),
    (192, 7168, 8192, Residual),
    (192, 17536, 5120, SquaredRelu),
    (256, 8448, 5120, Plain),
    (256, 5120, 8192, Residual),
    (256, 10240, 8192, Residual),
    (256, 17536, 5120, SquaredRelu),
    (256, 7168, 30720, Residual),
    (320, 8448, 5120, Plain),
    (320, 7168, 8192, Residual),
    (320, 16384, 10240, SquaredRelu),
    (512, 8448, 5120, Plain),
    (512, 5120, 17536, Residual),
    (512, 17536, 5120, SquaredRelu),
    (1024, 5120, 8192, Plain),
    (2048, 17536, 5120, SquaredRelu),
    (2048, 5120, 17536, Residual),
]
"""Layers of the models, every kind of tile, every epilogue that compiles to its own code."""


@dataclass
class Arguments:
    """What both kernels are compiled for."""

    types: dict[str, str]
    constants: dict[str, Any]


def arguments(epilogue: type[Epilogue]) -> Arguments:
    """The arguments of both kernels; an epilogue that reads no residual is given none."""
    types = {"out": "*i8" if epilogue is SquaredRelu else "*bf16"} | POINTERS | NUMBERS
    fixed = {}
    if epilogue is not Residual:
        fixed = dict.fromkeys(("residual", "residual_scale"))
    return Arguments({k: v for k, v in types.items() if k not in fixed}, fixed)


def hopper(tiling: Tiling, epilogue: type[Epilogue]) -> sm90.Code:
    given = arguments(epilogue)
    integers = [*CHANGING, "n"]
    shared = {"workspace": "*i32", "counters": "*i32"} | dict.fromkeys(integers, "i32")
    descriptors = {
        "a_desc": sm90.descriptor("i8", tiling.rows, tiling.k_tile, gluon=True),
        "b_desc": sm90.descriptor("i8", tiling.columns, tiling.k_tile, gluon=True),
        "extra_desc": sm90.descriptor(
            "i8", tiling.extra or tiling.columns, tiling.k_tile, gluon=True
        ),
    }
    size = 1 if epilogue is SquaredRelu else 2
    fixed = constants(tiling, EPILOGUES.index(epilogue), has_row_scale=True, size=size)
    pointers = [n for n, t in (given.types | shared).items() if t.startswith("*")]
    return sm90.compile(
        "kernels.hopper.matmul.kernel",
        "matmul_kernel",
        descriptors | shared | given.types,
        given.constants | fixed,
        divisible_by_16=[*pointers, "n"],
        maxnreg=tiling.registers[0],
    )


def plain(m: int, epilogue: type[Epilogue]) -> sm90.Code:
    given = arguments(epilogue)
    tiling = plain_tiling(m)
    more = {"a": "*i8", "b": "*i8", "partials": "*i32", "counters": "*i32"}
    more |= dict.fromkeys(("m", "n", "k"), "i32")
    fixed = {
        "ROWS": tiling.rows,
        "COLUMNS": tiling.columns,
        "K_TILE": tiling.k_tile,
        "SPLITS": 2 if tiling.waves else 1,
        "GROUP": 8,
        "SWAP": tiling.swap,
        "EVEN_K": True,
        "EPILOGUE": EPILOGUES.index(epilogue),
        "HAS_ROW_SCALE": True,
    }
    pointers = [name for name, kind in (given.types | more).items() if kind.startswith("*")]
    return sm90.compile(
        "kernels.matmul",
        "matmul_kernel",
        more | given.types,
        given.constants | fixed,
        divisible_by_16=[*pointers, "n", "k"],
        num_warps=tiling.warps,
        num_stages=tiling.stages,
    )


def inner(code: sm90.Code) -> sm90.Instructions:
    """The loop over K: there are others around it."""
    return min((x for x in code.loops if x.count("IGMMA")), key=lambda x: x.total)


@pytest.mark.parametrize(("m", "n", "k", "epilogue"), PRODUCTS)
def test_hopper(m: int, n: int, k: int, epilogue: type[Epilogue]) -> None:
    tiling = tiling_for(m, n, k, chained=True, residual=epilogue is Residual)
    code = hopper(tiling, epilogue)
    columns = min(tiling.columns, MOST_COLUMNS)
    widths = {columns, tiling.extra or columns}
    assert set(code.mma) == {f"wgmma.mma_async.sync.aligned.m64n{w}k32.s32.s8.s8" for w in widths}
    products = tiling.columns // columns + (tiling.extra > 0)
    products *= tiling.rows // 64 * (tiling.k_tile // 32)
    assert inner(code).count("IGMMA") == products
    assert inner(code).count("LDG", "LDGSTS", "LDS", "STS") == 0
    # A chained launch copies ahead apart from its loop.
    places = 2 if tiling.chained else 1
    copies = places * (tiling.consumers + 1 + (tiling.extra > 0)) * (tiling.k_tile // 128)
    assert code.count("UTMALDG") == copies
    stage = (tiling.consumers * tiling.rows + tiling.width) * tiling.k_tile
    assert list(code.tma_bytes) == [stage]
    assert inner(code).count("LDL", "STL") == 0
    # Tiles of 256 x 128 keep a few addresses in memory where they add a residual: outside the loop.
    assert code.spills <= (16 if tiling.rows == 128 and epilogue is Residual else 0)
    assert code.count("STG", width=1) == code.count("STG", width=2) == 0


@pytest.mark.parametrize("epilogue", [Plain, SquaredRelu])
@pytest.mark.parametrize("m", SIZES)
def test_plain(m: int, epilogue: type[Epilogue]) -> None:
    code = plain(m, epilogue)
    assert all(".s32.s8.s8" in name and "wgmma" in name for name in code.mma)
    assert inner(code).count("IGMMA") > 0
    assert set(code.async_bytes) == {16}
    assert (code.spills, code.local_bytes) == (0, 0)
