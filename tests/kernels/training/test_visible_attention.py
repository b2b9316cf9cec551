"""Attention of training against the dense specification, through the interpreter."""

import pytest
import torch

from kernels.common import visibility
from kernels.training.attention.blocks import Blocks, Seen, make_blocks
from kernels.training.attention.visible import (
    Options,
    flops_and_bytes,
    reference,
    visible_attention,
)
from kernels.training.zreg import z_reg

TOKENS, BATCH = 56, 2
CU = torch.tensor([0, TOKENS, 2 * TOKENS], dtype=torch.int32)
NONE = torch.zeros(2, dtype=torch.int32)
TREE = [-1, 0, 1, 1, 0, 4, 5, 4, -1, 8, 9, 9, 8, *range(12, TOKENS - 1)]


def packed() -> Seen:
    cuts = torch.tensor([0, 30, 31, 56, 83, 112], dtype=torch.int32)
    return Seen.of(visibility.documents(CU, cuts, 2 * TOKENS), BATCH, TOKENS)


def tree() -> Seen:
    return Seen.of(visibility.trees([TREE, TREE], [0, 0]), BATCH, TOKENS)


def prefixes() -> Seen:
    lengths = torch.tensor([23, 40])
    seen = visibility.prefix_bidirectional(CU, NONE, lengths, 2 * TOKENS)
    return Seen.of(seen, BATCH, TOKENS)


def windows() -> Seen:
    return Seen.of(visibility.causal(CU, NONE, 2 * TOKENS, window=20), BATCH, TOKENS)


def holes() -> Seen:
    seen = visibility.causal(CU, NONE, 2 * TOKENS)
    live = torch.arange(2 * TOKENS) % 7 != 3
    return Seen.of(visibility.empty_slots(seen, live), BATCH, TOKENS)


KINDS = {f.__name__: f for f in (packed, tree, prefixes, windows, holes)}


def on(device: torch.device, seen: Seen) -> Seen:
    return Seen(*(None if part is None else part.to(device) for part in seen))


def operands(device: torch.device, heads: int = 2, kv_heads: int = 1) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    shapes = [(BATCH, TOKENS, n, 32) for n in (heads, kv_heads, kv_heads)]
    made = [torch.randn(shape, generator=generator) for shape in shapes]
    return [x.bfloat16().to(device).requires_grad_() for x in made]


def gradients(out: torch.Tensor, parts: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    g = torch.randn(out.shape, generator=torch.Generator().manual_seed(2)).to(out)
    return torch.autograd.grad(out, parts, g)


def distance(got: torch.Tensor, want: torch.Tensor) -> float:
    got, want = got.detach().double(), want.detach().double()
    return float((got - want).norm() / want.norm())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [Options(), Options(z_weight=0.3, int8=True)], ids=str)
def test_output_and_gradients(device: torch.device, kind: str, options: Options) -> None:
    seen = on(device, KINDS[kind]())
    parts = operands(device)
    blocks = make_blocks(seen, 32, 16)
    out = visible_attention(*parts, blocks, options._replace(by_torch=False))
    exact = [x.detach().double().requires_grad_() for x in parts]
    want = reference(*exact, seen, options)
    assert distance(out, want) < 0.01
    assert (out[(seen.start >= seen.limit)] == 0).all()
    for got, wanted in zip(gradients(out, parts), gradients(want, exact), strict=True):
        assert distance(got, wanted) < 0.015


@pytest.mark.parametrize("window", [None, 150])
def test_int8_goes_by_pages_as_serving_does(device: torch.device, window: int | None) -> None:
    """Every value is the same whole number, over three pages, whole ones and cut ones."""
    tokens, at = 300, torch.arange(300, dtype=torch.int32, device=device)[None]
    start = torch.zeros_like(at) if window is None else (at - window + 1).clamp(min=0)
    seen = Seen(start, at + 1)
    generator = torch.Generator().manual_seed(3)
    parts = [torch.randn(1, tokens, n, 32, generator=generator).to(device) for n in (2, 1, 1)]
    parts = [(1.5 * x).clamp(-4, 4) for x in parts]
    options = Options(int8=True, served=True)
    got = visible_attention(*parts, make_blocks(seen), options._replace(by_torch=False))
    want = reference(*parts, seen, options)
    assert got.dtype == torch.float32
    codes, whole = got * 127 / 4, (got * 127 / 4).round()
    assert (codes - whole).abs().max() < 1e-3
    # On Hopper P is rounded to float16 before, and by pairs of pages.
    assert distance(got, want) <= (0.03 if torch.cuda.is_available() else 1e-3)
    plain = reference(*parts, seen)
    assert 1e-4 < distance(got, plain) < 0.1, "and it is not what exact P would give"


def test_several_kv_heads(device: torch.device) -> None:
    parts, seen = operands(device, 4, 2), on(device, windows())
    out = visible_attention(*parts, make_blocks(seen, 32, 16), Options(by_torch=False))
    exact = [x.detach().double().requires_grad_() for x in parts]
    want = reference(*exact, seen)
    assert distance(out, want) < 0.01
    for got, wanted in zip(gradients(out, parts), gradients(want, exact), strict=True):
        assert distance(got, wanted) < 0.015


