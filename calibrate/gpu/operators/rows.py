"""Operators that work row by row: embedding, norm, the four products, rotary embedding, head,
sampling. Each function gives calls on weights or inputs of their own, as `KaijuModel` makes them.
"""

from collections.abc import Callable, Sequence

import torch

from calibrate.gpu.operators.inputs import Bed, Calls
from calibrate.gpu.operators.replay import Call
from kernels.embedding import embedding
from kernels.model.linear import Linear
from kernels.model.model import Layer, Stream
from kernels.norm_quantise import norm_quantise
from kernels.product import Residual, SquaredRelu
from kernels.rotary_write import rotary_write
from kernels.sampling import sampling

TEMPERATURE = 0.8
LOGITS_SPREAD = 2.0


def embeddings(bed: Bed, rows: int) -> Calls:
    """Random tokens, each call its own."""
    model = bed.model
    out = bed.normal(rows, model.config.hidden)

    def call(tokens: torch.Tensor) -> Call:
        scale = model.config.embedding_scale
        return lambda: embedding(tokens, model.table, model.table_scale, scale=scale, out=out)

    tokens = [bed.ints(rows, len(model.table)) for _ in range(bed.copies(out.nbytes))]
    return [call(each) for each in tokens]


def norms(bed: Bed, rows: int) -> Calls:
    """With the sum of the residual stream, where that is part of the norm."""
    model, config = bed.model, bed.model.config
    kind = torch.int8 if config.weights == "int8" else torch.bfloat16

    def call(layer: Layer) -> Call:
        x = bed.normal(rows, config.hidden)
        delta = None if model.sums_in_products else bed.normal(rows, config.hidden)
        scale = None if delta is None else layer.attention_scale
        out = torch.empty(x.shape, dtype=kind, device=x.device)
        return lambda: norm_quantise(
            x, delta=delta, residual_scale=scale, out=out, limit=config.limit, eps=config.eps,
            chained=True,
        )  # fmt: skip

    count = bed.copies(rows * config.hidden * 5)
    return [call(model.layers[i % config.layers]) for i in range(count)]


def projections(bed: Bed, rows: int, *, owners: bool) -> Calls:
    """The fused projection of layers that own KV, or that have queries only."""
    config = bed.model.config
    x = bed.activations(rows, config.hidden)

    def call(linear: Linear) -> Call:
        return lambda: linear(x, config.activation_scale, chained=True)

    return [call(layer.qkv) for layer in bed.model.layers if config.owns(layer.index) == owners]


def sums(bed: Bed, rows: int, *, part: str) -> Calls:
    """`o` or `down`: onto the residual stream, or into a tensor that the ranks then add up."""
    model, config = bed.model, bed.model.config
    is_down = part == "down"
    width = config.ffn if is_down else config.q_width
    value = bed.activations(rows, width, squared=is_down)
    x_scale = config.middle_scale if is_down else config.activation_scale
    out = bed.normal(rows, config.hidden)

    def call(layer: Layer) -> Call:
        linear, scale = (
            (layer.down, layer.ffn_scale) if is_down else (layer.o, layer.attention_scale)
        )
        if not model.sums_in_products:
            return lambda: linear(value, x_scale, out=out, chained=True)
        return lambda: linear(value, x_scale, epilogue=Residual(out, scale), out=out, chained=True)

    return [call(layer) for layer in model.layers]


def ups(bed: Bed, rows: int) -> Calls:
    """The FFN's first product, with the squared ReLU."""
    config = bed.model.config
    x = bed.activations(rows, config.hidden)
    relu = SquaredRelu(config.limit, config.middle_scale)

    def call(linear: Linear) -> Call:
        return lambda: linear(x, config.activation_scale, epilogue=relu, chained=True)

    return [call(layer.up) for layer in bed.model.layers]


def rotaries(bed: Bed, rows: int) -> Calls:
    """In layers that own KV: with the write of K and V."""
    model, config = bed.model, bed.model.config
    owners = [layer for layer in model.layers if config.owns(layer.index)]

    def call(layer: Layer) -> Call:
        qkv = bed.normal(rows, config.projection(layer.index), spread=1.5)
        positions = bed.ints(rows, config.max_context)
        slots = bed.slots(rows, bed.kind(layer.index))
        is_int8 = layer.k_scale is not None
        return lambda: rotary_write(
            qkv, positions, model.rotary, k_scale=layer.k_scale,
            v_scale=layer.v_scale if is_int8 else None, pages=bed.cache.of(layer.index),
            slots=slots, limit=config.limit, chained=True,
        )  # fmt: skip

    count = bed.copies(rows * config.projection(owners[0].index) * 2)
    return [call(owners[i % len(owners)]) for i in range(count)]


def heads(bed: Bed, seqs: int) -> Calls:
    """Final norm and logits. The table alone is more than the L2 cache holds."""
    model = bed.model
    stream = _stream(bed, seqs)
    rows = torch.arange(seqs, dtype=torch.int32, device=bed.device)
    return [lambda: model.logits(stream, rows)] * bed.copies(model.table.nbytes)


def _stream(bed: Bed, rows: int) -> Stream:
    stream = bed.model.make_work(rows)
    for tensor in (stream.x, stream.delta):
        if tensor is not None:
            tensor.normal_(generator=bed.generator)
    return stream


def samplings(bed: Bed, seqs: int) -> Calls:
    """At a chat's temperature, without limits."""
    vocab, device = len(bed.model.table), bed.device
    temperature = torch.full((seqs,), TEMPERATURE, device=device)
    seed = torch.arange(seqs, dtype=torch.int64, device=device)
    number, active = torch.arange(seqs, dtype=torch.int32, device=device), bed.ints(seqs, 1) + 1
    out = torch.empty(seqs, dtype=torch.int32, device=device)

    def call(logits: torch.Tensor) -> Call:
        return lambda: sampling(logits, temperature, seed, number, active=active, out=out)

    count = bed.copies(seqs * vocab * 2)
    return [call(bed.normal(seqs, vocab, spread=LOGITS_SPREAD)) for _ in range(count)]


def by_rows(bed: Bed) -> dict[str, Callable[[int], Sequence[Call]]]:
    """Of operators over `rows`, what makes the calls. `q` only where layers share KV."""
    config = bed.model.config
    known: dict[str, Callable[[int], Sequence[Call]]] = {
        "embedding": lambda rows: embeddings(bed, rows),
        "norm": lambda rows: norms(bed, rows),
        "qkv": lambda rows: projections(bed, rows, owners=True),
        "rotary": lambda rows: rotaries(bed, rows),
        "o": lambda rows: sums(bed, rows, part="o"),
        "up": lambda rows: ups(bed, rows),
        "down": lambda rows: sums(bed, rows, part="down"),
    }
    if not all(config.owns(i) for i in range(config.layers)):
        known["q"] = lambda rows: projections(bed, rows, owners=False)
    return known


def by_seqs(bed: Bed) -> dict[str, Callable[[int], Sequence[Call]]]:
    """The same of operators over `seqs`."""
    return {"head": lambda seqs: heads(bed, seqs), "sampling": lambda seqs: samplings(bed, seqs)}
