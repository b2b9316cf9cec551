"""Attention of training, compiled for sm_90a."""

import pytest
import sm90

SHARED = {
    "start_ptr": "*i32", "limit_ptr": "*i32", "key_limit_ptr": "*i32", "whole_ptr": "*i32",
    "whole_count_ptr": "*i32", "part_ptr": "*i32", "part_count_ptr": "*i32", "tokens": "i32",
    "heads": "i32", "kv_heads": "i32", "most": "i32", "unit": "fp32",
}  # fmt: skip
TILES = {"QUERY_TILE": 128, "KEY_TILE": 64, "DIM": 128, "UPCAST": False}
BACK = {
    "q_ptr": "*bf16", "k_ptr": "*bf16", "v_ptr": "*bf16", "g_ptr": "*bf16", "lse_ptr": "*fp32",
    "delta_ptr": "*fp32", "scale": "fp32",
}  # fmt: skip


def build(module: str, kernel: str, types: dict[str, str], **constants: object) -> sm90.Code:
    aligned = [n for n in SHARED | types if n.endswith("_ptr") or n in ("tokens", "heads")]
    return sm90.compile(
        f"kernels.training.attention.{module}", kernel, SHARED | types, TILES | constants, aligned,
        num_warps=8,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("keys", "int8", "pairs"), [(False, False, False), (True, True, False), (False, True, True)]
)
def test_forward(keys: bool, int8: bool, pairs: bool) -> None:
    operand = "*i8" if int8 else "*bf16"
    types = {
        "q_ptr": operand, "k_ptr": operand, "v_ptr": operand, "q_scale_ptr": "*fp32",
        "out_ptr": "*fp32" if pairs else "*bf16", "lse_ptr": "*fp32", "v_scale": "fp32",
    }  # fmt: skip
    tile = 128 if int8 else 64
    code = build(
        "forward", "forward_kernel", types, KEYS=keys, INT8=int8, HALVES=int8, PAIRS=pairs,
        SERVED=pairs,
        KEY_TILE=tile,
    )  # fmt: skip
    assert (code.spills, code.local_bytes) == (0, 0)
    assert code.count("HGMMA")
    assert bool(code.count("IGMMA")) == int8


OUTS = {
    "queries_kernel": {"out_ptr": "*bf16"},
    "keys_kernel": {"to_k_ptr": "*fp32", "to_v_ptr": "*fp32", "groups": "i32"},
}


@pytest.mark.parametrize("kernel", OUTS)
def test_gradients(kernel: str) -> None:
    code = build("backward", kernel, BACK | OUTS[kernel], KEYS=False)
    assert code.local_bytes <= 64, "a few registers, outside of the products"
    assert code.count("HGMMA")
