"""What is measured: each case with our implementation and what it is beside.

A case is checked before it is timed. Sizes are those of 13B layers and of gradients that no cache
holds. torch is imported where it is needed: a report does without.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.kernels.timing import Contender

OURS = "ours"
GRADIENTS = 1 << 27
TOKENS, HIDDEN, HEADS, FFN, VOCAB = 8192, 5120, 64, 17536, 65536
"""Tokens of a step on one GPU, and the 13B's layers (docs/models.md)."""


@dataclass(frozen=True)
class Case:
    """One measurement. `flops`, `bytes`: the least that one call of ours must do."""

    operator: str
    shape: str
    make: "Callable[[], Iterator[Contender]]"
    flops: float = 0.0
    bytes: float = 0.0

    @property
    def name(self) -> str:
        """Operator and shape."""
        return f"{self.operator} {self.shape}"


def copies(moved: float) -> Iterator[Contender]:
    """A plain copy that moves as many bytes, half of them read and half written."""
    import torch

    from benchmarks.kernels.peers import COPY_BLOCK, triton_copy

    words = int(moved) // 8 // COPY_BLOCK * COPY_BLOCK
    source = torch.randint(-(2**31), 2**31 - 1, (words,), dtype=torch.int32, device="cuda")
    out = torch.empty_like(source)
    yield Contender("Triton copy", [lambda: triton_copy(source, out)])


