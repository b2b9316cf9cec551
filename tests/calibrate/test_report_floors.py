"""Floors: the kernels' own counts, and sums over a step that are worked out by hand."""

import pytest

from calibrate.report import works
from calibrate.report.floors import floor_s, parts_of, step_floor_s
from calibrate.report.works import Work
from calibrate.shapes import Chunk, StepShape
from kaiju_sim.catalog.models import find_model, variant

KAIJU = find_model("kaiju-13b")
DECODES, PREFILL = StepShape((4096,) * 256), StepShape((), (Chunk(4096, 0),))


def floors(shape: StepShape, ranks: int = 1) -> dict[str, float]:
    return {part.operator: part.floor_s for part in parts_of(KAIJU, shape, ranks)}


def test_rows_are_counted_as_the_kernels_count_them() -> None:
    pytest.importorskip("torch")
    from kernels import embedding, matmul, norm_quantise, rotary_write, sampling
    from kernels.product import SquaredRelu

    assert works.embedding(7, 5120) == tuple(embedding.flops_and_bytes(7, 5120))
    for adds in (False, True):
        theirs = norm_quantise.flops_and_bytes(7, 5120, residual=adds)
        assert works.norm(7, 5120, adds=adds) == tuple(theirs)
    for out_bytes, epilogue in ((2, matmul.PLAIN), (1, SquaredRelu(4.0, 0.1))):
        ours = works.product(64, 8448, 5120, out_bytes=out_bytes)
        assert ours == tuple(matmul.flops_and_bytes(64, 8448, 5120, epilogue))
    for writes, size in ((True, 1), (False, 1), (True, 2), (False, 2)):
        theirs = rotary_write.flops_and_bytes(9, 64, 8, writes_kv=writes, is_int8=size == 1)
        assert works.rotary(9, 64, 8, writes_kv=writes, kv_bytes=size) == tuple(theirs)
    assert works.sampling(64, 65536) == tuple(sampling.flops_and_bytes(64, 65536))


def test_a_product_with_a_residual_is_counted_as_the_kernel_counts_it() -> None:
    torch = pytest.importorskip("torch")
    from kernels import matmul
    from kernels.product import Residual

    epilogue = Residual(torch.zeros(1), torch.zeros(1))
    theirs = matmul.flops_and_bytes(64, 5120, 8192, epilogue)
    assert works.product(64, 5120, 8192, adds=True) == tuple(theirs)


@pytest.mark.parametrize("size", [1, 2])
def test_attention_is_counted_as_the_kernels_count_it(size: int) -> None:
    torch = pytest.importorskip("torch")
    from kernels import decode_attention, prefill_attention

    start, limit = torch.tensor([0, 100]), torch.tensor([50, 1124])
    theirs = decode_attention.flops_and_bytes(start, limit, 64, 8, size)
    assert works.attention(2, 1074, 1074, 64, 8, kv_bytes=size) == tuple(theirs)

    new, cached = 5, 20
    cu_q, ends = torch.tensor([0, new]), torch.arange(cached + 1, cached + new + 1)
    begins = torch.zeros_like(ends)
    theirs = prefill_attention.flops_and_bytes(cu_q, begins, ends, 64, 8, size)
    shape = StepShape((), (Chunk(new, cached),))
    ours = works.attention(new, shape.pairs, cached + new, 64, 8, kv_bytes=size)
    assert ours == tuple(theirs)


def test_a_decode_step_by_hand() -> None:
    found = floors(DECODES)
    up = 2 * 256 * 17536 * 5120 / 1300e12
    assert found["up"] == pytest.approx(48 * up)
    kv = 256 * 4096 * 256 + 256 * 64 * (132 + 128)
    assert found["decode_global"] == pytest.approx(8 * kv / 3e12)
    near = 256 * 1024 * 256 + 256 * 64 * (132 + 128)
    assert found["decode_local"] == pytest.approx(40 * near / 3e12)
    assert found["norm"] == pytest.approx(96 * 256 * 5120 * 3 / 3e12)
    assert "prefill_global" not in found
    assert step_floor_s(KAIJU, DECODES) == pytest.approx(sum(found.values()))


def test_a_prefill_step_by_hand() -> None:
    found = floors(PREFILL)
    pairs, near = 4096 * 4097 // 2, 1024 * 1025 // 2 + 3072 * 1024
    assert found["prefill_global"] == pytest.approx(8 * 4 * pairs * 64 * 128 / 1300e12)
    assert found["prefill_local"] == pytest.approx(40 * 4 * near * 64 * 128 / 1300e12)
    assert found["head"] < 0.13e-3, "one sequence samples"
    assert "decode_local" not in found


def test_every_layer_is_counted_once_and_chunks_without_an_end_have_no_head() -> None:
    counts = {part.operator: part.count for part in parts_of(KAIJU, DECODES)}
    assert (counts["qkv"], counts["q"], counts["norm"], counts["plan_decode"]) == (20, 28, 96, 2)
    assert (counts["decode_global"], counts["decode_local"]) == (8, 40)
    middle = StepShape((), (Chunk(64, 0, last=False),))
    assert not {"head", "sampling"} & {part.operator for part in parts_of(KAIJU, middle)}


def test_operands_of_two_bytes_have_half_the_rate_and_twice_the_bytes() -> None:
    assert floor_s(Work(1300e12, 0.0)) == 1.0
    assert floor_s(Work(1300e12, 0.0), 2) == 2.0
    assert floor_s(Work(0.0, 3e12), 2) == 1.0
    bf16 = variant(KAIJU, weight_bytes=2, kv_bytes=2)
    assert step_floor_s(bf16, PREFILL) == pytest.approx(2 * step_floor_s(KAIJU, PREFILL), rel=0.05)


def test_two_ranks_share_heads_and_ffn() -> None:
    one, two = floors(DECODES), floors(DECODES, 2)
    assert two["up"] == pytest.approx(one["up"] / 2, rel=0.05)
    assert two["head"] == pytest.approx(one["head"], rel=0.05)
    assert two["decode_global"] > 0.9 * one["decode_global"], "one KV head, on both"
    assert two["norm"] > 2 * one["norm"], "sums in the norms"
    assert two["all_reduce"] == 0.0


def test_a_shared_prefix_is_read_once() -> None:
    shared = StepShape((4096,) * 256, (), 256, 3072)
    assert floors(shared)["decode_global"] < 0.35 * floors(DECODES)["decode_global"]
    assert floors(shared)["decode_local"] == floors(DECODES)["decode_local"]
