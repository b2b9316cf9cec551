"""Rotation, quantisation and the write into pages on a GPU: large, ragged, repeated."""

import pytest
import torch

from kernels.common.example import POISON, rotary_inputs
from kernels.common.layout import KVPages, stored
from kernels.rotary_write import reference, rotary_table, rotary_write

pytestmark = pytest.mark.gpu
BASE, REACH = 10000.0, 32768
CASES = {
    "one": {"tokens": 1, "heads": 64},
    "decode": {"tokens": 512, "heads": 64},
    "40 heads": {"tokens": 701, "heads": 40, "order": "ragged"},
    "128 heads": {"tokens": 700, "heads": 128, "order": "prefill"},
    "odd heads": {"tokens": 133, "heads": 5, "order": "ragged"},
    "grouped": {"tokens": 1000, "heads": 64, "kv_heads": 8, "order": "ragged"},
    "multi-head": {"tokens": 300, "heads": 64, "kv_heads": 64, "order": "prefill"},
    "half": {"tokens": 501, "heads": 64, "is_int8": False, "order": "ragged"},
    "half, grouped": {"tokens": 1000, "heads": 64, "kv_heads": 8, "is_int8": False},
    "large": {"tokens": 8192, "heads": 64, "order": "prefill"},
}


@pytest.mark.parametrize("case", CASES)
def test_equals_the_reference_and_itself(case: str) -> None:
    inputs = rotary_inputs(**CASES[case], reach=REACH, device="cuda")
    named = inputs._asdict() | {"table": rotary_table(REACH, BASE, "cuda"), "check": True}
    tokens, heads, is_int8 = inputs.qkv.shape[0], CASES[case]["heads"], inputs.pages.is_int8
    kind = torch.int8 if is_int8 else torch.float16
    q = torch.full((tokens, heads, 128), POISON, dtype=kind, device="cuda")
    found = rotary_write(**named, q=q)
    want = reference(
        inputs.qkv, inputs.positions, BASE, heads=heads, kv_heads=inputs.pages.kv_heads,
        k_scale=inputs.k_scale, v_scale=inputs.v_scale,
    )  # fmt: skip
    most = 0.501 if is_int8 else 0.004
    assert (q.double() - want.q).abs().max() <= most
    written = inputs.slots >= 0
    for seen, exact in zip(stored(inputs.pages, inputs.slots), (want.k, want.v), strict=True):
        assert (seen.double() - exact)[written].abs().max() <= most
    rest = torch.ones(len(inputs.pages.k) * 128, dtype=torch.bool, device="cuda")
    rest[inputs.slots[written].long()] = False
    for seen in stored(inputs.pages, rest.nonzero()[:, 0]):
        assert (seen == POISON).all(), "nothing else is written"
    for chained in (False, True, True):
        pages = KVPages(*(page.clone().fill_(POISON) for page in inputs.pages))
        repeat = rotary_write(**{**named, "pages": pages}, chained=chained)
        assert torch.equal(repeat.values, q)
        assert found.scale is None or torch.equal(repeat.scale, found.scale)
        assert torch.equal(pages.k, inputs.pages.k)
        assert torch.equal(pages.v, inputs.pages.v)
