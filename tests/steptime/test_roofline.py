"""The roofline against published floors, by hand, and its laws (monotone, fast, deterministic).

FLOORS holds milliseconds of an independent operator table for an H100 with 3.0 TB/s and the nominal
int8 peak (13B with 40 heads and FFN 20608, 34B, 110B on four ranks). Where we differ, we say why.
"""

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from steptime_scenarios import floor_rank, usual_rank

from kaiju_sim.catalog.gpus import find_gpu
from kaiju_sim.catalog.models import Model, find_model, variant
from kaiju_sim.steptime.curves import Curves, decode_ns, fixed_ns, prefill_ns, step_ns
from kaiju_sim.steptime.roofline import (
    Efficiency,
    Rank,
    all_reduce_s,
    attention_pair_s,
    cache_write_row_bytes,
    decode_token_s,
    elementwise_row_bytes,
    layers_matmul_s,
    matmul_s,
    prefill_pair_s,
    roofline_curves,
    seqs_s,
)

MS = 1e3


def kaiju_13b_40_heads() -> Model:
    return variant(find_model("kaiju-13b"), heads=40, ffn=20608)


RANKS = {
    "13B": lambda: floor_rank(kaiju_13b_40_heads()),
    "34B": lambda: floor_rank(find_model("kaiju-34b")),
    "110B TP4": lambda: floor_rank(find_model("kaiju-110b"), 4),
}

FLOORS = [  # model, batch, GEMM with head, attention at 1K / 4K / 16K, element-wise
    ("13B", 1, 4.34, (0.00, 0.01, 0.01), 0.00),
    ("13B", 16, 4.36, (0.07, 0.10, 0.23), 0.04),
    ("13B", 64, 4.45, (0.27, 0.40, 0.94), 0.15),
    ("13B", 256, 4.80, (1.07, 1.61, 3.76), 0.59),
    ("13B", 512, 6.74, (2.15, 3.22, 7.52), 1.18),
    ("13B", 1024, 13.48, (4.29, 6.44, 15.03), 2.36),
    ("34B", 64, 11.54, (0.34, 0.50, 1.17), 0.26),
    ("34B", 256, 12.17, (1.34, 2.01, 4.70), 1.06),
    ("34B", 1024, 35.20, (5.37, 8.05, 18.79), 4.24),
    ("110B TP4", 64, 9.42, (0.15, 0.23, 0.53), 0.43),
    ("110B TP4", 256, 10.18, (0.60, 0.91, 2.11), 1.74),
    ("110B TP4", 1024, 28.60, (2.42, 3.62, 8.46), 6.95),
]


def one(value: float) -> np.ndarray:
    return np.array([float(value)])


def gemm_ms(rank: Rank, rows: int) -> float:
    vocab = rank.model.vocab / rank.tensor_parallel
    head = matmul_s(rank, one(rows), rank.model.hidden, vocab)
    return float(layers_matmul_s(rank, one(rows))[0] + head[0]) * MS


@pytest.mark.parametrize(("name", "batch", "gemm", "attention", "elementwise"), FLOORS)
def test_decode_floor(
    name: str, batch: int, gemm: float, attention: tuple[float, ...], elementwise: float
) -> None:
    """GEMM within 1 %; attention exact, times the ranks where KV is replicated, not split by batch.

    Element-wise within 5 %: the table has 16 d + 3 f bytes a row, ours is 14 d + 3 H x 128 + 3 f.
    """
    rank = RANKS[name]()
    curves = roofline_curves(rank, 0.0, 1024, 1024)
    assert gemm_ms(rank, batch) == pytest.approx(gemm, rel=0.01)
    for context, expected in zip((1024, 4096, 16384), attention, strict=True):
        ours = decode_ns(curves, batch * context, batch * 1024, batch) / 1e6
        assert ours == pytest.approx(expected * rank.tensor_parallel, rel=0.01, abs=0.006 * 4)
    ours = elementwise_row_bytes(rank) * batch / rank.bytes_per_s * MS
    assert ours == pytest.approx(elementwise, rel=0.055, abs=0.02)


