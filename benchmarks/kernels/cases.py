"""What is measured: one case for every operator and shape, with the work that it is.

`flops` counts a multiply and an add as two, and of causal attention half the square, as peers do.
`bytes` is what `tb_per_s` counts: for decode attention the keys and values that are visible, for
int8 products the weights, for all others everything read and written once. `least_bytes` is all
that must move, whatever is counted. Needs neither torch nor a GPU.
"""

import json
import math
import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

HEAD_DIM = 128
PAGE = 128
KV_BYTES = {"int8": 1, "float16": 2}
Shape = Mapping[str, Any]


@dataclass(frozen=True)
class Case:
    """An operator at a shape."""

    operator: str
    shape: Shape
    flops: float
    bytes: float
    least_bytes: float
    name: str = field(default="", compare=False)

    @property
    def key(self) -> tuple[str, str]:
        """What identifies its rows in a file."""
        return self.operator, shape_json(self.shape)


def shape_json(shape: Shape) -> str:
    """A shape as it stands in the files."""
    return json.dumps(dict(shape), sort_keys=True)


@dataclass(frozen=True)
class Model:
    """The dimensions that products have; those of the simulator's catalogue."""

    hidden: int
    heads: int
    ffn: int
    vocab: int

    def products(self) -> dict[str, tuple[int, int]]:
        """Every int8 product of the model: its name, and (N, K) of its weights.

        `qkv` is of layers that write keys and values, `q` of those that share another's.
        """
        width = self.heads * HEAD_DIM
        return {
            "qkv": (width + 2 * HEAD_DIM, self.hidden),
            "q": (width, self.hidden),
            "o": (self.hidden, width),
            "up": (self.ffn, self.hidden),
            "down": (self.hidden, self.ffn),
            "head": (self.vocab, self.hidden),
        }


MODELS = {
    "13b": Model(hidden=5120, heads=64, ffn=17536, vocab=65536),
    "34b": Model(hidden=7168, heads=64, ffn=30720, vocab=65536),
}
TOKENS = (16, 64, 256, 2048, 8192)
LONGEST = 32768


def spans(shape: Shape) -> list[tuple[int, int]]:
    """Visible keys of each sequence of a decode case, (start, limit), the same on every machine.

    Lengths are `equal`; `unaligned`, up to a page shorter than the context, so that windows begin
    and end inside pages; or `ragged`, from 1 to the context, as many short as long (log-uniform).
    """
    batch, context, window = shape["batch"], shape["context"], shape["window"]
    limits = [context] * batch
    if shape["lengths"] == "unaligned":
        limits = [context - 37 * i % PAGE for i in range(batch)]
    if shape["lengths"] == "ragged":
        draw = random.Random(1)
        limits = [round(math.exp(draw.uniform(0, math.log(context)))) for _ in range(batch)]
    return [(max(0, limit - window) if window else 0, limit) for limit in limits]


def decode(
    batch: int,
    context: int,
    heads: int = 64,
    *,
    window: int = 0,
    lengths: str = "equal",
    kv: str = "int8",
    kv_heads: int = 1,
) -> Case:
    """One query for each sequence against its paged context."""
    shape = {
        "batch": batch,
        "context": context,
        "heads": heads,
        "kv": kv,
        "kv_heads": kv_heads,
        "lengths": lengths,
        "window": window,
    }
    tokens = sum(limit - start for start, limit in spans(shape))
    kv_bytes = tokens * 2 * HEAD_DIM * kv_heads * KV_BYTES[kv]
    queries = batch * heads * (HEAD_DIM * (KV_BYTES[kv] + 2) + 4)
    name = f"decode {heads} heads {batch} x {context}"
    extra = [f"window {window}" if window else "", lengths if lengths != "equal" else ""]
    extra += [kv if kv != "int8" else "", f"{kv_heads} KV heads" if kv_heads > 1 else ""]
    return Case(
        "decode_attention",
        shape,
        flops=4.0 * heads * HEAD_DIM * tokens,
        bytes=kv_bytes,
        least_bytes=kv_bytes + queries,
        name=" ".join([name, *filter(None, extra)]),
    )


def plan(batch: int, context: int, lengths: str) -> Case:
    """Who works on what in a step: once for all layers that see the same."""
    shape = {"batch": batch, "context": context, "lengths": lengths, "window": 0}
    moved = 8.0 * batch
    return Case("decode_plan", shape, 0.0, moved, moved, f"decode plan {batch} {lengths}")


