"""Sizes, layers and sharing of a model; its parity with the simulator's catalog; its tensors."""

from dataclasses import replace

import pytest
import torch

from calibrate.models import config_of
from kaiju_sim.catalog.models import find_model
from kaiju_sim.catalog.models import variant as catalog_variant
from kaiju_sim.errors import UserError
from kernels.model.config import ModelConfig, blocks_of_six, kaiju, tiny, variant
from kernels.model.state.weights import random_state, rank_config, shard, state_layout

KAIJU = ("kaiju-13b", "kaiju-34b", "kaiju-110b")


@pytest.mark.parametrize("name", KAIJU)
def test_the_catalog_and_the_model_agree(name):
    entry = find_model(name)
    config = config_of(entry)
    assert config.parameters == entry.params
    assert config.layers == entry.layers
    assert len(config.owners(is_global=True)) == entry.global_kv_owners
    assert len(config.owners(is_global=False)) == entry.local_kv_owners
    assert (config.window, config.kv_heads, config.q_width) == (1024, 1, entry.q_width)


@pytest.mark.parametrize(
    "fields",
    [
        {"kv_heads": 8},
        {"kv_heads": 64},
        {"kv_bytes": 2},
        {"weight_bytes": 2},
        {"global_layers": 48, "local_layers": 0, "window": None, "global_kv_owners": 20,
         "local_kv_owners": 0},
        {"global_kv_owners": 8, "local_kv_owners": 40},
    ],
)  # fmt: skip
def test_variants_of_the_catalog_map_to_variants_of_the_model(fields):
    entry = catalog_variant(find_model("kaiju-13b"), **fields)
    config = config_of(entry)
    assert config.parameters == entry.params
    assert config.kv_heads == entry.kv_heads
    assert (config.window is None) == (entry.local_layers == 0)


def test_a_model_that_is_not_kaiju_is_refused():
    with pytest.raises(UserError, match=r"llama-3\.1-8b cannot be measured"):
        config_of(find_model("llama-3.1-8b"))


def test_layers_share_with_neighbours_and_globals_across_blocks():
    global_layers, owner = blocks_of_six(12)
    assert global_layers == (5, 11)
    assert owner == (0, 0, 0, 3, 3, 5, 6, 6, 6, 9, 9, 5)
    with pytest.raises(ValueError, match="multiple of 6"):
        blocks_of_six(13)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heads": 3, "kv_heads": 2}, "heads"),
        ({"hidden": 100}, "hidden"),
        ({"kv_owner": (0, 1, 1, 3, 2)}, "do not see equally far"),
        ({"kv_owner": (1, 1, 2, 3, 2)}, "owns no KV below it"),
        ({"global_layers": (4, 2)}, "increasing"),
        ({"window": None}, "window"),
    ],
)
def test_contradictions_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(tiny(), **change)


def test_a_state_has_what_the_layout_says():
    config = tiny()
    state, layout = random_state(config, 3), state_layout(config)
    assert list(state) == list(layout)
    for name, spec in layout.items():
        assert (tuple(state[name].shape), state[name].dtype) == tuple(spec), name
    assert "layers.1.k_scale" not in state
    assert "layers.3.k_scale" in state
    again = random_state(config, 3)
    assert all(torch.equal(state[name], again[name]) for name in state)
    assert not torch.equal(state["layers.0.o.weight"], random_state(config, 4)["layers.0.o.weight"])


def test_int8_weights_use_their_range():
    weight = random_state(tiny(), 0)["layers.0.up.weight"].float()
    assert 30 < weight.std() < 34
    assert (weight.abs() == 127).float().mean() < 1e-3


def parts(config: ModelConfig, ranks: int, name: str) -> list[torch.Tensor]:
    value = random_state(config, 0)[name]
    return [shard(config, name, value, rank, ranks) for rank in range(ranks)]


def test_ranks_divide_heads_and_ffn_and_hold_all_of_k_and_v():
    config = tiny()
    mine = rank_config(config, 2)
    assert (mine.heads, mine.ffn, mine.kv_heads, mine.hidden) == (2, 256, 1, 256)
    for rank in range(2):
        state, layout = random_state(config, 0, rank=rank, ranks=2), state_layout(mine)
        assert {n: tuple(v.shape) for n, v in state.items()} == {
            n: spec.shape for n, spec in layout.items()
        }
    whole = random_state(config, 0)["layers.0.qkv.weight"]
    one, two = parts(config, 2, "layers.0.qkv.weight")
    assert torch.equal(torch.cat((one[:256], two[:256])), whole[:512])
    assert torch.equal(one[256:], whole[512:])
    assert torch.equal(two[256:], whole[512:])
    left, right = parts(config, 2, "layers.0.down.weight")
    assert torch.equal(torch.cat((left, right), 1), random_state(config, 0)["layers.0.down.weight"])
    with pytest.raises(ValueError, match="ranks: is 3"):
        rank_config(config, 3)


def test_a_variant_undoes_one_choice():
    config = kaiju("k", 12, hidden=256, heads=8, ffn=512, vocab=512)
    assert variant(config, kv_heads=8).kv_width == 2048
    assert variant(config, full_attention=True).window is None
    assert variant(config, share_kv=False).kv_owner == tuple(range(12))
    assert variant(config, weights="bfloat16").kv == "int8"
