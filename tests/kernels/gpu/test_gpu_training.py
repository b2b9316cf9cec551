"""Training operators on a GPU, at sizes that the interpreter cannot do."""

from dataclasses import replace

import pytest
import torch

from kernels.common import visibility
from kernels.training.attention.blocks import Seen, make_blocks
from kernels.training.attention.visible import Options, reference, visible_attention
from kernels.training.distill.loss import distillation_loss
from kernels.training.distill.loss import reference as loss_reference
from kernels.training.distill.subsample import gumbel_keys, reference_noise, subsample
from kernels.training.qat import linear, quantise
from kernels.training.qat.linear import int8_linear
from kernels.training.squinch.noise import Noise
from kernels.training.steps.ternary import ternary_apply, ternary_pack
from kernels.training.zreg import reference_gradient, zreg_gradient

pytestmark = pytest.mark.gpu


def distance(got: torch.Tensor, want: torch.Tensor) -> float:
    got, want = got.detach().double(), want.detach().double()
    return float((got - want).norm() / want.norm())


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_a_linear_layer_of_the_13b(precision: str) -> None:
    x = torch.randn(2048, 5120, device="cuda").clamp(-4, 4).bfloat16().requires_grad_()
    weight = (torch.randn(8448, 5120, device="cuda") * 5120**-0.5).requires_grad_()
    limit, g = torch.full((1,), 4.0, device="cuda"), torch.randn(2048, 8448, device="cuda")
    options = linear.Options(input_gradient=precision)
    y = int8_linear(x, weight, limit, options=options)
    got = torch.autograd.grad(y, (x, weight), g.bfloat16())
    assert distance(y, linear.reference(x.detach(), weight.detach(), 4.0)) < 0.003
    x8 = quantise.reference_static(x.detach(), limit).float() * 4 / 127
    w8, scale = quantise.reference_rows(weight.detach())
    assert distance(got[0], g @ (w8 * scale[:, None])) < 0.02
    assert distance(got[1], g.T @ x8) < 0.01


@pytest.mark.parametrize("kind", ["packed", "tree", "window"])
@pytest.mark.parametrize("options", [Options(), Options(z_weight=0.1, int8=True)], ids=str)
def test_attention(kind: str, options: Options) -> None:
    tokens, heads = 1500, 16
    cu = torch.tensor([0, tokens, 2 * tokens], dtype=torch.int32, device="cuda")
    none = torch.zeros(2, dtype=torch.int32, device="cuda")
    if kind == "packed":
        cuts = torch.tensor([0, 700, 701, 1500, 1600, 3000], dtype=torch.int32, device="cuda")
        made = visibility.documents(cu, cuts, 2 * tokens)
    elif kind == "window":
        made = visibility.causal(cu, none, 2 * tokens, window=300)
    else:
        tree = [-1] + [n - 1 if n % 50 else 0 for n in range(1, tokens)]
        made = visibility.trees([tree, tree], [0, 0], "cuda")
    seen = Seen.of(made, 2, tokens)
    parts = [torch.randn(2, tokens, n, 128, device="cuda").clamp(-4, 4) for n in (heads, 1, 1)]
    parts = [x.bfloat16().requires_grad_() for x in parts]
    out = visible_attention(*parts, make_blocks(seen), options)
    exact = [x.detach().float().requires_grad_() for x in parts]
    want = reference(*exact, seen, options)
    assert distance(out, want) < 0.01
    g = torch.randn_like(want)
    again = torch.autograd.grad(out, parts, g.bfloat16(), retain_graph=True)
    for got, wanted in zip(again, torch.autograd.grad(want, exact, g), strict=True):
        assert distance(got, wanted) < 0.02
    for got, same in zip(again, torch.autograd.grad(out, parts, g.bfloat16()), strict=True):
        assert torch.equal(got, same), "the same bits on every run"


def test_z_reg_of_a_whole_vocabulary() -> None:
    x = (torch.randn(64, 65536, device="cuda") * 3).bfloat16()
    g = torch.randn_like(x) * 1e-3
    assert distance(zreg_gradient(x, g, 0.5), reference_gradient(x, g, 0.5)) < 0.005


def test_subsampled_targets_of_a_whole_vocabulary() -> None:
    logits = torch.randn(64, 65536, device="cuda") * 2
    rows = torch.arange(5, 69, device="cuda")
    want = logits + reference_noise(rows, 65536, 9)
    assert (gumbel_keys(logits, rows, 9, 1.0) - want).abs().max() < 1e-3
    targets = subsample(logits, 64, 9, first_row=5)
    student = torch.randn(64, 65536, device="cuda").bfloat16().requires_grad_()
    exact = student.detach().double().requires_grad_()
    loss, exactly = distillation_loss(student, targets), loss_reference(exact, targets)
    torch.testing.assert_close(loss.double(), exactly, rtol=1e-4, atol=1e-4)
    (got,) = torch.autograd.grad(loss.sum(), student)
    assert distance(got, torch.autograd.grad(exactly.sum(), exact)[0]) < 0.006


def test_ternary_updates() -> None:
    wish = torch.randn(1 << 22, device="cuda").bfloat16()
    packed = ternary_pack(wish, Noise(4, 5))
    assert torch.equal(packed, ternary_pack(wish, Noise(4, 5), by_torch=True))
    weights = torch.randint(-127, 128, (1 << 22,), dtype=torch.int8, device="cuda")
    want = ternary_apply(weights.clone(), packed, by_torch=True)
    assert torch.equal(ternary_apply(weights, packed), want)


def test_the_demo_is_served_as_it_was_trained() -> None:
    from kernels.training.demo.export import Served, agreement, state_of
    from kernels.training.demo.options import Options as RunOptions
    from kernels.training.demo.train import Run

    run = Run(replace(RunOptions(), size="small", steps=60, evaluate_every=60), "cuda")
    losses = [row["loss"] for row in run.train()]
    assert losses[-1] < 0.6 * losses[0]
    windows = run.corpus.batch(run.corpus.held_out[:4])[:, :-1]
    found = agreement(run.model, Served(run.config, state_of(run.model)), windows)
    assert found.top_1 >= 0.98
    assert found.distance < 0.03
