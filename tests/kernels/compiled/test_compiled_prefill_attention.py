"""Prefill attention compiled for sm_90a: int8 products, nothing spilled where it loops."""

import pytest
import sm90

WGMMA = "wgmma.mma_async.sync.aligned.m64n128k32.s32.s8.s8"
INTS = ("entries", "keys", "key_stride", "heads", "kv_heads")
TABLES = ("table", "records", "start", "limit", "positions", "key_limit")
PAGE_BYTES = 128 * 128


def types(*, kind: str, out: str, names: tuple[str, ...]) -> dict[str, str]:
    return (
        dict.fromkeys(names, f"*{kind}")
        | dict.fromkeys(("q_scale", "v_scale"), "*fp32")
        | dict.fromkeys(TABLES, "*i32")
        | dict.fromkeys(INTS, "i32")
        | {"out": f"*{out}", "softmax_scale": "fp32", "out_scale": "fp32"}
    )


def hopper(share: int, *, is_keyed: bool, out: str = "bf16") -> sm90.Code:
    pages = {
        "k_desc": sm90.descriptor("i8", 128, 128, gluon=True),
        "v_desc": sm90.descriptor("i32", 16, 256, gluon=True, swizzle=0),
    }
    rest = types(kind="i8", out=out, names=("q",)) | {"units": "i32"}
    aligned = [name for name, kind in rest.items() if kind.startswith("*")]
    return sm90.compile(
        "kernels.hopper.prefill", "prefill_kernel", pages | rest,
        {"SHARE": share, "KEYS": is_keyed}, aligned, num_warps=4,
    )  # fmt: skip


def plain(kind: str, *, is_keyed: bool) -> sm90.Code:
    signature = types(kind=kind, out="bf16", names=("q_ptr", "k_ptr", "v_ptr"))
    aligned = [name for name, kind in signature.items() if kind.startswith("*")]
    constants = {
        "SHARE": 64, "KEYS": is_keyed, "INT8": kind == "i8", "ROWS": 128, "STAGES": 2,
    }  # fmt: skip
    return sm90.compile(
        "kernels.prefill_attention", "_prefill_kernel", signature, constants, aligned, num_warps=8
    )


def over_pages(code: sm90.Code, pages: int) -> list[sm90.Instructions]:
    """The loops that take so many pages a time: each does eight products a page (four a matrix, of
    32 deep), one exponential a probability and two a thread's rows, and no division."""
    exponentials = 64 * pages + 2
    return [
        loop
        for loop in code.loops
        if (loop.count("IGMMA"), loop.count("MUFU")) == (8 * pages, exponentials)
    ]


VARIANTS = [(64, False, "bf16"), (64, True, "bf16"), (64, False, "i8"), (40, False, "bf16")]


@pytest.mark.parametrize(("share", "is_keyed", "out"), VARIANTS)
def test_pages_come_by_tma_into_int8_products(share: int, is_keyed: bool, out: str) -> None:
    code = hopper(share, is_keyed=is_keyed, out=out)
    assert set(code.mma) == {WGMMA}
    assert code.count("UTMALDG") == 2
    assert code.tma_bytes == {PAGE_BYTES: 2}
    assert code.count("STG", width=16 if out == "bf16" else 8) == code.count("STG") > 0
    assert code.shared <= 227 * 1024


@pytest.mark.parametrize(("share", "is_keyed", "out"), VARIANTS)
def test_loops_over_pages_spill_nothing(share: int, is_keyed: bool, out: str) -> None:
    code = hopper(share, is_keyed=is_keyed, out=out)
    masked, pairs = over_pages(code, 1), over_pages(code, 2)
    assert len(pairs) == len(masked) == 2, "one for each warpgroup"
    for loop in masked + pairs:
        assert loop.count(*sm90.SPILLS) == 0
    for loop in pairs:
        assert loop.count("LDG", "LDS") == 0
        assert loop.total <= 1000, "for 64 x 256 scores"
    assert code.spills <= 40, "a few words around the loop over tiles"


@pytest.mark.parametrize("is_keyed", [False, True])
def test_the_plain_kernel_copies_asynchronously_and_spills_nothing(is_keyed: bool) -> None:
    code = plain("i8", is_keyed=is_keyed)
    assert set(code.mma) == {WGMMA}
    assert code.spills == 0
    assert code.async_bytes[16] > 0


def test_the_plain_kernel_in_float16_compiles() -> None:
    code = plain("fp16", is_keyed=False)
    assert set(code.mma) == {"wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16"}
    assert code.spills == 0
    assert set(code.async_bytes) == {16}
