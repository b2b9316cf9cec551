"""Ternary updates in the demo: pinned weights learn, are served, and are the same on two ranks."""

from dataclasses import replace
from pathlib import Path

import demo_ranks as two
import pytest
import torch

from kernels.training.demo.comparison.arms import ARMS
from kernels.training.demo.export import Served, agreement, state_of
from kernels.training.demo.model import Layer
from kernels.training.demo.options import Options, Tricks
from kernels.training.demo.train import Run
from kernels.training.demo.updates import Pinned
from kernels.training.steps.ternary import packed_bytes

TERNARY = ARMS["int8, ternary updates"]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def trained() -> Run:
    run = Run(Options(steps=30, evaluate_every=30, tricks=replace(TERNARY, scalars=True)))
    run.train()
    return run


def test_pinned_weights_learn(trained: Run) -> None:
    before = Run(trained.options)
    assert trained.rows[-1]["held_out"] < 0.8 * before.evaluate()
    pairs = list(zip(before.updates.pinned, trained.updates.pinned, strict=True))
    assert len(pairs) == 8
    for old, new in pairs:
        assert torch.equal(old.scale, new.scale), "which is what is pinned"
        assert torch.equal(new.weight, new.values * new.scale[:, None])
        moved = (new.values.int() - old.values.int()).abs()
        assert 0 < int(moved.max()) <= 30, "at most one a step"
        assert (moved > 0).float().mean() > 0.2


def test_no_layer_keeps_anything_else(trained: Run) -> None:
    """A pinned layer's momentum is all the state that it has, and Adam does not know it."""
    known = {id(p) for group in trained.updates.adam.param_groups for p in group["params"]}
    assert not known & {id(layer.weight) for layer in trained.updates.pinned}
    assert id(trained.model.embedding) in known
    layer = trained.model.layers[0]
    assert isinstance(layer, Layer)
    assert isinstance(layer.qkv, Pinned)


@pytest.mark.usefixtures("rounding")
def test_pinned_weights_are_served(trained: Run) -> None:
    if torch.cuda.is_available():
        pytest.skip("the trainee is on the CPU here; gpu/ has this")
    state = state_of(trained.model)
    assert torch.equal(state["layers.0.up.weight"].abs(), trained.updates.pinned[2].values.abs())
    windows = trained.corpus.batch(trained.corpus.held_out[:1])[:, :-1]
    found = agreement(trained.model, Served(trained.config, state), windows)
    assert found.top_1 == 1.0
    assert found.distance < 1e-4


def test_two_ranks_send_trits_and_have_the_same_weights(tmp_path: Path) -> None:
    (first, mine, about), (second, theirs, _) = two.run(tmp_path)
    assert torch.equal(first, second)
    assert (mine, theirs) == (4, 4), "each decides for half of the layers"
    rehearsed = Run(two.OPTIONS)
    rehearsed.train(3)
    assert torch.equal(two.weights(rehearsed), first)
    count = sum(packed_bytes(layer.values.numel()) for layer in rehearsed.updates.pinned)
    assert about["update_bytes_a_step"] == rehearsed.about()["update_bytes_a_step"] == count // 2
    resumed = Run.resumed(tmp_path)  # with the momentum of both
    resumed.train()
    rehearsed.train()
    assert torch.equal(two.weights(resumed), two.weights(rehearsed))


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="updates: ternary ones are of int8 weights"):
        Tricks(forward="bf16", updates="ternary")
    with pytest.raises(ValueError, match="updates: is 'binary'"):
        Tricks(updates="binary")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="ternary_rate: is 0"):
        Tricks(ternary_rate=0)
