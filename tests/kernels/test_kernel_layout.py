"""The layout of KV pages: what goes in comes out, and each byte lies where the kernels look."""

import pytest
import torch

from kernels.common.layout import (
    GROUP,
    GROUPS,
    HEAD_DIM,
    PAGE,
    empty_pages,
    gather_context,
    pack_values,
    quantise_rows,
    scatter_context,
    slot_tokens,
    unpack_values,
)


def numbered(*shape: int) -> torch.Tensor:
    """int8 values that differ as far as int8 goes."""
    generator = torch.Generator().manual_seed(3)
    return torch.randint(-127, 128, shape, dtype=torch.int8, generator=generator)


def test_slots_by_the_rule_of_the_text() -> None:
    tokens = slot_tokens()
    for t in range(4):
        for h in range(2):
            for b in range(2):
                assert tokens[4 * t + 2 * h + b] == 8 * h + 2 * t + b
    assert sorted(tokens.tolist()) == list(range(GROUP))


def test_a_value_lies_in_its_group_channel_and_slot() -> None:
    values = numbered(PAGE, HEAD_DIM)
    page = pack_values(values)
    assert page.shape == (GROUPS, HEAD_DIM, GROUP)
    tokens = slot_tokens().tolist()
    for group, dim, slot in ((0, 0, 0), (3, 17, 5), (7, 127, 15)):
        assert page[group, dim, slot] == values[group * GROUP + tokens[slot], dim]


@pytest.mark.parametrize("shape", [(), (2,), (3, 2)])
def test_packing_can_be_undone(shape: tuple[int, ...]) -> None:
    values = numbered(*shape, PAGE, HEAD_DIM)
    packed = pack_values(values)
    assert packed.is_contiguous()
    assert torch.equal(unpack_values(packed), values)


@pytest.mark.parametrize("dtype", [torch.int8, torch.float16])
@pytest.mark.parametrize("kv_heads", [1, 3])
def test_a_context_comes_back_from_shuffled_pages(dtype: torch.dtype, kv_heads: int) -> None:
    pages = empty_pages(7, kv_heads, dtype)
    for tensor in pages:
        tensor.fill_(77)
    table = torch.tensor([5, 0, 3], dtype=torch.int32)
    k, v = (numbered(2, kv_heads, 3 * PAGE, HEAD_DIM)[i].to(dtype) for i in range(2))
    scatter_context(pages, table, k, v)
    found_k, found_v = gather_context(pages, table)
    assert torch.equal(found_k, k)
    assert torch.equal(found_v, v)
    for untouched in (1, 2, 4, 6):
        assert (pages.k[untouched] == 77).all()
        assert (pages.v[untouched] == 77).all()
    assert pages.kv_heads == kv_heads
    assert pages.is_int8 == (dtype == torch.int8)


def test_both_layouts_take_the_same_room() -> None:
    for dtype in (torch.int8, torch.float16):
        k, v = empty_pages(2, 1, dtype)
        assert k.nbytes == v.nbytes == 2 * PAGE * HEAD_DIM * dtype.itemsize


def test_rows_are_quantised_to_half_a_step() -> None:
    rows = torch.randn((5, 3, HEAD_DIM), generator=torch.Generator().manual_seed(1))
    rows[2] = 0
    values, scale = quantise_rows(rows)
    assert (values.dtype, scale.dtype) == (torch.int8, torch.float32)
    assert scale.shape == (5, 3)
    assert (values[2] == 0).all()
    assert (scale[2] == 1).all()
    assert values[0].abs().amax(-1).eq(127).all()
    assert ((values * scale[..., None] - rows).abs() <= 0.5001 * scale[..., None]).all()
