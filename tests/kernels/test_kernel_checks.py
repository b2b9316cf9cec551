"""A bad argument is named, with what it is and what it must be; a good one passes in silence."""

import re

import pytest
import torch

from kernels.common import checks
from kernels.common.layout import KVPages, empty_pages

CPU = torch.device("cpu")
META = torch.device("meta")


def test_good_tensors_pass() -> None:
    x = torch.zeros((2, 3))
    checks.tensor("x", x, (2, 3), torch.float32, CPU)
    checks.tensor("x", x, (None, 3), (torch.float16, torch.float32))
    checks.tensor("x", x[:, :2], (2, 2), torch.float32, rows_only=True)
    checks.tensor("x", torch.zeros((3, 1)).T, (1, 3), torch.float32)


@pytest.mark.parametrize(
    ("value", "more", "says"),
    [
        ([1.0], {}, "x: must be a tensor, not list"),
        (torch.zeros(6), {}, "x: shape is [6], must be [2, any]"),
        (torch.zeros((3, 2)), {}, "x: shape is [3, 2], must be [2, any]"),
        (torch.zeros((2, 3)).half(), {}, "x: dtype is torch.float16, must be float32 or int8"),
        (torch.zeros((2, 3), device=META), {}, "x: is on meta, must be on cpu like the others"),
        (torch.zeros((3, 2)).T, {}, "x: stride is (1, 2), must be contiguous"),
        (torch.zeros((3, 2)).T, {"rows_only": True}, "x: stride is (1, 2), the last must be 1"),
    ],
)
def test_bad_tensors_are_told(value: object, more: dict[str, bool], says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        checks.tensor("x", value, (2, None), (torch.float32, torch.int8), CPU, **more)


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), float("inf"), True, "1", None])
def test_bad_numbers_are_told(value: object) -> None:
    with pytest.raises(ValueError, match=r"x: is .*, must be a number from 0 to 1"):
        checks.number("x", value, 0, 1)


def test_good_numbers_and_choices_pass() -> None:
    checks.number("x", 0, 0, 1)
    checks.number("x", 1.0, 0, 1)
    checks.one_of("x", "a", ("a", "b"))
    with pytest.raises(ValueError, match="x: is 'c', must be one of a, b"):
        checks.one_of("x", "c", ("a", "b"))


def ints(*rows: object) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.int32)


def test_only_pages_that_are_seen_need_to_exist() -> None:
    table = ints([9, 2, -1], [-5, -5, -5])
    # The first sees tokens 128 to 256, all of page 2; the second is an empty slot.
    checks.page_table(table, ints(128, 7), ints(256, 7), 3)


@pytest.mark.parametrize(
    ("start", "limit", "says"),
    [
        (127, 256, "pages: entry [0, 0] is 9, must be in 0 to 2"),
        (128, 257, "pages: entry [0, 2] is -1, must be in 0 to 2"),
        (0, 385, "start, limit: must lie in 0 to 384, the table's reach"),
        (-1, 100, "start, limit: must lie in 0 to 384, the table's reach"),
    ],
)
def test_pages_outside_are_told(start: int, limit: int, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        checks.page_table(ints([9, 2, -1]), ints(start), ints(limit), 3)


@pytest.mark.parametrize("dtype", [torch.int8, torch.float16])
def test_pages_of_the_layout_pass(dtype: torch.dtype) -> None:
    checks.kv_pages("kv", empty_pages(3, 2, dtype), CPU)


@pytest.mark.parametrize(
    ("k", "v", "says"),
    [
        (torch.int8, torch.float16, "kv.v: shape is [3, 2, 128, 128], must be [3, 2, 8, 128, 16]"),
        (torch.float16, torch.int8, "kv.v: shape is [3, 2, 8, 128, 16], must be [3, 2, 128, 128]"),
        (torch.float32, torch.float32, "kv.k: dtype is torch.float32, must be int8 or float16"),
    ],
)
def test_pages_of_two_kinds_are_told(k: torch.dtype, v: torch.dtype, says: str) -> None:
    mixed = KVPages(empty_pages(3, 2, k).k, empty_pages(3, 2, v).v)
    with pytest.raises(ValueError, match=re.escape(says)):
        checks.kv_pages("kv", mixed, CPU)


def test_query_heads_share_kv_heads_evenly() -> None:
    checks.heads("q", 64, 1, 128)
    checks.heads("q", 64, 64, 128)
    with pytest.raises(ValueError, match="q: 6 heads, must be a multiple of 4 KV heads"):
        checks.heads("q", 6, 4, 128)
    with pytest.raises(ValueError, match="q: 256 heads share a KV head, must be 128 at most"):
        checks.heads("q", 256, 1, 128)
