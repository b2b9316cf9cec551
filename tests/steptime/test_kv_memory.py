"""KV memory by hand: 13B on an H100, the two pools, tensor parallelism, and what does not fit."""

from typing import Any

import pytest
from steptime_scenarios import scenario

from kaiju_sim.catalog.gpus import find_gpu
from kaiju_sim.catalog.models import find_model, variant
from kaiju_sim.errors import UserError
from kaiju_sim.steptime.memory import KvPlan, activation_bytes, kv_plan
from kaiju_sim.steptime.profile import KvBlocks


def plan(gpu: str = "H100-80GB", model: str = "kaiju-13b", **parts: object) -> KvPlan:
    return kv_plan(scenario(**parts), find_gpu(gpu), find_model(model))


def test_kaiju_13b_on_an_h100_by_hand() -> None:
    """84.94 GB x 0.9 - 3.5 reserved - 13.0 weights - 0.3 activations = 59.6 GB of KV."""
    got = plan()
    assert got.weight_bytes == 13_008_076_800
    row = 5 * 5120 + 3 * 17536
    assert got.activation_bytes == (2048 + 256) * row + 256 * 8 * 65536
    usable = int(84_943_716_843 * 0.9) - 3_500_000_000
    assert got.kv_bytes == usable - got.weight_bytes - got.activation_bytes
    assert 59.5e9 < got.kv_bytes < 59.7e9
    assert got.global_block_bytes == 64 * 4 * 256
    assert got.window_bytes == (1024 // 64 + 1) * 64 * 16 * 256
    assert got.source == "memory"


def test_auto_share_holds_as_many_windows_as_sequences_at_the_limit() -> None:
    got = plan()
    sequences = got.global_blocks / (8192 / 64)
    assert sequences == pytest.approx(got.local_windows, rel=0.01)
    assert got.local_windows == pytest.approx(got.kv_bytes / (8.4e6 + 4.46e6), rel=0.01)


@pytest.mark.parametrize(("context", "megabytes"), [(1024, 5.2), (4096, 8.4), (16384, 21.0)])
def test_a_sequence_costs_what_the_model_stores(context: int, megabytes: float) -> None:
    """The window pool has one block more than the window itself: 0.26 MB at 64 tokens."""
    got = plan()
    spare = got.window_bytes // (1024 // 64 + 1)
    held = context // 64 * got.global_block_bytes + got.window_bytes - spare
    assert round(held / 1e6, 1) == megabytes
    assert held == find_model("kaiju-13b").kv_store_bytes(context)


@pytest.mark.parametrize("block", [1, 16, 64, 512])
def test_pools_fill_memory_but_never_more(block: int) -> None:
    got = plan(kv={"block_tokens": block})
    used = got.global_blocks * got.global_block_bytes + got.local_windows * got.window_bytes
    assert used <= got.kv_bytes
    assert got.kv_bytes - used < got.global_block_bytes + got.window_bytes


def test_one_pool_where_local_kv_is_kept_everywhere() -> None:
    got = plan(kv={"local_retention": "all"})
    assert (got.local_windows, got.window_bytes) == (0, 0)
    assert got.global_block_bytes == 64 * 20 * 256
    assert got.global_blocks == got.kv_bytes // got.global_block_bytes


def test_one_pool_without_local_layers() -> None:
    full = variant(
        find_model("kaiju-13b"),
        global_layers=48,
        global_kv_owners=48,
        local_layers=0,
        local_kv_owners=0,
        window=None,
    )
    got = kv_plan(scenario(), find_gpu("H100-80GB"), full)
    assert (got.local_windows, got.window_bytes) == (0, 0)
    assert got.global_block_bytes == 64 * 48 * 256


def test_explicit_sizes_override_either_or_both() -> None:
    auto = plan()
    blocks = plan(kv={"global_blocks": 1000})
    both = plan(kv={"global_blocks": 1000, "local_windows": 7})
    assert (blocks.global_blocks, blocks.local_windows) == (1000, auto.local_windows)
    assert (both.global_blocks, both.local_windows) == (1000, 7)
    assert both.source == "scenario"
    with pytest.raises(UserError, match=r"kv\.local_windows: there is no window pool"):
        plan(kv={"local_windows": 7, "local_retention": "all"})


def test_measured_blocks_are_used_when_they_are_alike() -> None:
    measured = KvBlocks.model_validate(
        {
            "block_tokens": 128,
            "global": 2500,
            "local": 369,
            "window_blocks": 9,
            "memory_utilisation": 0.9,
            "token_budget": 2048,
            "max_seqs": 256,
            "prompt_limit": 8192,
        }
    )
    gpu, model = find_gpu("H100-80GB"), find_model("kaiju-13b")
    got = kv_plan(scenario(), gpu, model, measured)
    assert (got.global_blocks, got.local_windows, got.source) == (5000, 41, "profile")
    longer = kv_plan(scenario(kv={"block_tokens": 128}), gpu, model, measured)
    assert (longer.global_blocks, longer.local_windows, longer.source) == (2500, 41, "profile")
    explicit = kv_plan(scenario(kv={"global_blocks": 4000}), gpu, model, measured)
    assert (explicit.global_blocks, explicit.local_windows) == (4000, 41)
    others: tuple[dict[str, Any], ...] = (
        {"kv": {"local_retention": "all"}},
        {"kv": {"memory_utilisation": 0.85}},
        {"kv": {"local_share": 0.5}},
        {"kv": {"activation_reserve": 10**9}},
        {"engine": {"token_budget": 4096}},
        {"engine": {"max_seqs": 128}},
        {"prompt": {"limit": 4096}},
    )
    for other in others:
        assert kv_plan(scenario(**other), gpu, model, measured).source == "memory", other


def test_tensor_parallel_splits_weights_but_not_the_one_kv_head() -> None:
    two, four = (plan(model="kaiju-110b", fleet={"tensor_parallel": n}) for n in (2, 4))
    assert two.global_block_bytes == four.global_block_bytes
    assert two.weight_bytes == pytest.approx(2 * four.weight_bytes, rel=0.01)
    assert four.kv_bytes > two.kv_bytes


def test_gqa_shares_its_kv_heads_over_the_ranks() -> None:
    gqa = variant(find_model("kaiju-34b"), kv_heads=8)
    gpu = find_gpu("H100-80GB")
    one, four = (
        kv_plan(scenario(fleet={"tensor_parallel": n}), gpu, gqa).global_block_bytes for n in (1, 4)
    )
    assert one == 4 * four


def test_activation_reserve_follows_the_budget_or_is_stated() -> None:
    model = find_model("kaiju-13b")
    small = activation_bytes(scenario(engine={"token_budget": 1024}), model)
    large = activation_bytes(scenario(engine={"token_budget": 8192}), model)
    assert large - small == (8192 - 1024) * (5 * 5120 + 3 * 17536)
    assert activation_bytes(scenario(kv={"activation_reserve": 10**9}), model) == 10**9


def test_weights_that_do_not_fit() -> None:
    with pytest.raises(UserError) as error:
        plan(model="kaiju-110b")
    assert str(error.value) == (
        "kaiju-110b does not fit 1 x H100-80GB: weights 110.0 GB, activations 0.6 GB and 3.5 GB"
        " reserved of 76.4 GB usable per GPU leave nothing for KV; raise fleet.tensor_parallel or"
        " kv.memory_utilisation, or choose a larger gpu"
    )


@pytest.mark.parametrize(
    "kv",
    [{"global_blocks": 10}, {"local_share": 1.0}, {"local_share": 0.0}],
    ids=["few blocks", "no blocks", "no windows"],
)
def test_pools_that_cannot_hold_one_sequence(kv: dict[str, object]) -> None:
    with pytest.raises(UserError) as error:
        plan(kv=kv)
    text = str(error.value)
    assert "cannot hold one sequence of engine.max_context = 8704 tokens: it holds" in text
    assert "lower engine.max_context" in text
    assert "\n" not in text
