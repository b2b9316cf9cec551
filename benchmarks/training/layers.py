"""A training step of one whole layer of the 13B: what a run's speed is estimated from.

Forward and all gradients of the layer as the demo trains it: norms, clamps, rotary embedding and
residual sums are plain PyTorch in float32 and not fused, so the share of the peak is that of this
code, and less than a tuned stack would reach.
"""

from collections.abc import Iterator
from typing import Any

from benchmarks.kernels.timing import Contender
from benchmarks.training.cases import FFN, HEADS, HIDDEN, TOKENS, VOCAB, WAYS, Case

DOCUMENTS = 8
SHAPE = f"13B layer, {TOKENS} tokens in {DOCUMENTS} documents"


def layer_cases() -> Iterator[Case]:
    """The case; its operations are 6 a parameter and token, and those of attention."""
    from kernels.training.attention.visible import flops_and_bytes

    config = _config()
    weights = config.hidden * (config.projection(0) + config.q_width + 2 * config.ffn)
    length = TOKENS // DOCUMENTS
    seen = sum(min(at + 1, config.window or length) for at in range(length)) * DOCUMENTS
    shape = (float(seen), TOKENS, config.heads, config.kv_heads, 128)
    attention = flops_and_bytes(*shape).flops + flops_and_bytes(*shape, backward=True).flops
    yield Case("layer_step", SHAPE, _layers, 6.0 * weights * TOKENS + attention)


def _config() -> Any:
    from kernels.model.config import kaiju

    return kaiju("kaiju-13b", 6, hidden=HIDDEN, heads=HEADS, ffn=FFN, vocab=VOCAB)


def _layers() -> Iterator[Contender]:
    import torch

    from kernels.training.demo.corpus import pack
    from kernels.training.demo.model import rotary

    config = _config()
    tokens = torch.ones(1, TOKENS, dtype=torch.int64, device="cuda")
    tokens[:, TOKENS // DOCUMENTS - 1 :: TOKENS // DOCUMENTS] = 0
    packed = pack(tokens, config)
    turns = rotary(config, TOKENS).cuda()[packed.positions]
    x = torch.randn(1, TOKENS, config.hidden, device="cuda").bfloat16().requires_grad_()
    g = torch.randn_like(x)
    first: dict[str, Any] = {}
    for name, (forward, backward) in reversed(WAYS.items()):
        yield _contender(name, _make(forward, backward), (x, turns, packed, g), first)


def _make(forward: Any, backward: Any) -> Any:
    import torch

    from kernels.training.demo.model import Layer
    from kernels.training.demo.options import Tricks
    from kernels.training.qat.linear import Options

    clamping: Any = "values" if forward == "int8" else "constant"
    tricks = Tricks(forward, backward, clamping, False, 0.0, "fp32", 1)
    torch.manual_seed(0)  # the same weights in all
    with torch.device("cuda"):
        return Layer(_config(), tricks, Options(forward, backward), 0)


def _contender(name: str, layer: Any, given: tuple[Any, ...], first: dict[str, Any]) -> Contender:
    import torch

    x, turns, packed, g = given
    of = (x, *layer.parameters())

    def step() -> None:
        torch.autograd.grad(layer(x, turns, packed, {}), of, g)

    def error() -> float:
        with torch.no_grad():
            added = (layer(x, turns, packed, {}) - x).float()
        exact = first.setdefault("bf16", added)
        return float((added - exact).norm() / exact.norm())

    return Contender(name, [step], error, 0.1)
