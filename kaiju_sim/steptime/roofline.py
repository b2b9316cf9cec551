"""Analytic step time: each operator takes the longer of its arithmetic and its memory traffic.

What is modelled, per rank: matrix products (weights, inputs and outputs moved against operations),
the element-wise work between them, KV writes, the output head and the sampler, decode and prefill
attention, all-reduces, host overhead. Efficiencies say which share of the GPU's peaks is reached.
docs/model.md has each equation, its constants and sources, and what is left out (tile
rounding, launch gaps, small-kernel floors, overlap, chunks short enough to be bound by KV reads).

Tensor parallel: query heads, FFN and vocabulary are split over the ranks; a KV head is replicated
where there are fewer of them than ranks, so MQA reads and stores all its KV on every rank.
"""

from typing import NamedTuple

import numpy as np

from kaiju_sim.catalog.gpus import Gpu
from kaiju_sim.catalog.models import Model
from kaiju_sim.steptime.curves import OPERATORS, Curves
from kaiju_sim.steptime.grid import Floats, lines_on_grid

NS = 1e9
LOGIT_BYTES = 4
SAMPLER_PASSES = 2
ATTENTION_SHARE = 0.5
"""Attention reaches about half the share of peak that matrix products reach: an int8-QK, 16-bit-PV
kernel measured 394-446 TOPS on an H100 (0.30-0.34 of its mixed peak), matrix products 0.66."""


class Efficiency(NamedTuple):
    """Shares of the GPU's peaks that are reached; (1, 1, 1) gives the floor."""

    compute: float
    """Matrix products, of the dense operations per second."""
    memory: float
    """Memory and NVLink bandwidth."""
    attention: float
    """Attention, of the dense operations per second."""


def usual_efficiency(compute: float, memory: float) -> Efficiency:
    """The scenario's two efficiencies, and attention's, which follows from the first."""
    return Efficiency(compute, memory, compute * ATTENTION_SHARE)


class Rank(NamedTuple):
    """One rank of a replica: the model's share on it, and the speeds that it reaches."""

    gpu: Gpu
    model: Model
    tensor_parallel: int
    efficiency: Efficiency

    @property
    def bytes_per_s(self) -> float:
        """Memory bandwidth reached."""
        return self.gpu.hbm_bytes_per_s * self.efficiency.memory

    @property
    def q_width(self) -> int:
        """Query columns on this rank."""
        return self.model.q_width // self.tensor_parallel

    @property
    def ffn(self) -> int:
        """FFN columns on this rank."""
        return self.model.ffn // self.tensor_parallel

    @property
    def kv_width(self) -> int:
        """K and V columns on this rank."""
        return 2 * self.model.head_dim * self.model.rank_kv_heads(self.tensor_parallel)

    def peak_ops_per_s(self, operand_bytes: int) -> float:
        """Dense operations per second for operands of 1 byte (int8) or 2 (bf16)."""
        return self.gpu.int8_ops_per_s if operand_bytes == 1 else self.gpu.bf16_ops_per_s


def roofline_curves(rank: Rank, host_overhead_s: float, max_rows: int, max_seqs: int) -> Curves:
    """All curves of a replica of `rank.tensor_parallel` such ranks."""
    rows = np.arange(max_rows + 1, dtype=np.float64)
    seqs = np.arange(max_seqs + 1, dtype=np.float64)
    decode, prefill = decode_token_s(rank) * NS, prefill_pair_s(rank) * NS
    model = rank.model
    layers = (*(model.global_layers, model.local_layers) * 2, 0)
    units = (decode, decode, prefill, prefill, decode)
    lines = [_line(count * unit) for count, unit in zip(layers, units, strict=True)]
    return Curves(
        kind=OPERATORS,
        mean_ns=0.0,
        host_ns=host_overhead_s * NS,
        rows_ns=rows_s(rank, rows) * NS,
        seqs_ns=seqs_s(rank, seqs) * NS,
        slope=np.stack([slope for slope, _ in lines]),
        offset=np.stack([offset for _, offset in lines]),
        rounds=np.zeros(1, np.int64),
        each=False,
    )


def _line(ns_per_unit: float) -> tuple[Floats, Floats]:
    return lines_on_grid(lambda x: ns_per_unit * x)


