"""The catalog: figures carry sources, dimensions give the stated sizes, wrong names are helped."""

import dataclasses
import datetime

import pytest
from pydantic import ValidationError

from kaiju_sim.catalog.gpus import Gpu, find_gpu, gpu_names
from kaiju_sim.catalog.models import find_model, model_names, variant
from kaiju_sim.errors import UserError

MB = 1e6


@pytest.mark.parametrize("name", gpu_names())
def test_every_gpu_figure_has_a_graded_source(name: str) -> None:
    gpu = find_gpu(name)
    figures = set(Gpu.model_fields) - {"name", "description", "sources", "prices"}
    assert set(gpu.sources) == figures
    assert all(source[:3] in ("P: ", "S: ", "R: ", "I: ") for source in gpu.sources.values())


@pytest.mark.parametrize("name", gpu_names())
def test_every_price_is_dated(name: str) -> None:
    gpu = find_gpu(name)
    assert all(price.date >= datetime.date(2025, 1, 1) for price in gpu.prices)
    assert gpu.price is gpu.prices[0]


def test_gpu_facts() -> None:
    h100, h200, a100 = (find_gpu(name) for name in ("H100-80GB", "H200", "A100-80GB"))
    assert h100.price.usd_per_hour == 2.35
    assert h100.price.date == datetime.date(2026, 3, 1)
    assert (h100.int8_ops_per_s, h100.hbm_bytes_per_s) == (1979e12, 3.35e12)
    assert (h200.int8_ops_per_s, h200.hbm_bytes_per_s) == (1979e12, 4.8e12)
    assert (a100.int8_ops_per_s, a100.fp8_ops_per_s) == (624e12, None)
    assert 79 * 2**30 < h100.hbm_bytes < 80 * 2**30
    assert 139 * 2**30 < h200.hbm_bytes < 140 * 2**30


def test_entries_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        find_gpu("H200").name = "H300"
    with pytest.raises((ValidationError, dataclasses.FrozenInstanceError)):
        find_model("kaiju-13b").layers = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "layers", "params_billion", "owners", "kv_megabytes"),
    [
        ("kaiju-13b", 48, 13.008, (4, 16), (5.2, 8.4, 21.0)),
        ("kaiju-34b", 60, 33.987, (5, 20), (6.6, 10.5, 26.2)),
        ("kaiju-110b", 108, 110.011, (9, 36), (11.8, 18.9, 47.2)),
    ],
)
def test_model_sizes(
    name: str,
    layers: int,
    params_billion: float,
    owners: tuple[int, int],
    kv_megabytes: tuple[float, ...],
) -> None:
    model = find_model(name)
    assert model.layers == layers
    assert model.local_layers == 5 * model.global_layers
    assert round(model.params / 1e9, 3) == params_billion
    assert (model.global_kv_owners, model.local_kv_owners) == owners
    stored = tuple(round(model.kv_store_bytes(c) / MB, 1) for c in (1024, 4096, 16384))
    assert stored == kv_megabytes


@pytest.mark.parametrize("name", model_names())
def test_dimensions_are_labelled_as_ours_or_published(name: str) -> None:
    label = "ours (not published)" if name.startswith("kaiju-") else "as published"
    assert find_model(name).description.endswith(f"dimensions {label}")


def test_llama_as_published() -> None:
    """By hand: 8.03 billion parameters, 32 layers x 2 x 8 heads x 128 x 2 bytes of KV a token."""
    model = find_model("llama-3.1-8b")
    attention = 4096 * (4096 + 1024 + 1024 + 4096)
    ffn = 3 * 4096 * 14336
    norms = 32 * 2 * 4096
    assert model.params == 32 * (attention + ffn) + norms + 2 * 128256 * 4096 == 8_030_257_152
    assert model.rank_weight_bytes() == 2 * model.params
    assert model.kv_store_bytes(1) == 131_072
    assert model.kv_store_bytes(8192) == model.kv_read_bytes(8192) == 8192 * 131_072
    assert model.rank_kv_heads(4) == 2
    assert model.kv_store_bytes(1, 4) == 131_072 // 4


@pytest.mark.parametrize(("context", "megabytes"), [(1024, 12.6), (4096, 18.9), (16384, 44.0)])
def test_sharing_does_not_reduce_reads(context: int, megabytes: float) -> None:
    shared = find_model("kaiju-13b")
    unshared = variant(shared, global_kv_owners=8, local_kv_owners=40)
    assert round(shared.kv_read_bytes(context) / MB, 1) == megabytes
    assert shared.kv_read_bytes(context) == unshared.kv_read_bytes(context)
    assert unshared.kv_store_bytes(context) == unshared.kv_read_bytes(context)


def test_one_head_trades_for_128_of_ffn() -> None:
    model = find_model("kaiju-13b")
    assert variant(model, heads=40, ffn=20608).params == model.params


def test_variants() -> None:
    model = find_model("kaiju-13b")
    mha = variant(model, kv_heads=model.heads)
    bf16 = variant(model, kv_bytes=2)
    full = variant(
        model,
        global_layers=48,
        global_kv_owners=20,
        local_layers=0,
        local_kv_owners=0,
        window=None,
    )
    assert mha.kv_store_bytes(8192) == 64 * model.kv_store_bytes(8192)
    assert bf16.kv_store_bytes(8192) == 2 * model.kv_store_bytes(8192)
    assert full.kv_store_bytes(8192) == 20 * 256 * 8192
    assert full.local_kv_token_bytes() == 0
    assert variant(model, tied_embedding=False).params - model.params == model.embedding_params


def test_tensor_parallel_splits_weights_and_replicates_the_one_kv_head() -> None:
    model = find_model("kaiju-110b")
    assert model.rank_weight_bytes(1) == model.params
    assert model.params / 4 < model.rank_weight_bytes(4) < 1.005 * model.params / 4
    assert model.kv_store_bytes(8192, 4) == model.kv_store_bytes(8192, 1)
    gqa = variant(model, kv_heads=8)
    assert gqa.kv_store_bytes(8192, 4) * 4 == gqa.kv_store_bytes(8192, 1)
    assert gqa.rank_kv_heads(16) == 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"window": None}, "window must be given exactly when"),
        ({"local_layers": 0, "local_kv_owners": 0}, "window must be given exactly when"),
        ({"kv_heads": 7}, "multiple of kv_heads"),
        ({"global_kv_owners": 9}, "global_kv_owners must be between"),
        ({"local_kv_owners": 0}, "local_kv_owners must be between"),
        ({"kv_bytes": 3}, "less than or equal to 2"),
        ({"layer": 3}, "Extra inputs"),
    ],
)
def test_unsound_models_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        variant(find_model("kaiju-13b"), **fields)


def test_unknown_names_name_the_nearest_and_all_allowed() -> None:
    with pytest.raises(UserError) as gpu:
        find_gpu("H100")
    assert str(gpu.value) == (
        "gpu: unknown name 'H100' (did you mean 'H100-80GB'?); allowed: H100-80GB, H200, A100-80GB"
    )
    with pytest.raises(
        UserError, match=r"model: unknown name 'kaiju-13B' \(did you mean 'kaiju-13b'"
    ):
        find_model("kaiju-13B")
    with pytest.raises(UserError, match=r"model: unknown name 'zzz'; allowed: kaiju-13b, "):
        find_model("zzz")
