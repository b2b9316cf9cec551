"""The operator bench on a tiny model in the interpreter: every operator of the design runs."""

from dataclasses import replace

import pytest
import torch

from calibrate.design.lists.operators import operator_grid
from calibrate.gpu.operators.bench import TorchOperators
from calibrate.gpu.operators.inputs import Bed
from kernels.model.config import ModelConfig, tiny
from kernels.model.model import KaijuModel
from kernels.model.state.weights import random_state
from kernels.model.steps.cache import KVCache, plan_cache

CONFIG = replace(tiny(window=128), kv_owner=(0, 1, 0), global_layers=(1,), heads=2, hidden=128,
                 ffn=128)  # fmt: skip
SMALL = {"rows": 3, "seqs": 2, "batch": 2, "context": 130, "new": 5, "cached": 126}
NAMES = sorted({item.operator for item in operator_grid(1)})
KEYS = {item.operator: [key for key, _ in item.shape] for item in operator_grid(1)}


def bed_of(config: ModelConfig = CONFIG) -> Bed:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = KaijuModel(config, random_state(config, seed=2, device=device))
    plan = plan_cache(config, 4_000_000, context=256, rows=32, chunks=1)
    cache = KVCache(config, plan, device)
    cache.fill_random()
    return Bed(model, cache, seed=1)


def bench_of(config: ModelConfig = CONFIG) -> TorchOperators:
    bed = bed_of(config)
    return TorchOperators(bed.model, bed.cache, seed=1)


@pytest.fixture(scope="module")
def bench() -> TorchOperators:
    return bench_of()


@pytest.mark.parametrize("operator", NAMES)
def test_every_operator_of_the_design_takes_time(bench: TorchOperators, operator: str) -> None:
    shape = {key: SMALL[key] for key in KEYS[operator]}
    assert 0 < bench.run(operator, shape) < 60


def test_a_shape_is_prepared_once_until_another_is_asked_for() -> None:
    bench = bench_of()
    counts = []
    for rows in (2, 2, 4, 2):
        bench.run("norm", {"rows": rows})
        counts.append(bench.prepared)
    assert counts == [1, 1, 2, 3]


def test_the_bench_knows_what_the_model_has() -> None:
    assert sorted(bench_of().names()) == NAMES
    alone = replace(CONFIG, kv_owner=(0, 1), global_layers=(0, 1), window=None)
    assert set(NAMES) - set(bench_of(alone).names()) == {"q", "decode_local", "prefill_local"}
    with pytest.raises(ValueError, match="operator: is 'fft', must be one of"):
        bench_of().run("fft", {"rows": 1})


def test_sums_over_ranks_are_the_callers() -> None:
    bed = bed_of()
    bench = TorchOperators(bed.model, bed.cache, all_reduce=lambda rows: rows * 1e-6)
    assert "all_reduce" in bench.names()
    assert bench.run("all_reduce", {"rows": 4}) == pytest.approx(4e-6)


def test_variants_run() -> None:
    """bfloat16 with sums in the norms, and float16 KV."""
    bench = bench_of(replace(CONFIG, weights="bfloat16", kv="float16"))
    for operator in ("norm", "qkv", "o", "up", "rotary", "decode_local", "prefill_global"):
        assert bench.run(operator, {key: SMALL[key] for key in KEYS[operator]}) > 0


def test_no_two_rows_write_to_one_slot() -> None:
    bed = bed_of()
    for rows in (3, 200, 600):
        slots = bed.slots(rows, "local")
        assert len(slots.unique()) == rows
        assert 0 <= int(slots.min()) <= int(slots.max()) < bed.pages("local") * 128


@pytest.mark.gpu
def test_a_shape_gives_its_memory_back() -> None:
    bench = bench_of()
    bench.run("norm", {"rows": 16})
    bench.close()
    before = torch.cuda.memory_reserved()
    for name in NAMES:
        bench.run(name, {key: SMALL[key] for key in KEYS[name]})
    bench.close()
    assert torch.cuda.memory_reserved() - before < 256 << 20


@pytest.mark.gpu
def test_a_replay_is_timed_without_the_host() -> None:
    """A norm of few rows takes some microseconds; its launch from Python takes tens."""
    bench = bench_of()
    assert min(bench.run("norm", {"rows": 16}) for _ in range(5)) < 15e-6
