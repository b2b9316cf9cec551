"""The floor of a step: of each operator the longer of its bytes at 3.0 TB/s and its operations at
1,300 TOPS (half of that where operands have two bytes), times how often a step calls it.

Rows are those of the step, not the padded ones. The work is one rank's: heads and FFN are divided,
the embedding, which is the head too, is on every rank. What is no work of the model has no floor:
launch plans, and sums over ranks.
"""

from dataclasses import dataclass

from calibrate.report import works
from calibrate.report.works import Work
from calibrate.shapes import Chunk, StepShape
from kaiju_sim.catalog.models import Model

BYTES_PER_S = 3.0e12
OPS_PER_S = 1300e12
"""Of int8 operands."""
ATTENTION = ("decode_global", "decode_local", "prefill_global", "prefill_local")


@dataclass(frozen=True)
class Part:
    """An operator's share of a step."""

    operator: str
    """As in `calibrate.design.lists.operators`."""
    count: int
    """Calls in a step."""
    floor_s: float
    """Of all of them."""


@dataclass(frozen=True)
class Rank:
    """One rank's sizes."""

    model: Model
    tensor_parallel: int = 1

    @property
    def heads(self) -> int:
        """Query heads."""
        return self.model.heads // self.tensor_parallel

    @property
    def kv_heads(self) -> int:
        """KV heads."""
        return self.model.rank_kv_heads(self.tensor_parallel)

    @property
    def ffn(self) -> int:
        """Width of the FFN's middle."""
        return self.model.ffn // self.tensor_parallel

    @property
    def sums_in_norms(self) -> bool:
        """Whether the residual is added by the norms: several ranks, or bf16 products."""
        return self.tensor_parallel > 1 or self.model.weight_bytes == 2


def floor_s(work: Work, element_bytes: int = 1) -> float:
    """Seconds that a call takes at least."""
    return max(work.bytes / BYTES_PER_S, work.ops * element_bytes / OPS_PER_S)


def parts_of(model: Model, shape: StepShape, tensor_parallel: int = 1) -> list[Part]:
    """Every operator that a step of this shape calls, in the order of a step."""
    rank = Rank(model, tensor_parallel)
    found = [*_plans(model, shape), *_rows(rank, shape.rows), *_attention(rank, shape)]
    if tensor_parallel > 1:
        found.append(Part("all_reduce", 2 * model.layers, 0.0))
    if shape.seqs:
        found += _head(rank, shape.seqs)
    return [part for part in found if part.count]


def step_floor_s(model: Model, shape: StepShape, tensor_parallel: int = 1) -> float:
    """Seconds that a step takes at least."""
    return sum(part.floor_s for part in parts_of(model, shape, tensor_parallel))


def _plans(model: Model, shape: StepShape) -> list[Part]:
    kinds = (model.global_layers > 0) + (model.local_layers > 0)
    names = [("plan_decode", shape.decodes), ("plan_prefill", shape.chunks)]
    return [Part(name, kinds if there else 0, 0.0) for name, there in names]


def _rows(rank: Rank, rows: int) -> list[Part]:
    """Operators that work row by row."""
    model, size = rank.model, rank.model.weight_bytes
    layers, owners = model.layers, model.kv_owners
    q = rank.heads * works.HEAD_DIM
    kv = 2 * rank.kv_heads * works.HEAD_DIM
    norm = works.norm(rows, model.hidden, adds=rank.sums_in_norms, out_bytes=size)
    up = works.product(rows, rank.ffn, model.hidden, out_bytes=size, element_bytes=size)
    write, turn = (
        floor_s(works.rotary(rows, rank.heads, rank.kv_heads, writes_kv=w, kv_bytes=model.kv_bytes))
        for w in (True, False)
    )
    return [
        Part("embedding", 1, floor_s(works.embedding(rows, model.hidden))),
        Part("norm", 2 * layers, 2 * layers * floor_s(norm)),
        _product(
            rank, "qkv", owners, works.product(rows, q + kv, model.hidden, element_bytes=size)
        ),
        _product(
            rank, "q", layers - owners, works.product(rows, q, model.hidden, element_bytes=size)
        ),
        Part("rotary", layers, owners * write + (layers - owners) * turn),
        _product(rank, "o", layers, _sum(rank, rows, q)),
        _product(rank, "up", layers, up),
        _product(rank, "down", layers, _sum(rank, rows, rank.ffn)),
    ]


def _sum(rank: Rank, rows: int, width: int) -> Work:
    """`o` or `down`: onto the residual stream, where no norm adds it."""
    model = rank.model
    return works.product(
        rows, model.hidden, width, adds=not rank.sums_in_norms, element_bytes=model.weight_bytes
    )


def _product(rank: Rank, name: str, count: int, work: Work) -> Part:
    return Part(name, count, count * floor_s(work, rank.model.weight_bytes))


def _attention(rank: Rank, shape: StepShape) -> list[Part]:
    """Decode and prefill attention of both kinds of layers."""
    model = rank.model
    kinds = (("global", model.global_layers, None), ("local", model.local_layers, model.window))
    found = []
    for kind, layers, window in kinds:
        near = shape.context if window is None else shape.window(window)
        pairs = shape.pairs if window is None else shape.near(window)
        rows, keys = len(shape.decodes), sum(_keys(chunk, window) for chunk in shape.chunks)
        decode = _one(rank, rows, near, near - _shared(shape, window))
        prefill = _one(rank, sum(chunk.new for chunk in shape.chunks), pairs, keys)
        found.append(Part(f"decode_{kind}", layers if rows else 0, layers * decode))
        found.append(Part(f"prefill_{kind}", layers if shape.chunks else 0, layers * prefill))
    return found


def _one(rank: Rank, rows: int, pairs: int, keys: int) -> float:
    model = rank.model
    work = works.attention(
        rows, pairs, keys, rank.heads, rank.kv_heads, kv_bytes=model.kv_bytes,
        out_bytes=model.weight_bytes,
    )  # fmt: skip
    return floor_s(work, model.kv_bytes)


def _keys(chunk: Chunk, window: int | None) -> int:
    """Tokens whose K and V a chunk reads: with a window, those that its first row sees and on."""
    seen = chunk.cached if window is None else min(chunk.cached, window - 1)
    return seen + chunk.new


def _shared(shape: StepShape, window: int | None) -> int:
    """Keys that are read once for several sequences; those in a window are not counted."""
    if window is not None or shape.shared_group == 1:
        return 0
    groups = -(-len(shape.decodes) // shape.shared_group)
    return (len(shape.decodes) - groups) * shape.shared_tokens


def _head(rank: Rank, seqs: int) -> list[Part]:
    """Final norm and logits of the sequences that sample, and the sampler. The table is int8 in
    every variant."""
    model = rank.model
    norm = floor_s(works.norm(seqs, model.hidden, adds=rank.sums_in_norms))
    logits = floor_s(works.product(seqs, model.vocab, model.hidden))
    return [
        Part("head", 1, norm + logits),
        Part("sampling", 1, floor_s(works.sampling(seqs, model.vocab))),
    ]
