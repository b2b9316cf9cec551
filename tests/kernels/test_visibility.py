"""Builders of (start, limit) and key_limit, against masks written down independently."""

import pytest
import torch

from kernels.common import visibility
from kernels.common.visibility import Visibility, dense_mask


def ints(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.int32)


def rows_of(mask: torch.Tensor) -> list[str]:
    """A mask as text: one string a query, `x` where it sees a key."""
    return ["".join("x" if seen else "." for seen in row) for row in mask.tolist()]


def check_types(seen: Visibility, queries: int) -> None:
    for tensor in (seen.start, seen.limit, seen.positions):
        assert tensor.dtype == torch.int32
        assert tensor.shape == (queries,)
        assert tensor.is_contiguous()


def test_causal_chunks_after_cached_prefixes() -> None:
    cu_q, cached = ints(0, 2, 2, 5), ints(3, 7, 0)
    seen = visibility.causal(cu_q, cached, 5)
    check_types(seen, 5)
    assert rows_of(dense_mask(seen, cu_q, 6)) == ["xxxx..", "xxxxx.", "x.....", "xx....", "xxx..."]
    assert seen.positions.tolist() == [3, 4, 0, 1, 2]


def test_windows_hold_the_last_keys_and_the_own() -> None:
    cu_q, cached = ints(0, 2, 5), ints(3, 0)
    seen = visibility.causal(cu_q, cached, 5, window=2)
    assert rows_of(dense_mask(seen, cu_q, 6)) == ["..xx..", "...xx.", "x.....", "xx....", ".xx..."]
    with pytest.raises(ValueError, match="window: is 0"):
        visibility.causal(cu_q, cached, 5, window=0)


@pytest.mark.parametrize("window", [None, 1, 7, 100])
def test_causal_against_a_loop(window: int | None) -> None:
    lengths, cached = [3, 0, 17, 1, 40], [0, 9, 33, 60, 5]
    cu_q = ints(0, *torch.tensor(lengths).cumsum(0).tolist())
    seen = visibility.causal(cu_q, ints(*cached), sum(lengths), window)
    mask = dense_mask(seen, cu_q, 70)
    row = 0
    for length, before in zip(lengths, cached, strict=True):
        for i in range(length):
            at = before + i
            want = [at - (window or 1000) < key <= at for key in range(70)]
            assert mask[row].tolist() == want
            row += 1


def test_documents_do_not_see_each_other() -> None:
    cu_q = ints(0, 5, 7)
    seen = visibility.documents(cu_q, ints(0, 2, 5, 6, 7), 7)
    check_types(seen, 7)
    want = ["x....", "xx...", "..x..", "..xx.", "..xxx", "x....", ".x..."]
    assert rows_of(dense_mask(seen, cu_q, 5)) == want


def test_a_prefix_sees_itself_both_ways() -> None:
    cu_q = ints(0, 4, 6)
    seen = visibility.prefix_bidirectional(cu_q, ints(0, 1), ints(3, 2), 6)
    check_types(seen, 6)
    want = ["xxx.", "xxx.", "xxx.", "xxxx", "xx..", "xxx."]
    assert rows_of(dense_mask(seen, cu_q, 4)) == want


def test_empty_slots_see_nothing() -> None:
    cu_q = ints(0, 2, 4)
    live = torch.tensor([True, True, False, False])
    seen = visibility.empty_slots(visibility.causal(cu_q, ints(1, 1), 4), live)
    check_types(seen, 4)
    assert rows_of(dense_mask(seen, cu_q, 3)) == ["xx.", "xxx", "...", "..."]


def test_a_tree_with_siblings() -> None:
    """0         4
     / | \\        |
    1  2  3       5     after one cached token, which all see."""
    seen = visibility.trees([[-1, 0, 0, 0, -1, 4]], [1])
    check_types(seen, 6)
    want = ["xx.....", "xxx....", "xx.x...", "xx..x..", "x....x.", "x....xx"]
    assert rows_of(dense_mask(seen, ints(0, 6), 7)) == want


def ancestors(parents: list[int], node: int) -> set[int]:
    """A node and all above it."""
    above = set()
    while node != -1:
        above.add(node)
        node = parents[node]
    return above


def random_tree(nodes: int, generator: torch.Generator) -> list[int]:
    """A forest in depth-first order: each node hangs below the last one or an ancestor of it."""
    parents: list[int] = []
    for node in range(nodes):
        choices = sorted(ancestors(parents, node - 1)) if node else []
        pick = int(torch.randint(-1, len(choices), (1,), generator=generator))
        parents.append(-1 if pick == -1 else choices[pick])
    return parents


@pytest.mark.parametrize("seed", range(5))
def test_random_trees_against_walks_to_the_root(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    sizes, cached = [1, 30, 12], [4, 0, 9]
    parents = [random_tree(size, generator) for size in sizes]
    seen = visibility.trees(parents, cached)
    cu_q = ints(0, 1, 31, 43)
    mask = dense_mask(seen, cu_q, 32)
    row = 0
    for tree, before in zip(parents, cached, strict=True):
        for node in range(len(tree)):
            keys = set(range(before)) | {before + above for above in ancestors(tree, node)}
            assert set(mask[row].nonzero().flatten().tolist()) == keys
            row += 1


def test_beams_share_the_prefix_only() -> None:
    seen = visibility.beams([[2, 1, 2], [1]], [2, 0])
    check_types(seen, 6)
    want = ["xxx....", "xxxx...", "xx..x..", "xx...x.", "xx...xx", "x......"]
    assert rows_of(dense_mask(seen, ints(0, 5, 6), 7)) == want


@pytest.mark.parametrize(
    ("parents", "node"),
    [([-1, -1, 0], 2), ([-1, 0, 0, 1], 3), ([0], 0), ([-1, 5], 1), ([-1, -2], 1)],
)
def test_orders_that_are_not_depth_first(parents: list[int], node: int) -> None:
    with pytest.raises(ValueError, match=f"parents: node {node} .* not depth-first"):
        visibility.trees([parents], [3])