@pytest.mark.parametrize(
    ("name", "new", "cached", "gemm", "attention"),
    [
        ("13B", 1024, 0, 13.11, 0.27),
        ("13B", 4096, 0, 52.46, 2.31),
        ("13B", 16384, 0, 209.82, 18.60),
        ("13B", 512, 4096, 6.56, 0.42),
        ("13B", 64, 4096, 4.22, 0.05),
        ("34B", 4096, 0, 138.74, 4.62),
        ("34B", 64, 4096, 11.17, 0.10),
        ("110B TP4", 4096, 0, 112.63, 4.16),
    ],
)
def test_prefill_floor(name: str, new: int, cached: int, gemm: float, attention: float) -> None:
    """GEMM without the head within 3 % (the table leaves out activations at 64 rows).

    Attention: the table takes the int8 rate for QK and PV, we take bf16 for PV: 1.5 times; it also
    rounds causal tiles up, which matters below a thousand tokens.
    """
    rank = RANKS[name]()
    curves = roofline_curves(rank, 0.0, 1024, 1024)
    contexts = range(cached + 1, cached + new + 1)
    pairs, in_window = sum(contexts), sum(min(c, 1024) for c in contexts)
    assert float(layers_matmul_s(rank, one(new))[0]) * MS == pytest.approx(gemm, rel=0.03)
    ours = prefill_ns(curves, pairs, in_window) / 1e6
    assert ours == pytest.approx(1.5 * attention, rel=0.1)


def test_decode_at_batch_256_and_4k_is_as_expected() -> None:
    """A floor of 7 ms (table above); a tuned engine is expected at 1.25-1.4 times it."""
    curves = roofline_curves(usual_rank(), 0.001, 2304, 256)
    step = step_ns(fixed_ns(curves, 256, 256), decode_ns(curves, 256 * 4096, 256 * 1024, 256), 0.0)
    assert 1.25 * 7.0 < step / 1e6 < 1.4 * 7.0


def test_one_layer_by_hand() -> None:
    """One layer of 13B at 100 rows: bytes decide every product."""
    tiny = variant(
        find_model("kaiju-13b"),
        global_layers=1,
        global_kv_owners=1,
        local_layers=0,
        local_kv_owners=0,
        window=None,
    )
    rank = floor_rank(tiny)
    d, q, kv, f, rows = 5120, 8192, 256, 17536, 100
    qkv = d * (q + kv) + rows * (d + 2 * (q + kv))
    out = q * d + rows * (q + 2 * d)
    up = d * f + rows * (d + 2 * f)
    down = f * d + rows * (f + 2 * d)
    assert layers_matmul_s(rank, one(rows))[0] == pytest.approx((qkv + out + up + down) / 3e12)
    assert elementwise_row_bytes(rank) == 14 * d + 3 * q + 3 * f
    assert cache_write_row_bytes(rank) == 3 * kv
    assert attention_pair_s(rank) == pytest.approx(2 * q / 1979e12 + 2 * q / 989e12)
    head = (d * 65536 + 10 * (d + 2 * 65536)) / 3e12
    sampler = 2 * 4 * 65536 * 10 / 3e12
    assert seqs_s(rank, one(10))[0] == pytest.approx(head + sampler)


def test_all_reduce_by_hand() -> None:
    rank = usual_rank("kaiju-110b", 4)
    moved = 2 * 3 / 4 * 100 * 10240 * 2
    expected = 2 * 108 * (6e-6 + moved / (450e9 * 0.8))
    assert all_reduce_s(rank, one(100))[0] == pytest.approx(expected)
    assert all_reduce_s(usual_rank(), one(100))[0] == 0.0


def test_decode_of_many_heads_is_bound_by_arithmetic() -> None:
    """128 heads: measured at 177 ps per token and layer; bytes alone would take 96 ps."""
    curves = roofline_curves(usual_rank("kaiju-110b"), 0.0, 10, 10)
    per_token_and_layer = decode_ns(curves, 10**6, 0, 1) / 1e6 / 18 * 1e3
    assert 130 < per_token_and_layer < 180


def test_bf16_runs_on_the_bf16_peak() -> None:
    bf16 = variant(find_model("kaiju-13b"), weight_bytes=2, kv_bytes=2)
    int8_s = layers_matmul_s(floor_rank(find_model("kaiju-13b")), one(4096))[0]
    bf16_s = layers_matmul_s(floor_rank(bf16), one(4096))[0]
    assert bf16_s / int8_s == pytest.approx(1979 / 989)


