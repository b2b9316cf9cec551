"""Which kernel runs where."""

import os

import pytest
import torch

from kernels.common import device as devices
from kernels.common.device import HOPPER, is_interpreted, multiprocessors, use_hopper

CPU, GPU = torch.device("cpu"), torch.device("cuda:0")


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """As if there were a GPU."""
    monkeypatch.setattr(devices, "is_interpreted", lambda: False)
    return monkeypatch


def test_interpreted_unless_there_is_a_gpu() -> None:
    if not torch.cuda.is_available():
        assert is_interpreted()
        assert os.environ["TRITON_INTERPRET"] == "1"


def test_a_cpu_has_neither_a_capability_nor_many_processors() -> None:
    assert devices.capability(CPU) == (0, 0)
    assert 1 < multiprocessors(CPU) < 16


@pytest.mark.parametrize(
    ("capability", "backend", "served", "hopper"),
    [
        (HOPPER, "auto", True, True),
        (HOPPER, "hopper", True, True),
        (HOPPER, "triton", True, False),
        (HOPPER, "auto", False, False),
        ((8, 0), "auto", True, False),
        ((10, 0), "auto", True, False),
        ((8, 0), "triton", True, False),
    ],
)
def test_hopper_kernels_run_on_hopper(
    compiled: pytest.MonkeyPatch,
    capability: tuple[int, int],
    backend: devices.Backend,
    served: bool,
    hopper: bool,
) -> None:
    compiled.setattr(devices, "capability", lambda _: capability)
    assert use_hopper(GPU, backend, served=served) is hopper


@pytest.mark.parametrize(
    ("capability", "served", "why"),
    [(HOPPER, False, "this shape is not served"), ((8, 0), True, "cuda:0 is no Hopper GPU")],
)
def test_a_hopper_kernel_that_cannot_be_had_is_an_error(
    compiled: pytest.MonkeyPatch, capability: tuple[int, int], served: bool, why: str
) -> None:
    compiled.setattr(devices, "capability", lambda _: capability)
    with pytest.raises(ValueError, match=f"backend: 'hopper' is not possible here: {why}"):
        use_hopper(GPU, "hopper", served=served)


def test_an_unknown_backend_is_told() -> None:
    with pytest.raises(ValueError, match="backend: 'cuda' is none of auto, triton, hopper"):
        use_hopper(CPU, "cuda", served=True)  # type: ignore[arg-type]
