"""An engine whose true step times are known: staircases, floors, rounds, and noise.

Its costs look like those of Kaiju 13B on an H100 with the kernels of this repository, and come
from other formulas than the fit's: tiles in waves, prefill tiles dealt out longest first, back and
forth.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from calibrate.design.buckets import bucket_of
from calibrate.design.capacity import expected_capacity
from calibrate.design.plan import Plan, make_plan
from calibrate.samples import OPERATORS, STEPS
from calibrate.shapes import Chunk, StepShape, shape_columns
from kaiju_sim.catalog.gpus import find_gpu
from kaiju_sim.catalog.models import find_model

GLOBAL, LOCAL, WINDOW, PROGRAMS = 8, 40, 1024, 132
HIDDEN, Q, FFN, VOCAB = 5120, 8192, 17536, 65536
Item = tuple[str, str, StepShape]
"""Id, set and shape."""


def product_s(rows: int, n: int, k: int) -> float:
    """An int8 matrix product: its bytes, or waves of tiles of 128 x 128."""
    read = (n * k + rows * (k + 2 * n)) / 2.75e12
    waves = -(-(-(-rows // 128) * -(-n // 128)) // PROGRAMS)
    return max(read, waves * 2 * 128 * 128 * k * PROGRAMS / 1150e12) + 1.5e-6


def rows_s(rows: int) -> float:
    """Everything that depends on the padded rows."""
    padded = bucket_of(rows)
    sizes = ((Q + 256, HIDDEN), (HIDDEN, Q), (FFN, HIDDEN), (HIDDEN, FFN))
    products = sum(product_s(padded, n, k) for n, k in sizes)
    return (GLOBAL + LOCAL) * (products + 6e-6 + padded * 3 * HIDDEN * 4 / 2.6e12)


def seqs_s(seqs: int) -> float:
    """Output head and sampler."""
    return product_s(bucket_of(seqs), VOCAB, HIDDEN) + 2e-5 + 1e-7 * seqs if seqs else 0.0


def decode_s(contexts: Sequence[int]) -> float:
    """Decode attention: bytes, a floor, and something for each sequence."""
    if not contexts:
        return 0.0
    near = sum(min(context, WINDOW) for context in contexts)
    both = ((GLOBAL, sum(contexts)), (LOCAL, near))
    return sum(
        layers * ((1e-5**3 + (tokens * 256 / 2.6e12) ** 3) ** (1 / 3) + 3e-8 * len(contexts))
        for layers, tokens in both
    )


def prefill_s(chunks: Sequence[Chunk], window: int | None) -> float:
    """Prefill attention of a layer: tiles of two tokens, longest first, back and forth."""
    keys = []
    for chunk in chunks:
        ends = chunk.cached + np.minimum(np.arange(2, chunk.new + 2, 2), chunk.new)
        keys.append(ends if window is None else np.minimum(ends, window + 2))
    pages = np.sort(-(-np.concatenate(keys) // 128))[::-1]
    turns = -(-pages.size // PROGRAMS)
    work = np.zeros(turns * PROGRAMS)
    work[: pages.size] = pages * 128 * 1.15e-8 + 7e-7
    dealt = work.reshape(turns, PROGRAMS)
    dealt[1::2] = dealt[1::2, ::-1].copy()
    return max(float(dealt.sum(axis=0).max()), 4e-6) + 4e-6


def gpu_s(shape: StepShape) -> float:
    """A whole step on the GPU."""
    total = rows_s(shape.rows) + seqs_s(shape.seqs) + decode_s(shape.decodes)
    if shape.chunks:
        total += GLOBAL * prefill_s(shape.chunks, None) + LOCAL * prefill_s(shape.chunks, WINDOW)
    return total


def host_s(shape: StepShape) -> float:
    """What the GPU waits for."""
    return 2e-4 + 5e-7 * shape.seqs


def plan() -> Plan:
    """What the job measures of 13B on an H100."""
    model = find_model("kaiju-13b")
    return make_plan(model, 1, expected_capacity(find_gpu("H100-80GB"), model, 1))


def planned(*words: str) -> list[Item]:
    """Its steps whose id begins with one of these words; without words all of them."""
    chosen = plan()
    items = [*chosen.anchors, *chosen.steps]
    found = [item for item in items if not words or item.id.startswith(words)]
    return [(item.id, item.set, item.shape) for item in found]


def kind_of(shape: StepShape) -> str:
    """decode, prefill or mixed; or shared."""
    if shape.shared_group > 1:
        return "shared"
    if not shape.chunks:
        return "decode"
    return "mixed" if shape.decodes else "prefill"


def step_row(item: Item, rng: Random, noise: float, spoilt: float) -> dict[str, Any]:
    """A measured step: nine repetitions around a mean that is itself off by the noise."""
    name, of, shape = item
    drift = 1 + rng.gauss(0, noise)
    factor = 1.5 if of == "fit" and rng.random() < spoilt else 1.0
    gpus = [gpu_s(shape) * drift * factor * (1 + rng.gauss(0, noise)) for _ in range(9)]
    walls = [gpu + host_s(shape) * (1 + abs(rng.gauss(0, 0.05))) for gpu in gpus]
    times = {"wall_s": walls, "gpu_s": gpus, "visit": [0] * 9, "slowed_by": ""}
    times |= {"sm_mhz": 1980.0, "watts": 500.0, "at_s": 0.0}
    return {"id": name, "set": of, "kind": kind_of(shape), **shape_columns(shape), **times}


def operator_rows() -> list[dict[str, Any]]:
    """A few operators on their own, a twentieth slower than in a step."""
    found = []
    for rows in (16, 64, 128, 256, 512, 1024, 2048):
        for name, n, k in (("o", HIDDEN, Q), ("up", FFN, HIDDEN), ("down", HIDDEN, FFN)):
            seconds = 1.05 * product_s(rows, n, k)
            shape = json.dumps({"rows": rows})
            found.append({"operator": name, "shape": shape, "seconds": [seconds] * 3})
    return found


def job() -> dict[str, Any]:
    """`job.json` of such a job."""
    return {
        "id": "h100-80gb-kaiju-13b-tp1",
        "gpu": "H100-80GB",
        "model": "kaiju-13b",
        "variant": None,
        "tensor_parallel": 1,
        "kv_blocks": {"block_tokens": 128, "global": 290000, "local": 40000},
        "provenance": {
            "gpu_name": "NVIDIA H100 80GB HBM3",
            "driver": "580.1",
            "sm_clock_mhz": 1980.0,
            "memory_clock_mhz": 2619.0,
            "versions": {"torch": "2.11.0"},
            "date": "2026-11-22",
            "commit": "0123abc",
            "modified": False,
            "samples": "calibrate/samples/h100-80gb-kaiju-13b-tp1",
        },
    }


def write_samples(
    folder: Path,
    items: Sequence[Item],
    *,
    noise: float = 0.005,
    spoilt: float = 0.0,
    operators: bool = True,
) -> Path:
    """Measure these steps and write the folder's files. `spoilt`: share of fit steps gone wrong."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = Random(7)
    rows = [step_row(item, rng, noise, spoilt) for item in items]
    pq.write_table(pa.Table.from_pylist(rows, schema=STEPS), folder / "steps.parquet")
    calls = operator_rows() if operators else []
    if calls:
        pq.write_table(pa.Table.from_pylist(calls, schema=OPERATORS), folder / "operators.parquet")
    (folder / "job.json").write_text(json.dumps(job()))
    return folder
