"""What is measured: the rows of the aims, their work, and all products of the models."""

import re

import pytest

from benchmarks.kernels import cases
from benchmarks.kernels.aims import AIMS, bound_by, floor_us, urgent_first
from benchmarks.kernels.cases import chosen, every_case, matmul, prefill, shape_json, spans
from benchmarks.kernels.processes.warming import shared_out
from kaiju_sim.catalog.models import find_model


def named(pattern: str) -> list[cases.Case]:
    return [case for case in every_case() if re.fullmatch(pattern, case.name)]


def test_names_and_keys_are_unique() -> None:
    every = [*every_case(), *cases.small_cases()]
    assert len({case.name for case in every}) == len({case.key for case in every}) == len(every)


def test_every_aim_is_about_measured_cases() -> None:
    for aim in AIMS:
        assert any(aim.fits(case) for case in every_case()), aim.text


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("decode 64 heads 128 x 8192", ["2.6 (2.75) TB/s", "1.9 x torch SDPA flash"]),
        ("decode 64 heads 512 x 8192", ["2.6 (2.75) TB/s", "1.9 x torch SDPA flash"]),
        ("decode 64 heads 256 x 1024", ["2 TB/s"]),
        ("decode 64 heads 16 x 8192", ["1.9 TB/s"]),
        ("decode 128 heads 64 x 8192", ["2.3 TB/s"]),
        ("decode 64 heads 512 x 8192 window 1024", ["2.2 TB/s"]),
        ("prefill 64 heads 1024", ["1 x torch SDPA cuDNN"]),
        ("prefill 64 heads 4096", ["600 TOPS"]),
        ("prefill 64 heads 16384", ["650 (800) TOPS"]),
        ("matmul 13b up 2048 x 17536 x 5120", ["1250 TOPS", "1.4 x torch._int_mm"]),
        ("matmul 34b down 8192 x 7168 x 30720", ["1250 TOPS", "1.4 x torch._int_mm"]),
        ("matmul 13b o 2048 x 5120 x 8192", ["1.4 x torch._int_mm"]),
        ("matmul 34b up 256 x 30720 x 7168", ["900 TOPS"]),
        ("matmul 34b up 16 x 30720 x 7168", ["2.5 TB/s"]),
        ("matmul 13b down 64 x 5120 x 17536", ["2.5 TB/s"]),
        ("matmul 13b q 64 x 8192 x 5120", ["2 TB/s"]),
        ("norm 512 x 5120", ["0.85 x Triton copy"]),
        ("rotary 8192 x 64 heads", ["0.85 x Triton copy"]),
        ("norm 64 x 5120", []),
        ("matmul 13b up 64 x 17536 x 5120 relu2", []),
    ],
)
def test_what_a_case_must_reach(name: str, wanted: list[str]) -> None:
    (case,) = named(re.escape(name))
    assert [aim.text for aim in AIMS if aim.fits(case)] == wanted


@pytest.mark.parametrize("model", cases.MODELS)
def test_products_are_those_of_the_catalogue(model: str) -> None:
    dims, known = cases.MODELS[model], find_model(f"kaiju-{model}")
    assert (dims.hidden, dims.heads, dims.ffn, dims.vocab) == (
        known.hidden,
        known.heads,
        known.ffn,
        known.vocab,
    )
    for product, (n, k) in dims.products().items():
        for m in (2048, 8192):
            assert named(f"matmul {model} {product} {m} x {n} x {k}")


def test_work_by_hand() -> None:
    (decode,) = named("decode 64 heads 128 x 8192")
    assert decode.bytes == 128 * 8192 * 256
    assert decode.flops == 128 * 8192 * 64 * 128 * 2 * 2
    (window,) = named("decode 64 heads 512 x 8192 window 1024")
    assert window.bytes == 512 * 1024 * 256
    # Causal operations count half: two products of n x n x 128 for each head.
    assert prefill(4096).flops == 2 * (2 * 4096 * 4096 * 128) * 64 / 2
    assert matmul("13b", "up", 64).bytes == 17536 * 5120
    assert matmul("13b", "up", 64).flops == 2 * 64 * 17536 * 5120


def test_lengths_of_sequences() -> None:
    shape = {"batch": 400, "context": 32768, "window": 0, "lengths": "ragged"}
    limits = [limit for _, limit in spans(shape)]
    assert min(limits) < 4
    assert 25_000 < max(limits) <= 32768
    assert limits == [limit for _, limit in spans(shape)]
    unaligned = spans(shape | {"lengths": "unaligned", "window": 1024})
    assert {limit - start for start, limit in unaligned} == {1024}
    assert len({start % 128 for start, _ in unaligned}) == 128
    short = spans({"batch": 1, "context": 500, "window": 1024, "lengths": "equal"})
    assert short == [(0, 500)]


def test_floors() -> None:
    decode, prompt = matmul("34b", "up", 16), prefill(16384)
    assert bound_by(decode) == "bytes"
    assert bound_by(prompt) == "MMA"
    assert floor_us(decode) == pytest.approx(decode.least_bytes / 3.03e6)
    assert floor_us(prompt) == pytest.approx(prompt.flops / 1979e6)
    assert floor_us(prefill(4096, kv="float16")) == pytest.approx(2 * floor_us(prefill(4096)))


def test_the_rows_of_the_aims_come_before_the_others() -> None:
    cases_in_order = urgent_first(every_case())
    assert sorted(c.name for c in cases_in_order) == sorted(c.name for c in every_case())
    wanted = [any(aim.fits(case) for aim in AIMS) for case in cases_in_order[2:]]
    assert wanted == sorted(wanted, reverse=True)
    assert {case.operator for case in cases_in_order[:2]} == {"copy", "read"}


def test_kin_are_compiled_by_one_process() -> None:
    shares = shared_out(every_case(), 5)
    assert len(shares) == 5
    assert len({name for share in shares for name in share}) == len(every_case()) - 2
    mine = [i for i, share in enumerate(shares) if any("up 2048" in name for name in share)]
    assert shared_out(chosen("^(copy|norm 64 x 5120)"), 5) == [["norm 64 x 5120"]]
    assert len(mine) <= 2  # with an epilogue and without


def test_shapes_are_json_in_a_fixed_order() -> None:
    assert shape_json({"b": 1, "a": "x"}) == '{"a": "x", "b": 1}'
    assert len(cases.chosen("window")) >= 3
    assert cases.chosen(None) == every_case()
