"""Reading machine code: kernels of which it is known what they must contain."""

import pytest
import sm90

POINTERS = {"x": "*i8", "w": "*i8", "out": "*i32"}


def product(**options: int) -> sm90.Code:
    return sm90.compile(
        "sample_kernels",
        "product",
        POINTERS | {"k": "i32"},
        {"BLOCK": 128},
        divisible_by_16=("x", "w", "out", "k"),
        **options,
    )


def test_an_int8_product_by_warpgroups_with_asynchronous_copies() -> None:
    code = product(num_warps=8, num_stages=3)
    assert code.mma == {"wgmma.mma_async.sync.aligned.m64n128k32.s32.s8.s8": 4}
    assert set(code.async_bytes) == {16}
    assert (code.spills, code.local_bytes) == (0, 0)
    assert 0 < code.loop.total < code.total
    assert code.loop.count("IGMMA") == code.count("IGMMA") == 4
    assert code.loop.count("LDGSTS") == code.loop.count("LDGSTS", width=16) > 0
    assert code.loop.count("LDG") == 0
    assert code.shared == 3 * 2 * 128 * 128
    assert code.registers <= 255


def test_what_does_not_fit_into_registers_shows_as_spills() -> None:
    code = product(num_warps=4, num_stages=2, maxnreg=128)
    assert code.registers <= 128
    assert code.spills > 0
    assert code.local_bytes > 0


def test_narrow_accesses_show() -> None:
    code = sm90.compile(
        "sample_kernels", "bytewise", {"x": "*i8", "out": "*i8"}, {"BLOCK": 512}, ("x", "out")
    )
    assert code.count("LDG") == code.count("LDG", width=1) == 4
    assert code.loop.total == 0
    assert not code.mma


def test_a_gluon_kernel_with_a_descriptor_of_the_host() -> None:
    code = sm90.compile(
        "sample_kernels",
        "tile_copy",
        {"source": sm90.descriptor("i8", 128, 128, gluon=True), "out": "*i8"},
        {"BLOCK": 128},
        divisible_by_16=("out",),
    )
    assert code.count("UTMALDG") == 1
    assert code.tma_bytes == {128 * 128: 1}
    assert code.count("STG") == code.count("STG", width=16) > 0


def test_a_mistake_is_told_and_the_next_request_is_answered() -> None:
    with pytest.raises(sm90.CompileError, match="neither type nor value.*'w'"):
        sm90.compile("sample_kernels", "product", {"x": "*i8", "out": "*i32", "k": "i32"}, {})
    with pytest.raises(sm90.CompileError):
        sm90.compile("sample_kernels", "product", POINTERS | {"k": "i32"}, {"BLOCK": 7})
    assert product(num_warps=8, num_stages=3).spills == 0


def test_a_compiler_that_goes_down_takes_nobody_along() -> None:
    sm90._worker().kill()
    with pytest.raises(sm90.CompileError, match="crashed with code -9"):
        product(num_warps=8, num_stages=4)
    assert product(num_warps=8, num_stages=2).spills == 0
