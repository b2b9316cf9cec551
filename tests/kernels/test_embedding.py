"""The embedding against float64, through Triton's interpreter."""

import pytest
import torch

from kernels.common.device import is_interpreted
from kernels.common.example import embedding_inputs
from kernels.embedding import embedding, flops_and_bytes, head_scale, reference

pytestmark = pytest.mark.skipif(not is_interpreted(), reason="on a GPU, gpu/ has these")

BF16_ERROR = 2**-7
"""Of a value. The interpreter cuts off what a GPU rounds."""


@pytest.mark.parametrize(("tokens", "vocab", "hidden"), [(5, 99, 5120), (3, 7, 333), (1, 1, 1)])
@pytest.mark.parametrize("scale", [1.0, 10.667])
def test_equals_the_reference(tokens: int, vocab: int, hidden: int, scale: float) -> None:
    inputs = embedding_inputs(tokens, vocab, hidden)
    out = torch.full((tokens, hidden), float("nan"), dtype=torch.bfloat16)
    assert embedding(*inputs, scale=scale, out=out, check=True) is out
    want = reference(*inputs, scale)
    assert ((out.double() - want).abs() <= want.abs() * BF16_ERROR).all()


def test_the_reference_is_a_row_of_the_table() -> None:
    ids, table, row_scale = embedding_inputs(4, 20, 16)
    for token, row in zip(ids.tolist(), reference(ids, table, row_scale, 3.0), strict=True):
        torch.testing.assert_close(row, table[token].double() * float(row_scale[token]) * 3.0)


def test_ids_outside_the_table_give_zeros() -> None:
    _, table, row_scale = embedding_inputs(1, 20, 333)
    ids = torch.tensor([-1, 19, 20, 1 << 30], dtype=torch.int32)
    out = torch.full((4, 333), float("nan"), dtype=torch.bfloat16)
    embedding(ids, table, row_scale, out=out)
    assert (out[[0, 2, 3]] == 0).all()
    assert out[1].any()
    assert (reference(ids, table, row_scale)[[0, 2, 3]] == 0).all()


def test_no_tokens() -> None:
    _, table, row_scale = embedding_inputs(1, 20, 64)
    assert embedding(torch.zeros(0, dtype=torch.int32), table, row_scale).shape == (0, 64)


def test_the_head_multiplies_its_columns() -> None:
    assert head_scale(torch.tensor([1.0, 2.0]), 0.125).tolist() == [0.125, 0.25]


def test_work_counts_each_byte_once() -> None:
    assert flops_and_bytes(512, 5120).bytes == 512 * (5120 * 3 + 4 + 4)


BAD = {
    "table: must be a tensor": {"table": None},
    "table: dtype is": {"table": torch.zeros((20, 64))},
    "table: stride is": {"table": torch.zeros((64, 20), dtype=torch.int8).T},
    "ids: shape is": {"ids": torch.zeros((4, 1), dtype=torch.int32)},
    "ids: dtype is": {"ids": torch.zeros(4, dtype=torch.int64)},
    "ids: is on meta": {"ids": torch.zeros(4, dtype=torch.int32, device="meta")},
    "ids: must lie in 0 to 19": {"ids": torch.tensor([0, 1, 20, 3], dtype=torch.int32)},
    "row_scale: shape is": {"row_scale": torch.ones(19)},
    "scale: is inf": {"scale": float("inf")},
    "out: shape is": {"out": torch.zeros((3, 64), dtype=torch.bfloat16)},
    "out: dtype is": {"out": torch.zeros((4, 64), dtype=torch.float16)},
}


@pytest.mark.parametrize("message", BAD)
def test_bad_arguments_are_named(message: str) -> None:
    out = torch.full((4, 64), 7.0, dtype=torch.bfloat16)
    good = embedding_inputs(4, 20, 64)._asdict() | {"out": out, "check": True}
    with pytest.raises(ValueError, match=r"^") as error:
        embedding(**{**good, **BAD[message]})
    assert message in str(error.value)
    assert (out == 7).all(), "nothing was launched"