def rows_s(rank: Rank, rows: Floats) -> Floats:
    """Time of all that depends on a step's token rows; 0 for 0 rows."""
    moved = (elementwise_row_bytes(rank) + cache_write_row_bytes(rank)) * rows / rank.bytes_per_s
    total = layers_matmul_s(rank, rows) + moved + all_reduce_s(rank, rows)
    return np.where(rows > 0, total, 0.0)


def seqs_s(rank: Rank, seqs: Floats) -> Floats:
    """Time of the output head and the sampler, by sequences that sample; 0 for none."""
    vocab = rank.model.vocab / rank.tensor_parallel
    head = matmul_s(rank, seqs, rank.model.hidden, vocab)
    sampler = SAMPLER_PASSES * LOGIT_BYTES * vocab * seqs / rank.bytes_per_s
    return np.where(seqs > 0, head + sampler, 0.0)


def matmul_s(rank: Rank, rows: Floats, inputs: float, outputs: float) -> Floats:
    """One product of rows x inputs by inputs x outputs: weights, inputs and outputs against MMA."""
    model = rank.model
    weights = inputs * outputs * model.weight_bytes
    moved = weights + rows * (inputs * model.weight_bytes + outputs * model.activation_bytes)
    peak = rank.peak_ops_per_s(model.weight_bytes) * rank.efficiency.compute
    return np.maximum(moved / rank.bytes_per_s, 2.0 * rows * inputs * outputs / peak)


def layers_matmul_s(rank: Rank, rows: Floats) -> Floats:
    """All matrix products of all layers; only KV owners project K and V."""
    model = rank.model
    own = matmul_s(rank, rows, model.hidden, rank.q_width + rank.kv_width)
    borrow = matmul_s(rank, rows, model.hidden, rank.q_width)
    out = matmul_s(rank, rows, rank.q_width, model.hidden)
    up = matmul_s(rank, rows, model.hidden, rank.ffn * (model.ffn_matrices - 1))
    down = matmul_s(rank, rows, rank.ffn, model.hidden)
    projections = model.kv_owners * own + (model.layers - model.kv_owners) * borrow
    return projections + model.layers * (out + up + down)


def elementwise_row_bytes(rank: Rank) -> float:
    """Bytes moved per row between the matrix products, all layers, element-wise work fused.

    Before each of the two sub-layers: add, norm, clamp, quantise (reads residual and the last
    output, writes residual and the quantised input). After attention: quantise. In the FFN: clamp,
    ReLU squared, quantise.
    """
    model = rank.model
    wide, narrow = model.activation_bytes, model.weight_bytes
    norms = 2 * (3 * wide + narrow) * model.hidden
    attention = (wide + narrow) * rank.q_width
    ffn = (wide * (model.ffn_matrices - 1) + narrow) * rank.ffn
    return float(model.layers * (norms + attention + ffn))


def cache_write_row_bytes(rank: Rank) -> float:
    """Bytes moved per row to write K and V: read as activations, written as KV, by the owners."""
    model = rank.model
    return float(model.kv_owners * rank.kv_width * (model.activation_bytes + model.kv_bytes))


def all_reduce_s(rank: Rank, rows: Floats) -> Floats:
    """Two ring all-reduces of the residual per layer; none on a single rank."""
    ranks, model, gpu = rank.tensor_parallel, rank.model, rank.gpu
    if ranks == 1:
        return np.zeros_like(rows)
    moved = 2.0 * (ranks - 1) / ranks * rows * model.hidden * model.activation_bytes
    transfer = moved / (gpu.nvlink_bytes_per_s * rank.efficiency.memory)
    return 2 * model.layers * (gpu.all_reduce_latency_s + transfer)


def attention_pair_s(rank: Rank) -> float:
    """Arithmetic of one query token with one key token in one layer, all heads of the rank.

    QK runs at the KV's own precision (int8 where KV is int8), PV in bf16.
    """
    ops = 2.0 * rank.q_width
    qk = ops / rank.peak_ops_per_s(rank.model.kv_bytes)
    pv = ops / rank.peak_ops_per_s(2)
    return (qk + pv) / rank.efficiency.attention


def decode_token_s(rank: Rank) -> float:
    """Decode attention per token of context and layer: reading its KV, or its arithmetic."""
    read = rank.model.layer_kv_bytes(rank.tensor_parallel) / rank.bytes_per_s
    return max(read, attention_pair_s(rank))


def prefill_pair_s(rank: Rank) -> float:
    """Prefill attention per query-key pair and layer: arithmetic only (KV is read once a tile)."""
    return attention_pair_s(rank)
