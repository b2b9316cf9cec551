"""Checkpoints of real layouts, and the document that describes them."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kernels.model.config import ModelConfig, tiny, variant
from kernels.model.state.load import StateError, classifier_layout, load_state, save_state
from kernels.model.state.weights import random_state, shard, state_layout

ROOT = Path(__file__).resolve().parents[2]
SMALL = replace(tiny(), kv_owner=(0, 1), global_layers=(1,), hidden=64, heads=2, ffn=64, vocab=32)
VARIANTS = {
    "int8": SMALL,
    "bfloat16": variant(SMALL, weights="bfloat16"),
    "float16 KV": variant(SMALL, kv="float16"),
    "two KV heads": variant(SMALL, kv_heads=2),
}


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS.keys())
def test_a_models_state_comes_back(tmp_path: Path, config: ModelConfig) -> None:
    state = random_state(config, seed=1)
    save_state(tmp_path, state, shard_bytes=50_000)
    found = load_state(tmp_path, state_layout(config))
    assert list(found) == list(state)
    assert all(torch.equal(found[name], value) for name, value in state.items())


def test_ranks_load_their_shares(tmp_path: Path) -> None:
    save_state(tmp_path / "model.safetensors", random_state(SMALL))
    for rank in (0, 1):
        found = load_state(
            tmp_path,
            state_layout(SMALL),
            share=lambda name, value, rank=rank: shard(SMALL, name, value, rank, 2),
        )
        want = random_state(SMALL, rank=rank, ranks=2)
        assert all(torch.equal(found[name], value) for name, value in want.items())


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (
            variant(SMALL, weights="bfloat16"),
            "layers.0.qkv.weight: dtype is int8, must be bfloat16",
        ),
        (variant(SMALL, kv="float16"), "not of this model 4 tensors: layers.0.k_scale"),
        (replace(SMALL, ffn=128), "layers.0.up.weight: shape is [64, 64], must be [128, 64]"),
        (replace(SMALL, kv_owner=(0, 1, 0)), "missing 10 tensors: layers.2.qkv.weight"),
    ],
)
def test_a_state_of_another_model_is_refused(tmp_path: Path, other: ModelConfig, says: str) -> None:
    save_state(tmp_path / "model.safetensors", random_state(SMALL))
    with pytest.raises(StateError, match=re.escape(says)):
        load_state(tmp_path, state_layout(other))


def test_the_document_names_every_tensor_and_its_type() -> None:
    page = (ROOT / "docs" / "model-weights.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([\w.]+)` \| (\w+) \|", page, re.MULTILINE))
    layout = {**state_layout(SMALL), **classifier_layout(SMALL.hidden)}
    want = {
        re.sub(r"layers\.\d+", "layers.i", name): str(spec.dtype).removeprefix("torch.")
        for name, spec in layout.items()
    }
    assert rows == want
