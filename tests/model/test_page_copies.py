"""Pages are copied in all layers by one launch."""

from random import Random

import pytest
import torch

from calibrate.gpu.serve.executor import apart
from kernels.model.steps.copies import PageCopies

PAGES = 12


def parts(device: str) -> list[torch.Tensor]:
    """Of three layers, K and V of different shapes; a page is more than one block of words."""
    shapes = ((2, 24, 128), (2, 2, 12, 128)) * 3
    return [
        torch.randint(-99, 99, (PAGES, *shape), dtype=torch.int8, device=device) for shape in shapes
    ]


def compared(device: str) -> None:
    draw = Random(5)
    for _ in range(4):
        pairs = [(draw.randrange(PAGES), draw.randrange(PAGES)) for _ in range(9)]
        first = parts(device)
        second = [part.clone() for part in first]
        by_hand = [part.clone() for part in first]
        fast, slow = PageCopies(first), PageCopies(second)
        for piece in apart(pairs):
            fast.launch(torch.tensor(piece, device=device))
            slow.reference(piece)
        for source, target in pairs:
            for part in by_hand:
                part[target] = part[source]
        for one, other, third in zip(first, second, by_hand, strict=True):
            assert torch.equal(one, third)
            assert torch.equal(other, third)


def test_one_launch_does_what_a_loop_over_parts_does() -> None:
    compared("cpu")


@pytest.mark.gpu
def test_so_it_does_on_a_gpu() -> None:
    compared("cuda")
    both = [PageCopies(parts("cuda")) for _ in range(2)]
    for copies in both:
        copies.run([(1, 2), (3, 4)])
        assert all(torch.equal(part[1], part[2]) for part in copies.parts)


def test_what_depends_on_another_copy_comes_after_it() -> None:
    assert list(apart([(0, 1), (2, 3), (1, 4), (5, 1), (6, 6), (6, 7)])) == [
        [(0, 1), (2, 3)], [(1, 4)], [(5, 1), (6, 6)], [(6, 7)],
    ]  # fmt: skip
    assert list(apart([])) == []
