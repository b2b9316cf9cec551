"""int8 matmul against exact integer arithmetic, through Triton's interpreter."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch

from kernels import matmul as operator
from kernels.matmul import flops_and_bytes, launch_plain, matmul, plain_tiling, reference
from kernels.product import Clamp, Epilogue, Plain, Residual, SquaredRelu, make_request

BF16_ERROR = 2.0**-7
"""The interpreter cuts bfloat16 off where a GPU rounds."""

FLOAT_ERROR = 1e-6
EPILOGUES = ("plain", "clamp", "squared_relu", "residual", "residual_unscaled")


class Inputs(NamedTuple):
    """The positional arguments of `matmul`."""

    x: torch.Tensor
    w: torch.Tensor
    row_scale: torch.Tensor | None
    col_scale: torch.Tensor


def inputs(m: int, n: int, k: int, device: torch.device, seed: int = 0) -> Inputs:
    """All of int8 but -128, in the corners the largest sums; results of a few units."""
    generator = torch.Generator(device).manual_seed(seed)

    def integers(*shape: int) -> torch.Tensor:
        return torch.randint(-127, 128, shape, generator=generator, device=device, dtype=torch.int8)

    def scales(count: int, largest: float) -> torch.Tensor:
        return (torch.rand(count, generator=generator, device=device) + 0.01) * largest

    x, w = integers(m, k), integers(n, k)
    x[-1], w[0], w[-1] = 127, 127, -127
    return Inputs(x, w, scales(m, 0.02), scales(n, 0.05 / k**0.5))


def epilogue_of(name: str, given: Inputs, dtype: torch.dtype = torch.bfloat16) -> Epilogue:
    """An epilogue that changes many values."""
    if name == "plain":
        return Plain()
    if name == "clamp":
        return Clamp(0.75)
    if name == "squared_relu":
        return SquaredRelu(2.0, 4.0 / 127)
    generator = torch.Generator(given.x.device).manual_seed(9)
    shape = (given.x.shape[0], given.w.shape[0])
    residual = torch.randn(shape, generator=generator, device=given.x.device).to(dtype)
    return Residual(residual, None if name == "residual_unscaled" else given.col_scale * 50)


def poisoned(given: Inputs, epilogue: Epilogue, dtype: torch.dtype) -> torch.Tensor:
    """A result that nobody has written."""
    kind = torch.int8 if isinstance(epilogue, SquaredRelu) else dtype
    out = torch.empty((given.x.shape[0], given.w.shape[0]), dtype=kind, device=given.x.device)
    return out.fill_(-99 if kind == torch.int8 else float("nan"))


def check(out: torch.Tensor, want: torch.Tensor) -> None:
    """Integers are the nearest, up to ties; floats are within their rounding."""
    if out.dtype == torch.int8:
        different = out.double() != want
        assert (out.double() - want).abs().amax() <= 1
        assert different.double().mean() < 1e-3
        return
    error = BF16_ERROR if out.dtype == torch.bfloat16 else FLOAT_ERROR
    # A residual of about one and a product may cancel.
    assert ((out.double() - want).abs() <= error * want.abs() + FLOAT_ERROR).all()


@pytest.mark.parametrize("epilogue", EPILOGUES)
@pytest.mark.parametrize(
    ("m", "n", "k"), [(1, 16, 16), (3, 80, 272), (17, 144, 400), (70, 48, 144), (260, 272, 48)]
)
def test_equals_the_reference(m: int, n: int, k: int, epilogue: str, device: torch.device) -> None:
    given = inputs(m, n, k, device)
    after = epilogue_of(epilogue, given)
    out = poisoned(given, after, torch.bfloat16)
    assert matmul(*given, epilogue=after, out=out) is out
    check(out, reference(*given, epilogue=after))


@pytest.mark.parametrize("epilogue", EPILOGUES)
@pytest.mark.parametrize("m", [1, 16, 33, 130])
def test_float32_is_exact_to_its_last_bits_whatever_the_split(
    m: int, epilogue: str, device: torch.device
) -> None:
    given = inputs(m, 64, 4096, device, seed=m)
    after = epilogue_of(epilogue, given, torch.float32)
    out = poisoned(given, after, torch.float32)
    check(matmul(*given, epilogue=after, out=out), reference(*given, epilogue=after))


@pytest.mark.parametrize("waves", [0, 1, 2, 3])
def test_splits_do_not_change_a_bit(waves: int, device: torch.device) -> None:
    given = inputs(5, 128, 7 * 1024 + 16, device)
    results = []
    for used in (0, waves):
        out = poisoned(given, Plain(), torch.float32)
        request = make_request(*given[:2], out, *given[2:], None, Plain())
        launch_plain(request, plain_tiling(5)._replace(waves=used))
        results.append(out)
    assert torch.equal(*results)


def test_the_sums_are_integers(device: torch.device) -> None:
    """With scales of one and float32, a sum below 2^24 comes out as it is."""
    given = inputs(20, 96, 1024, device)
    ones = (torch.ones_like(given.row_scale), torch.ones_like(given.col_scale))
    out = matmul(*given[:2], *ones, dtype=torch.float32)
    assert torch.equal(out.double(), given.x.double() @ given.w.double().T)


def test_minus_128_is_a_number_like_any_other(device: torch.device) -> None:
    x = torch.full((2, 64), -128, dtype=torch.int8, device=device)
    w = torch.full((16, 64), -128, dtype=torch.int8, device=device)
    out = matmul(x, w, None, torch.ones(16, device=device), x_scale=1.0, dtype=torch.float32)
    assert (out == 128 * 128 * 64).all()


@pytest.mark.parametrize("epilogue", EPILOGUES)
def test_one_scale_for_all_rows(epilogue: str, device: torch.device) -> None:
    x, w, _, col_scale = inputs(9, 48, 80, device)
    given = Inputs(x, w, None, col_scale)
    after = epilogue_of(epilogue, given)
    out = matmul(*given, x_scale=0.02, epilogue=after)
    check(out, reference(*given, x_scale=0.02, epilogue=after))


def test_the_result_may_replace_the_residual(device: torch.device) -> None:
    given = inputs(40, 64, 2064, device)
    after = epilogue_of("residual", given)
    assert isinstance(after, Residual)
    want = reference(*given, epilogue=after)
    check(matmul(*given, epilogue=after, out=after.residual), want)


def test_no_tokens_no_work(device: torch.device) -> None:
    given = inputs(1, 32, 32, device)
    none = Inputs(given.x[:0], given.w, given.row_scale[:0], given.col_scale)
    assert matmul(*none).shape == (0, 32)


def test_work_of_a_product() -> None:
    work = flops_and_bytes(2, 32, 64, SquaredRelu())
    assert work.flops == 2 * 2 * 32 * 64
    assert work.bytes == 2 * 64 + 32 * 64 + 4 * (2 + 32) + 2 * 32
    residual = Residual(torch.zeros(2, 32, dtype=torch.bfloat16), torch.ones(32))
    assert flops_and_bytes(2, 32, 64, residual).bytes == work.bytes + 2 * 32 * 3 + 4 * 32
    assert flops_and_bytes(2, 32, 64).bytes == work.bytes + 2 * 32


Change = Callable[[dict[str, Any]], None]


def put(name: str, change: Callable[[torch.Tensor], object]) -> Change:
    """Replaces an argument by something made of it."""
    return lambda arguments: arguments.update({name: change(arguments[name])})


def give(**values: object) -> Change:
    """Sets arguments."""
    return lambda arguments: arguments.update(values)


def shifted(t: torch.Tensor) -> torch.Tensor:
    """The same in memory that begins one element late."""
    return torch.cat([t.flatten(), t.flatten()])[1 : 1 + t.numel()].view(t.shape)


WRONG: dict[str, tuple[str, Change]] = {
    "x is no tensor": ("x: must be a tensor", give(x=3)),
    "x has three dimensions": (r"x: shape is \[1, 4, 32\]", put("x", lambda t: t[None])),
    "x is float": ("x: dtype is torch.float32", put("x", lambda t: t.float())),
    "x is strided": ("x: stride", put("x", lambda t: t.repeat(1, 2)[:, ::2])),
    "x begins anywhere": ("x: begins at", put("x", shifted)),
    "K is odd": ("x: K is 24, must be a multiple of 16", lambda a: a.update(
        x=a["x"][:, :24].contiguous(), w=a["w"][:, :24].contiguous())),
    "K is huge": ("x: K is 65552", lambda a: a.update(
        x=torch.zeros(1, 65552, dtype=torch.int8), w=torch.zeros(16, 65552, dtype=torch.int8))),
    "another K": (r"w: shape is \[48, 16\], must be \[any, 32\]",
                  put("w", lambda t: t[:, :16].contiguous())),
    "w is unsigned": ("w: dtype", put("w", lambda t: t.to(torch.uint8))),
    "w is transposed": ("w: stride", put("w", lambda t: t.T.contiguous().T)),
    "w begins anywhere": ("w: begins at", put("w", shifted)),
    "w is elsewhere": ("w: is on meta", put("w", lambda t: t.to("meta"))),
    "N is odd": ("w: N is 40", lambda a: a.update(w=a["w"][:40])),
    "no row scale": ("row_scale: is None, and so is x_scale", give(row_scale=None)),
    "two row scales": ("x_scale: must be None", give(x_scale=1.0)),
    "x_scale is no number": ("x_scale: is nan", give(row_scale=None, x_scale=float("nan"))),
    "a row scale too few": ("row_scale: shape", put("row_scale", lambda t: t[1:])),
    "row scale in half": ("row_scale: dtype", put("row_scale", lambda t: t.half())),
    "a column scale too few": ("col_scale: shape", put("col_scale", lambda t: t[1:])),
    "column scale is double": ("col_scale: dtype", put("col_scale", lambda t: t.double())),
    "no epilogue": ("epilogue: is a NoneType", give(epilogue=None)),
    "negative clamp": ("epilogue.limit: is -1", give(epilogue=Clamp(-1))),
    "scale too small for int8": ("epilogue.scale", give(epilogue=SquaredRelu(4.0, 0.1))),
    "int8 without a scale": ("dtype: is torch.int8", give(dtype=torch.int8)),
    "int8 epilogue, float": ("dtype: is torch.bf", give(
        epilogue=SquaredRelu(), dtype=torch.bfloat16)),
    "half": ("dtype: is torch.float16", give(dtype=torch.float16)),
    "residual's shape": ("epilogue.residual: shape", give(
        epilogue=Residual(torch.zeros(4, 32, dtype=torch.bfloat16)))),
    "residual's dtype": ("epilogue.residual: dtype", give(
        epilogue=Residual(torch.zeros(4, 48)))),
    "residual's scale": ("epilogue.scale: shape", give(
        epilogue=Residual(torch.zeros(4, 48, dtype=torch.bfloat16), torch.ones(4)))),
    "out's shape": ("out: shape", give(out=torch.zeros(48, 4, dtype=torch.bfloat16))),
    "out's stride": ("out: stride", give(out=torch.zeros(48, 4, dtype=torch.bfloat16).T)),
    "out begins anywhere": ("out: begins at", give(
        out=shifted(torch.zeros(4, 48, dtype=torch.bfloat16)))),
    "out's dtype": ("out: dtype", give(
        out=torch.zeros(4, 48), dtype=torch.bfloat16)),
    "unknown backend": ("backend: 'cuda' is none of", give(backend="cuda")),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_bad_argument_is_named(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("launched")

    monkeypatch.setattr(operator, "launch_plain", refuse)
    message, change = WRONG[case]
    arguments: dict[str, Any] = inputs(4, 48, 32, torch.device("cpu"))._asdict()
    change(arguments)
    with pytest.raises(ValueError, match=message):
        matmul(**arguments)