def test_nothing_takes_no_time() -> None:
    curves = roofline_curves(usual_rank("kaiju-110b", 4), 0.0, 10, 10)
    assert curves.rows_ns[0] == 0.0
    assert curves.seqs_ns[0] == 0.0


def usual_curves(name: str, ranks: int) -> Curves:
    return roofline_curves(usual_rank(name, ranks), 0.001, 2304, 256)


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(["kaiju-13b", "kaiju-34b", "kaiju-110b"]),
    st.sampled_from([1, 2, 4, 8]),
    st.integers(1, 2**40),
    st.integers(1, 2**20),
)
def test_more_work_never_takes_less_time(name: str, ranks: int, x: int, more: int) -> None:
    curves = usual_curves(name, ranks)
    assert np.all(np.diff(curves.rows_ns) > 0)
    assert np.all(np.diff(curves.seqs_ns) > 0)
    assert decode_ns(curves, x + more, x, 1) >= decode_ns(curves, x, x, 1)
    assert prefill_ns(curves, x, x + more) >= prefill_ns(curves, x, x)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.05, 1.0), st.floats(0.05, 1.0), st.floats(1.0, 20.0), st.sampled_from([1, 2, 8]))
def test_a_better_gpu_is_never_slower(
    compute: float, memory: float, factor: float, ranks: int
) -> None:
    model = find_model("kaiju-34b")
    gpu = find_gpu("A100-80GB")
    peaks = ("int8_ops_per_s", "bf16_ops_per_s", "hbm_bytes_per_s", "nvlink_bytes_per_s")
    better = gpu.model_copy(update={p: getattr(gpu, p) * factor for p in peaks})
    efficiency = Efficiency(compute, memory, compute)
    slow, fast = (
        roofline_curves(Rank(g, model, ranks, efficiency), 0.0, 300, 30) for g in (gpu, better)
    )
    assert np.all(fast.rows_ns <= slow.rows_ns)
    assert np.all(fast.seqs_ns <= slow.seqs_ns)
    assert np.all(fast.slope <= slow.slope * (1 + 1e-9))


def test_context_curves_are_exactly_linear() -> None:
    curves = usual_curves("kaiju-13b", 1)
    unit = decode_ns(curves, 1, 0, 1)
    assert all(
        math.isclose(decode_ns(curves, x, 0, 1), unit * x, rel_tol=1e-12)
        for x in (3, 7, 1000, 123_457, 10**9 + 7)
    )


def test_building_twice_gives_the_same_bytes_quickly() -> None:
    start = time.perf_counter()
    first = usual_curves("kaiju-110b", 4)
    assert time.perf_counter() - start < 0.05
    second = usual_curves("kaiju-110b", 4)
    for a, b in zip(first[3:], second[3:], strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def test_llama_by_hand() -> None:
    """Grouped-query attention, bf16 throughout, gated FFN: bytes and operations from dimensions.

    Weights that a step reads: 32 layers of 218,103,808 and the output head, 2 bytes each. A token
    of context costs its 4,096 bytes of KV a layer, far above its arithmetic (8 kv heads of 32).
    """
    rank = floor_rank(find_model("llama-3.1-8b"))
    gpu, d, q, kv, f = rank.gpu, 4096, 4096, 2048, 14336
    layer = d * (q + kv) + q * d + 3 * d * f
    assert layer == 218_103_808
    one_row = float(layers_matmul_s(rank, one(1))[0])
    moved = 2 * 32 * (layer + 4 * d + 2 * q + kv + 3 * f)
    assert one_row == pytest.approx(moved / gpu.hbm_bytes_per_s, rel=1e-12)
    full = float(layers_matmul_s(rank, one(2048))[0])
    assert full == pytest.approx(2 * 2048 * 32 * layer / gpu.bf16_ops_per_s, rel=1e-12)
    head = float(seqs_s(rank, one(1))[0]) * gpu.hbm_bytes_per_s
    assert head == pytest.approx(2 * (d * 128256 + d + 128256) + 8 * 128256, rel=1e-12)
    assert decode_token_s(rank) == pytest.approx(4096 / gpu.hbm_bytes_per_s, rel=1e-12)
    assert prefill_pair_s(rank) == pytest.approx(4 * q / gpu.bf16_ops_per_s, rel=1e-12)
    assert cache_write_row_bytes(rank) == 32 * kv * (2 + 2)