def prefill_plan(chunk: int, cached: int = 0, heads: int = 64) -> Case:
    """Which tiles of a chunk see what: once for all layers that see the same."""
    shape = {**prefill(chunk, cached=cached, heads=heads).shape}
    moved = 8.0 * chunk
    return Case("prefill_plan", shape, 0.0, moved, moved, f"prefill plan {chunk} after {cached}")


def shared_prefix(batch: int, group: int, prefix: int, own: int, heads: int = 64) -> Case:
    """Decode of sequences of which each `group` has the same pages for its first `prefix` tokens.

    Bytes are counted as if each read its own, so that sharing shows as more of them.
    """
    shape = {"batch": batch, "group": group, "heads": heads, "own": own, "prefix": prefix}
    tokens = batch * (prefix + own)
    least = 2.0 * HEAD_DIM * (batch // group * prefix + batch * own)
    return Case(
        "shared_prefix",
        shape,
        flops=4.0 * heads * HEAD_DIM * tokens,
        bytes=2.0 * HEAD_DIM * tokens,
        least_bytes=least,
        name=f"shared prefix {heads} heads {batch} x ({prefix} by {group} + {own})",
    )


def prefill(
    chunk: int,
    *,
    cached: int = 0,
    heads: int = 64,
    window: int = 0,
    kv: str = "int8",
    kv_heads: int = 1,
) -> Case:
    """A chunk of one sequence against itself (causal) and what is cached before it."""
    shape = {
        "cached": cached,
        "chunk": chunk,
        "heads": heads,
        "kv": kv,
        "kv_heads": kv_heads,
        "window": window,
    }
    ends = range(cached + 1, cached + chunk + 1)
    pairs = sum(min(end, window) if window else end for end in ends) - chunk / 2
    kv_bytes = 2.0 * HEAD_DIM * kv_heads * KV_BYTES[kv] * (cached + chunk)
    moved = kv_bytes + chunk * heads * (HEAD_DIM * (KV_BYTES[kv] + 2) + 4)
    extra = [f"after {cached}" if cached else "", f"window {window}" if window else ""]
    extra += [kv if kv != "int8" else "", f"{kv_heads} KV heads" if kv_heads > 1 else ""]
    return Case(
        "prefill_attention",
        shape,
        flops=4.0 * heads * HEAD_DIM * pairs,
        bytes=moved,
        least_bytes=moved,
        name=" ".join([f"prefill {heads} heads {chunk}", *filter(None, extra)]),
    )


def matmul(model: str, product: str, m: int, epilogue: str = "none") -> Case:
    """x [M, K] by weights [N, K], int8, row and column scales fused."""
    n, k = MODELS[model].products()[product]
    shape = {"epilogue": epilogue, "k": k, "m": m, "model": model, "n": n, "product": product}
    weights = float(n * k)
    out_bytes = 1 if epilogue == "relu2" else 2
    return Case(
        "matmul",
        shape,
        flops=2.0 * m * n * k,
        bytes=weights,
        least_bytes=weights + m * k + m * n * out_bytes + 4 * (m + n),
        name=f"matmul {model} {product} {m} x {n} x {k}"
        + (f" {epilogue}" if epilogue != "none" else ""),
    )


def norm_quantise(tokens: int, hidden: int) -> Case:
    """Residual sum, norm, clamp and int8: bf16 stream and delta in, stream and int8 out."""
    moved = 7.0 * tokens * hidden + 4 * hidden
    shape = {"hidden": hidden, "residual": True, "tokens": tokens}
    flops = 9.0 * tokens * hidden
    return Case("norm_quantise", shape, flops, moved, moved, f"norm {tokens} x {hidden}")


def rotary_write(tokens: int, heads: int) -> Case:
    """bf16 projection in, int8 queries with scales out, int8 keys and values into pages."""
    channels = (heads + 2) * HEAD_DIM
    shape = {"heads": heads, "kv_heads": 1, "tokens": tokens}
    moved = tokens * (3.0 * channels + 4 * heads + 4 * HEAD_DIM + 8)
    flops = 9.0 * tokens * channels
    return Case("rotary_write", shape, flops, moved, moved, f"rotary {tokens} x {heads} heads")


def embedding(tokens: int, hidden: int, vocab: int) -> Case:
    """Rows of the int8 table to the bf16 stream."""
    shape = {"hidden": hidden, "tokens": tokens, "vocab": vocab}
    moved = tokens * (3.0 * hidden + 8)
    flops = float(tokens * hidden)
    return Case("embedding", shape, flops, moved, moved, f"embedding {tokens} x {hidden}")


def sampling(batch: int, vocab: int, top_p: float) -> Case:
    """A token of each row of bf16 logits; `top_p` 0: the likeliest."""
    shape = {"batch": batch, "top_p": top_p, "vocab": vocab}
    moved = 2.0 * batch * vocab
    name = f"sampling {batch} x {vocab} " + (f"top-p {top_p}" if top_p else "greedy")
    return Case("sampling", shape, 3.0 * batch * vocab, moved, moved, name)


def ceiling(operator: str, megabytes: int) -> Case:
    """What the memory gives to anybody: `copy` (read and written) or `read`."""
    moved = megabytes * 2.0**20
    return Case(operator, {"mib": megabytes}, 0.0, moved, moved, f"{operator} {megabytes} MiB")


def _attention() -> Iterator[Case]:
    yield decode(128, 8192)
    yield decode(512, 8192)
    yield decode(256, 1024)
    yield decode(16, 8192)
    yield decode(64, 8192, heads=128)
    yield decode(512, 8192, window=1024)
    yield decode(512, 8192, window=1024, lengths="unaligned")
    yield decode(128, LONGEST, lengths="ragged")
    yield decode(128, 8192, heads=40)
    yield decode(64, 1024)
    yield decode(128, 8192, kv="float16")
    yield decode(16, 8192, kv_heads=8)
    yield decode(16, 8192, kv_heads=64)
    yield decode(16, 8192, kv_heads=8, kv="float16")
    yield plan(512, 8192, "equal")
    yield plan(512, LONGEST, "ragged")
    yield shared_prefix(256, 16, 4096, 1024)
    yield shared_prefix(512, 32, 2048, 2048)
    yield shared_prefix(256, 16, 4096, 1024, heads=40)
    yield from (prefill(chunk) for chunk in (1024, 4096, 16384))
    yield prefill_plan(16384)
    yield prefill(16384, window=1024)
    yield prefill(512, cached=4096)
    yield prefill(4096, kv="float16")
    yield prefill(4096, kv_heads=8)
    yield prefill(4096, kv_heads=64)


def _products() -> Iterator[Case]:
    for model, dims in MODELS.items():
        for product in dims.products():
            yield from (matmul(model, product, m) for m in TOKENS)
        yield matmul(model, "up", 1)
        yield from (matmul(model, "up", m, "relu2") for m in (64, 256, 2048))
        yield from (matmul(model, "down", m, "residual") for m in (64, 256, 2048))


def _rest() -> Iterator[Case]:
    for model in MODELS.values():
        yield from (norm_quantise(tokens, model.hidden) for tokens in (64, 512, 2048, 8192))
    yield from (rotary_write(tokens, 64) for tokens in (64, 512, 2048, 8192))
    yield embedding(512, 5120, 65536)
    yield from (sampling(batch, 65536, top_p) for batch in (64, 512) for top_p in (0.0, 0.9))
    yield ceiling("copy", 1024)
    yield ceiling("read", 1024)


def every_case() -> list[Case]:
    """All cases, in the order in which they are measured and shown."""
    return [*_rest(), *_attention(), *_products()]


def small_product(m: int, n: int, k: int, epilogue: str = "none") -> Case:
    """A product of no model."""
    shape = {"epilogue": epilogue, "k": k, "m": m, "n": n, "product": "small"}
    name = f"small matmul {m} x {n} x {k} {epilogue}"
    return Case("matmul", shape, 2.0 * m * n * k, n * k, n * k, name)


def small_cases() -> list[Case]:
    """Every operator at sizes that are quick in an interpreter and under a sanitizer."""
    return [
        decode(5, 300, lengths="ragged"),
        decode(2, 300, heads=40, window=150, lengths="unaligned"),
        decode(2, 200, heads=128),
        decode(2, 200, heads=8, kv_heads=2),
        decode(2, 200, heads=8, kv="float16"),
        decode(1, 1536, heads=16),  # cut into pieces that all its workers merge, on a GPU
        plan(5, 300, "ragged"),
        shared_prefix(6, 3, 256, 70, heads=16),
        prefill_plan(70, cached=200, heads=8),
        prefill(70, cached=200, heads=8),
        prefill(140, window=100, heads=8, kv_heads=2),
        prefill(70, heads=8, kv="float16"),
        *(small_product(m, 384, 256) for m in (1, 16, 200)),
        small_product(33, 256, 384, "relu2"),
        small_product(33, 256, 384, "residual"),
        norm_quantise(5, 640),
        rotary_write(5, 3),
        embedding(7, 640, 300),
        sampling(3, 2000, 0.0),
        sampling(3, 2000, 0.9),
    ]


def chosen(pattern: str | None) -> list[Case]:
    """Cases whose name has a match of the pattern."""
    return [case for case in every_case() if re.search(pattern or "", case.name)]
