"""Users of one prefix become neighbours, and that changes nothing but the order."""

import pytest
import torch

from kernels.common.example import decode_inputs
from kernels.decode_attention import decode_attention
from kernels.shared_prefix import flops_and_bytes, group_by_prefix


def test_users_of_a_prefix_are_neighbours_in_their_old_order() -> None:
    pages = torch.tensor([[7, 1], [3, 2], [7, 4], [9, 5], [3, 6]], dtype=torch.int32)
    prefix = torch.tensor([128, 128, 128, 0, 128], dtype=torch.int32)
    assert group_by_prefix(pages, prefix).tolist() == [0, 2, 1, 4, 3]
    longer = torch.tensor([128, 256, 128, 0, 256], dtype=torch.int32)
    assert group_by_prefix(pages, longer).tolist() == [1, 4, 0, 2, 3]


def test_a_batch_in_another_order_gives_the_same_rows() -> None:
    inputs = decode_inputs([300, 200, 260, 140], heads=16)
    pages = inputs.pages.clone()
    pages[2, 0] = pages[0, 0]
    inputs = inputs._replace(pages=pages)
    order = group_by_prefix(pages, torch.tensor([128, 0, 128, 0], dtype=torch.int32))
    assert order.tolist()[:2] == [0, 2]
    rows = {
        name: getattr(inputs, name)[order] for name in ("q", "q_scale", "pages", "start", "limit")
    }
    there = decode_attention(*inputs._replace(**rows))
    assert torch.equal(there, decode_attention(*inputs)[order])


def test_a_shared_prefix_is_counted_once_for_a_group() -> None:
    start, limit = torch.zeros(4, dtype=torch.int32), torch.full((4,), 384, dtype=torch.int32)
    prefix = torch.full((4,), 256, dtype=torch.int32)
    apart = flops_and_bytes(start, limit, prefix, groups=4, heads=64)
    together = flops_and_bytes(start, limit, prefix, groups=1, heads=64)
    assert apart.flops == together.flops
    assert apart.bytes - together.bytes == 3 * 256 * 256


def test_bad_arguments_are_named() -> None:
    pages = torch.zeros((2, 3), dtype=torch.int32)
    with pytest.raises(ValueError, match="prefix_tokens: shape is"):
        group_by_prefix(pages, torch.zeros(3, dtype=torch.int32))
    with pytest.raises(ValueError, match="pages: dtype is"):
        group_by_prefix(pages.long(), torch.zeros(2, dtype=torch.int32))
