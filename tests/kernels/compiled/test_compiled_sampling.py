"""Sampling, compiled for sm_90a."""

import pytest
import sm90
import torch

from kernels.sampling import MAX_ROUNDS, SEGMENT, SUMS, default_draw

COMMON = {
    "temperature_ptr": "*fp32", "active_ptr": "*i32", "top_ptr": "*fp32", "mass_ptr": "*fp32",
    "vocab": "i32", "row_stride": "i32", "segments": "i32",
}  # fmt: skip
DRAW = {
    "top_p_ptr": "*fp32", "top_k_ptr": "*i32", "seed_ptr": "*i64", "step_ptr": "*i32",
    "out_ptr": "*i32",
}  # fmt: skip


def build(
    kernel: str, logits: str, types: dict[str, str], constants: dict[str, object], warps: int
) -> sm90.Code:
    signature = {"logits_ptr": logits} | types
    aligned = [name for name in signature if name != "segments"]
    fixed = {"HAS_ACTIVE": True, "SEGMENT": SEGMENT} | constants
    return sm90.compile("kernels.sampling", kernel, signature, fixed, aligned, num_warps=warps)


@pytest.mark.parametrize("logits", ["*bf16", "*fp32"])
def test_the_pass_over_the_vocabulary_loads_16_bytes_at_a_time(logits: str) -> None:
    tile, warps = SUMS
    code = build("_segment_sums", logits, COMMON, {"TILE": tile}, warps)
    assert (code.spills, code.local_bytes) == (0, 0)
    elements = 8 if logits == "*bf16" else 4
    assert code.count("LDG", width=16) == tile * SEGMENT // (32 * warps * elements)
    assert code.count("LDG") - code.count("LDG", width=16) <= 2, "temperature and active"


@pytest.mark.parametrize("logits", ["*bf16", "*fp32"])
@pytest.mark.parametrize("batch", [1, 512])
@pytest.mark.parametrize("limits", ["", "p", "k", "pk"])
def test_drawing_keeps_its_tiles_in_registers(logits: str, batch: int, limits: str) -> None:
    dtype = torch.bfloat16 if logits == "*bf16" else torch.float32
    tile, warps = default_draw(batch, dtype, "p" in limits, "k" in limits)
    constants: dict[str, object] = {
        "HAS_TOP_P": "p" in limits, "HAS_TOP_K": "k" in limits, "SEGMENTS": 64, "TILE": tile,
        "MAX_ROUNDS": MAX_ROUNDS,
    }  # fmt: skip
    unused = {"top_p_ptr": "p", "top_k_ptr": "k"}
    absent = {name: None for name, letter in unused.items() if letter not in limits}
    types = {name: kind for name, kind in (COMMON | DRAW).items() if name not in absent}
    code = build("_draw", logits, types, constants | absent, warps)
    # Triton 3.6 keeps one word of predicates on the stack in the search for top-k.
    assert code.local_bytes <= (8 if "k" in limits else 0)
    assert code.spills <= (8 if "k" in limits else 0)
    if limits:
        elements = 8 if logits == "*bf16" else 4
        per_pass = tile * SEGMENT // (32 * warps * elements)
        assert code.count("LDG", width=16) >= per_pass


def test_a_vocabulary_of_one() -> None:
    """The compiler makes a constant of an argument that is 1."""
    types = {name: kind for name, kind in (COMMON | DRAW).items() if name != "vocab"}
    constants: dict[str, object] = {
        "HAS_TOP_P": True, "HAS_TOP_K": True, "SEGMENTS": 1, "TILE": 8, "MAX_ROUNDS": MAX_ROUNDS,
        "vocab": 1,
    }  # fmt: skip
    assert build("_draw", "*fp32", types, constants, 8).spills == 0
