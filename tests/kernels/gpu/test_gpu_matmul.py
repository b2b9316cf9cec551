"""int8 matmul on a GPU: large and ragged, both kernels, poisoned outputs, identical repeats."""

from typing import NamedTuple

import pytest
import torch

from kernels.common.device import HOPPER, Backend, capability
from kernels.hopper.matmul.launch import launch
from kernels.hopper.matmul.tiling import CLASSES, Tiling
from kernels.matmul import matmul, reference
from kernels.product import Clamp, Epilogue, Plain, Residual, SquaredRelu, make_request

pytestmark = pytest.mark.gpu

BF16_ERROR = 2.0**-8 + 1e-5
SHAPES = [
    (1, 17536, 5120),
    (13, 1200, 5136),
    (64, 5120, 17536),
    (100, 8448, 5120),
    (128, 17536, 5120),
    (190, 5120, 8192),
    (200, 1200, 1360),
    (250, 17536, 5120),
    (256, 5120, 8192),
    (300, 8448, 5120),
    (500, 5120, 8192),
    (700, 1040, 5136),
    (2048, 5120, 8192),
]


class Inputs(NamedTuple):
    """The positional arguments of `matmul`."""

    x: torch.Tensor
    w: torch.Tensor
    row_scale: torch.Tensor
    col_scale: torch.Tensor


def inputs(m: int, n: int, k: int, generator: torch.Generator) -> Inputs:
    def draw(*shape: int) -> torch.Tensor:
        return torch.randint(-127, 128, shape, generator=generator, device="cuda", dtype=torch.int8)

    def scales(count: int, largest: float) -> torch.Tensor:
        return (torch.rand(count, generator=generator, device="cuda") + 0.01) * largest

    return Inputs(draw(m, k), draw(n, k), scales(m, 0.02), scales(n, 0.05 / k**0.5))


def epilogues(given: Inputs) -> list[Epilogue]:
    shape = (given.x.shape[0], given.w.shape[0])
    residual = torch.randn(shape, device="cuda").bfloat16()
    return [
        Plain(),
        Clamp(0.75),
        SquaredRelu(2.0, 4.0 / 127),
        Residual(residual, given.col_scale * 50),
        Residual(residual),
    ]


def run(given: Inputs, epilogue: Epilogue, backend: Backend, poison: int) -> torch.Tensor:
    dtype = torch.int8 if isinstance(epilogue, SquaredRelu) else torch.bfloat16
    shape = (given.x.shape[0], given.w.shape[0])
    out = torch.full(shape, poison, dtype=dtype, device="cuda")
    return matmul(*given, epilogue=epilogue, out=out, backend=backend)


@pytest.mark.parametrize("backend", ["triton", "hopper"])
@pytest.mark.parametrize(("m", "n", "k"), SHAPES)
def test_equals_the_reference_in_every_run(
    m: int, n: int, k: int, backend: Backend, generator: torch.Generator
) -> None:
    if backend == "hopper" and capability(torch.device("cuda", 0)) != HOPPER:
        pytest.skip("no Hopper GPU")
    given = inputs(m, n, k, generator)
    for epilogue in epilogues(given):
        want = reference(*given, epilogue=epilogue)
        out = run(given, epilogue, backend, poison=99)
        if out.dtype == torch.int8:
            assert (out.double() - want).abs().amax() <= 1
            assert (out.double() != want).double().mean() < 1e-3
        else:
            assert ((out.double() - want).abs() <= BF16_ERROR * want.abs() + 1e-6).all()
        for poison in (-77, 0, 55):
            assert torch.equal(run(given, epilogue, backend, poison), out)


def test_both_kernels_give_the_same_bits(generator: torch.Generator) -> None:
    if capability(torch.device("cuda", 0)) != HOPPER:
        pytest.skip("no Hopper GPU")
    given = inputs(77, 1200, 5136, generator)
    for epilogue in epilogues(given):
        outs = [run(given, epilogue, backend, 1) for backend in ("triton", "hopper")]
        difference = (outs[0].double() - outs[1].double()).abs()
        # One may fuse a multiply with an add where the other rounds in between.
        assert (difference <= 2.0**-7 * outs[0].double().abs() + 1e-6).all() or (
            outs[0].dtype == torch.int8 and difference.amax() <= 1
        )