def squinch_cases() -> Iterator[Case]:
    """Packing and unpacking."""
    import torch

    from kernels.training.squinch.pack import flops_and_bytes

    for name in ("bf16", "fp32"):
        dtype = torch.bfloat16 if name == "bf16" else torch.float32
        work = flops_and_bytes(GRADIENTS, dtype)
        for way in ("nearest", "stochastic"):
            make = _packing(dtype, way == "stochastic", work.bytes)
            yield Case("squinch_pack", f"{name} {way}", make, *work)
        yield Case("squinch_unpack", f"{name} 1 rank", _unpacking(dtype, 1, work.bytes), *work)
        moved = work.bytes + 7 * (GRADIENTS * 6 // 8)
        yield Case(
            "squinch_unpack", f"{name} 8 ranks", _unpacking(dtype, 8, moved), work.flops * 8, moved
        )


def _packing(dtype: Any, stochastic: bool, moved: float) -> Callable[[], Iterator[Contender]]:
    def make() -> Iterator[Contender]:
        import torch

        from kernels.training.squinch.codec import reference_pack
        from kernels.training.squinch.noise import Noise
        from kernels.training.squinch.pack import squinch_pack

        x = (torch.randn(GRADIENTS, device="cuda") * 1e-4).to(dtype)
        noise = Noise(3) if stochastic else None
        out = squinch_pack(x, noise=noise)

        def error() -> float:
            some = 1 << 22
            want = reference_pack(x[:some], noise)
            return float((out[: len(want)] != want).float().mean())

        yield Contender(OURS, [lambda: squinch_pack(x, noise=noise, out=out)], error, 2e-3)
        yield from copies(moved)

    return make


def _unpacking(dtype: Any, ranks: int, moved: float) -> Callable[[], Iterator[Contender]]:
    def make() -> Iterator[Contender]:
        import torch

        from kernels.training.squinch.codec import reference_unpack
        from kernels.training.squinch.pack import squinch_pack, squinch_unpack

        payload = squinch_pack(torch.randn(GRADIENTS, device="cuda"))
        many = payload.expand(ranks, -1).contiguous()
        out = torch.empty(GRADIENTS, dtype=dtype, device="cuda")

        def call() -> Any:
            return squinch_unpack(many, GRADIENTS, factor=1 / ranks, out=out)

        def error() -> float:
            call()
            some = 1 << 22
            want = reference_unpack(payload[: some * 6 // 8], some)
            return float((out[:some].float() - want).norm() / want.norm())

        yield Contender(OURS, [call], error, 0.01)
        yield from copies(moved)

    return make


LAYERS = {
    "qkv": (HIDDEN, HEADS * 128 + 256),
    "o": (HEADS * 128, HIDDEN),
    "up": (HIDDEN, FFN),
    "down": (FFN, HIDDEN),
    "all four": (0, 0),
}
WAYS = {
    "int8 forward": ("int8", "bf16"),
    "int8 forward, input gradient": ("int8", "int8"),
    "bf16": ("bf16", "bf16"),
}


def linear_cases() -> Iterator[Case]:
    """A training step of linear layers: forward and both gradients, master weights float32."""
    for name, sizes in LAYERS.items():
        shapes = [s for s in LAYERS.values() if s[0]] if name == "all four" else [sizes]
        flops = sum(6.0 * TOKENS * inputs * outputs for inputs, outputs in shapes)
        yield Case("linear_step", f"13B {name}, {TOKENS} tokens", _linears(shapes), flops)


def _linears(shapes: list[tuple[int, int]]) -> Callable[[], Iterator[Contender]]:
    def make() -> Iterator[Contender]:
        import torch

        from kernels.training.qat.linear import Options, int8_linear

        limit = torch.full((1,), 4.0, device="cuda")
        layers = [_layer(inputs, outputs) for inputs, outputs in shapes]
        first: dict[str, Any] = {}

        def step(options: Options) -> None:
            for x, weight, g in layers:
                y = int8_linear(x, weight, limit, options=options)
                torch.autograd.grad(y, (x, weight), g)

        def gradients(options: Options) -> Any:
            x, weight, g = layers[0]
            y = int8_linear(x, weight, limit, options=options)
            return torch.cat([p.flatten().float() for p in torch.autograd.grad(y, (x, weight), g)])

        for name, (forward, backward) in WAYS.items():
            options = Options(forward, backward)

            def error(options: Options = options) -> float:
                if not first:
                    first["exact"] = gradients(Options("bf16"))
                got = gradients(options)
                return float((got - first["exact"]).norm() / first["exact"].norm())

            yield Contender(name, [lambda options=options: step(options)], error, 0.05)

    return make


def _layer(inputs: int, outputs: int) -> tuple[Any, Any, Any]:
    import torch

    x = torch.randn(TOKENS, inputs, device="cuda").clamp(-4, 4).bfloat16().requires_grad_()
    weight = (torch.randn(outputs, inputs, device="cuda") * inputs**-0.5).requires_grad_()
    return x, weight, torch.randn(TOKENS, outputs, device="cuda").bfloat16()


def attention_cases() -> Iterator[Case]:
    """Forward, and forward with gradients, over one causal document and over eight packed ones."""
    from kernels.training.attention.visible import flops_and_bytes

    for documents in (1, 8):
        pairs = TOKENS * (TOKENS / documents + 1) / 2
        for backward in (False, True):
            work = flops_and_bytes(pairs, TOKENS, HEADS, 1, 128)
            more = flops_and_bytes(pairs, TOKENS, HEADS, 1, 128, backward=True)
            flops = work.flops + (more.flops if backward else 0)
            what = "with gradients" if backward else "forward"
            shape = f"{HEADS} heads, {TOKENS} tokens in {documents}, {what}"
            yield Case("visible_attention", shape, _attention(documents, backward), flops)


def _attention(documents: int, backward: bool) -> Callable[[], Iterator[Contender]]:
    def make() -> Iterator[Contender]:
        import torch

        from kernels.training.attention.visible import Options, visible_attention

        parts = [_operand(n) for n in (HEADS, 1, 1)]
        blocks, g = _documents(documents), torch.randn_like(parts[0])

        def run(attend: Callable[[], Any]) -> Any:
            if not backward:
                with torch.no_grad():
                    return attend()
            return torch.autograd.grad(attend(), parts, g)

        def sdpa() -> Any:
            q, k, v = (x.transpose(1, 2) for x in parts)
            attend = torch.nn.functional.scaled_dot_product_attention
            return attend(q, k, v, is_causal=True, enable_gqa=True).transpose(1, 2)

        def error() -> float:
            got, want = visible_attention(*parts, blocks).detach().float(), sdpa().detach().float()
            return float((got - want).norm() / want.norm()) if documents == 1 else 0.0

        yield Contender(OURS, [lambda: run(lambda: visible_attention(*parts, blocks))], error, 0.02)
        int8 = Options(int8=True)
        yield Contender(
            "ours, int8 forward", [lambda: run(lambda: visible_attention(*parts, blocks, int8))]
        )
        yield Contender("torch SDPA, one causal document", [lambda: run(sdpa)])

    return make


def _operand(heads: int) -> Any:
    import torch

    made = torch.randn(1, TOKENS, heads, 128, device="cuda").clamp(-4, 4)
    return made.bfloat16().requires_grad_()


def _documents(count: int) -> Any:
    import torch

    from kernels.training.attention.blocks import Seen, make_blocks

    at = torch.arange(TOKENS, device="cuda", dtype=torch.int32)[None]
    start = at // (TOKENS // count) * (TOKENS // count)
    return make_blocks(Seen(start.contiguous(), (at + 1).contiguous()))


def row_cases() -> Iterator[Case]:
    """Operators that are bound by bytes, beside copies."""
    from kernels.training import zreg
    from kernels.training.distill import subsample
    from kernels.training.qat import quantise
    from kernels.training.steps import ternary

    rows = 4096
    works = {
        "zreg_gradient": zreg.flops_and_bytes(rows, VOCAB),
        "gumbel_keys": subsample.flops_and_bytes(rows, VOCAB),
        "quantise_rows": quantise.flops_and_bytes(TOKENS, FFN),
        "ternary_pack": ternary.flops_and_bytes(GRADIENTS),
    }
    for name, work in works.items():
        yield Case(name, _ROW_SHAPES[name], _rows(name, work.bytes), *work)


_ROW_SHAPES = {
    "zreg_gradient": f"4096 x {VOCAB} bf16",
    "gumbel_keys": f"4096 x {VOCAB} bf16",
    "quantise_rows": f"{TOKENS} x {FFN} bf16",
    "ternary_pack": "2^27 bf16",
}


def _rows(name: str, moved: float) -> Callable[[], Iterator[Contender]]:
    def make() -> Iterator[Contender]:
        yield Contender(OURS, [_row_call(name)])
        yield from copies(moved)

    return make


def _row_call(name: str) -> Callable[[], object]:
    import torch

    from kernels.training import zreg
    from kernels.training.distill import subsample
    from kernels.training.qat import quantise
    from kernels.training.squinch.noise import Noise
    from kernels.training.steps import ternary

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, device="cuda", dtype=torch.bfloat16)

    if name == "ternary_pack":
        wish = normal(GRADIENTS)
        return lambda: ternary.ternary_pack(wish, Noise(1))
    if name == "quantise_rows":
        x = normal(TOKENS, FFN)
        return lambda: quantise.quantise_rows(x)
    logits, rows = normal(4096, VOCAB), torch.arange(4096, device="cuda")
    if name == "gumbel_keys":
        return lambda: subsample.gumbel_keys(logits, rows, 1, 1.0)
    g = normal(4096, VOCAB)
    return lambda: zreg.zreg_gradient(logits, g, 0.1)


def every_case() -> list[Case]:
    """All of them, the ones with aims first."""
    return [*squinch_cases(), *linear_cases(), *attention_cases(), *row_cases()]