def test_a_tree_packs_what_its_branches_are_one_by_one() -> None:
    """Each branch, from the root to a leaf, attended to by itself, gives the tree's output."""
    parts = [x.detach().double() for x in operands(torch.device("cpu"))]
    whole = reference(*parts, tree())
    for leaf in (3, 6, 7, 11, TOKENS - 1):
        path, node = [], leaf
        while node != -1:
            path.insert(0, node)
            node = TREE[node]
        alone = [x[:, path] for x in parts]
        limit = torch.arange(1, len(path) + 1, dtype=torch.int32).expand(BATCH, -1)
        out = reference(*alone, Seen(torch.zeros_like(limit), limit.contiguous()))
        torch.testing.assert_close(out[:, -1], whole[:, leaf])


def test_z_reg_moves_the_log_sum_exp_to_zero() -> None:
    """Its gradient is that of the loss it stands for, and following it brings Z near zero."""
    x = (torch.randn(9, 50, dtype=torch.float64) + 3).requires_grad_()
    loss = 0.2 / 2 * x.logsumexp(-1).square().sum()
    (want,) = torch.autograd.grad(loss, x)
    (got,) = torch.autograd.grad(z_reg(x.float(), 0.2), x, torch.zeros(9, 50))
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-6)
    moved = x.detach()
    for _ in range(300):
        moved = moved.requires_grad_()
        (g,) = torch.autograd.grad(z_reg(moved.float(), 1.0).sum() * 0, moved)
        moved = moved.detach() - g
    assert (moved.logsumexp(-1).abs() < 0.1).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_z_reg_kernel(device: torch.device, dtype: torch.dtype) -> None:
    from kernels.training.zreg import reference_gradient, zreg_gradient

    x = (torch.randn(5, 5003) * 3).to(dtype).to(device)
    x[3] = float("-inf")
    g = torch.randn(5, 5003).to(dtype).to(device)
    got = zreg_gradient(x, g, 0.7, by_torch=False)
    want = reference_gradient(x, g, 0.7)
    torch.testing.assert_close(
        got.double(), want, rtol=2**-7 if dtype == torch.bfloat16 else 1e-5, atol=1e-6
    )
    assert torch.equal(got[3], g[3])


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_cover_exactly_what_is_seen(kind: str) -> None:
    seen = KINDS[kind]()
    blocks, mask = make_blocks(seen, 32, 16), seen.dense()
    covered = torch.zeros(BATCH, 64, 64, dtype=torch.bool)
    lists = blocks.of_queries
    for b in range(BATCH):
        for tile in range(2):
            rows = slice(tile * 32, tile * 32 + 32)
            for t in lists.whole[b, tile, : lists.whole_count[b, tile]].tolist():
                covered[b, rows, t * 16 : t * 16 + 16] = True
                assert mask[b, rows, t * 16 : t * 16 + 16].all()
                assert rows.stop <= TOKENS
            for t in lists.part[b, tile, : lists.part_count[b, tile]].tolist():
                covered[b, rows, t * 16 : t * 16 + 16] = True
    assert covered[:, :TOKENS, :TOKENS][mask].all()
    other = blocks.of_keys
    assert int(other.whole_count.sum() + other.part_count.sum()) == int(covered.sum()) // 512
    assert float(blocks.share) == pytest.approx(float(covered.float().mean()))


def test_work_counts_products_of_what_is_seen() -> None:
    assert flops_and_bytes(100, 10, 4, 1, 16).flops == 2 * 2 * 100 * 4 * 16
    assert flops_and_bytes(100, 10, 4, 1, 16, backward=True).flops == 7 * 2 * 100 * 4 * 16


def blocks_of(tokens: int) -> Blocks:
    limit = torch.arange(1, tokens + 1, dtype=torch.int32)[None]
    return make_blocks(Seen(torch.zeros_like(limit), limit))


def test_bad_arguments_are_named() -> None:
    q, k, v = (x.detach() for x in operands(torch.device("cpu")))
    with pytest.raises(ValueError, match="q: shape is"):
        visible_attention(q, k, v, blocks_of(TOKENS))
    with pytest.raises(ValueError, match="k: shape is"):
        visible_attention(q[:1], k, v, blocks_of(TOKENS))
    with pytest.raises(ValueError, match="q: dtype is"):
        visible_attention(q[:1].half(), k, v, blocks_of(TOKENS))
    with pytest.raises(ValueError, match="dim: is 16, must be one of 32, 64, 128"):
        visible_attention(*(x[:1, :, :, :16].contiguous() for x in (q, k, v)), blocks_of(TOKENS),
                          Options(int8=True))  # fmt: skip
    with pytest.raises(ValueError, match="limit: dtype is"):
        make_blocks(Seen(CU[None], CU[None].long()))
    with pytest.raises(ValueError, match="seen: is of 112 tokens"):
        Seen.of(visibility.causal(CU, NONE, 112), 2, 57)