NEW = [c.tiling for most, found in CLASSES.items() if most > 64 for c in found]
"""Tiles of every width, whole and shared."""


@pytest.mark.parametrize(("m", "n", "k"), [(77, 1200, 1360), (203, 5136, 1360), (523, 2064, 5136)])
@pytest.mark.parametrize("tiling", sorted(set(NEW)), ids=str)
def test_all_tilings_give_the_same_bits(
    tiling: Tiling, m: int, n: int, k: int, generator: torch.Generator
) -> None:
    """Ragged at every edge, chained or not; against tiles of 64 x 64, each of one CTA."""
    if capability(torch.device("cuda", 0)) != HOPPER:
        pytest.skip("no Hopper GPU")
    given = inputs(m, n, k, generator)
    for epilogue in epilogues(given):
        if isinstance(epilogue, Residual) and tiling.consumers == 3:
            continue
        dtype = torch.int8 if isinstance(epilogue, SquaredRelu) else torch.bfloat16
        outs = [torch.full((m, n), poison, dtype=dtype, device="cuda") for poison in (1, 2, 3)]
        plain = Tiling(64, 1, 64, 6, swap=False)
        choices = (plain, tiling, tiling._replace(chained=True))
        for out, one in zip(outs, choices, strict=True):
            request = make_request(
                given.x, given.w, out, given.row_scale, given.col_scale, None, epilogue
            )
            launch(request, one)
        assert torch.equal(outs[0], outs[1])
        assert torch.equal(outs[0], outs[2])


def test_a_captured_chain_of_products(generator: torch.Generator) -> None:
    """Each product's input is the one before's output: captured or not, the same bits.

    The scale drives the squared ReLU into its clamp, else twenty of them leave nothing but zeros.
    """
    weights = [
        torch.randint(-127, 128, shape, generator=generator, device="cuda", dtype=torch.int8)
        for shape in ((1200, 1360), (1360, 1200))
    ]
    scales = [torch.ones(w.shape[0], device="cuda") for w in weights]
    start = torch.randint(0, 128, (13, 1360), generator=generator, device="cuda").to(torch.int8)
    values = [torch.empty_like(start), torch.empty((13, 1200), dtype=torch.int8, device="cuda")]

    def chain() -> None:
        values[0].copy_(start)
        for i in range(20):
            source, into = values[i % 2], values[(i + 1) % 2]
            matmul(
                source, weights[i % 2], None, scales[i % 2], x_scale=1e-4,
                epilogue=SquaredRelu(), out=into,
            )  # fmt: skip

    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        chain()
        direct = values[0].clone()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            chain()
        for _ in range(3):
            values[0].zero_()
            graph.replay()
            assert torch.equal(values[0], direct)
    assert direct.any()


@pytest.mark.parametrize(("m", "n", "k"), SHAPES)
def test_chained_launches_give_the_same_bits(
    m: int, n: int, k: int, generator: torch.Generator
) -> None:
    """Each begins while the one before, which writes its input, is still running."""
    if capability(torch.device("cuda", 0)) != HOPPER:
        pytest.skip("no Hopper GPU")
    up, down = inputs(m, n, k, generator), inputs(m, k, n, generator)
    after, outs = SquaredRelu(2.0, 4.0 / 127), {}
    for chained in (False, True):
        for _ in range(5):
            inner = matmul(*up, epilogue=after, backend="hopper", chained=chained)
            outer = matmul(inner, *down[1:], backend="hopper", chained=chained)
        outs[chained] = inner, outer
    assert all(torch.equal(one, other) for one, other in zip(*outs.values(), strict=True))
    assert outs[True][1].any()
