"""Copies between host and GPU; sums between GPUs are the caller's."""

import pytest
import torch

from calibrate.gpu.links import TorchLinks


def test_sums_are_the_callers() -> None:
    links = TorchLinks(torch.device("cpu"), lambda rows: rows * 1e-6)
    assert links.all_reduce(16) == pytest.approx(16e-6)
    with pytest.raises(ValueError, match="a single GPU"):
        TorchLinks(torch.device("cpu")).all_reduce(16)


def test_a_copy_goes_one_of_two_ways() -> None:
    with pytest.raises(ValueError, match="must be one of to_device, to_host"):
        TorchLinks(torch.device("cpu")).copy("sideways", 1)


@pytest.mark.gpu
@pytest.mark.parametrize("direction", ["to_device", "to_host"])
def test_larger_copies_take_longer(direction: str) -> None:
    links = TorchLinks(torch.device("cuda"))
    seconds = [min(links.copy(direction, size) for _ in range(3)) for size in (1 << 20, 1 << 28)]
    assert 0 < seconds[0] < seconds[1] < 1
    links.close()
