"""How wrong int8 decode attention is when the scales of its KV no longer fit.

    python scripts/measure_scale_drift.py > kaiju_sim/incidents/measured/scale_drift.json

KV scales are static, calibrated to clip at four standard deviations. Here keys and values are
`factor` times as large as they were then, and are written with the old scales: above 1 they clip,
below 1 they are coarse. The operator itself (`kernels.decode_attention`, in Triton's interpreter
where there is no GPU) is held against attention in float64 over the values before quantisation.
`kl`: divergence of the stored integers' distribution from the calibrated one, in nats, which is
what a guard in production can compute without the truth.
"""

import json
import os
import sys
from datetime import UTC, datetime
from statistics import fmean

if not os.path.exists("/dev/nvidia0"):
    os.environ.setdefault("TRITON_INTERPRET", "1")

import torch
import triton

from kernels.common.layout import (
    HEAD_DIM,
    PAGE,
    SOFTMAX_SCALE,
    KVPages,
    empty_pages,
    pack_values,
    quantise_rows,
)
from kernels.decode_attention import decode_attention

FACTORS = (0.25, 0.5, 0.71, 1.0, 1.41, 2.0, 2.83, 4.0, 8.0)
SEEDS = (0, 1, 2)
HEADS, CONTEXT = 16, 512
CLIP_SIGMAS, SPREAD = 4.0, 2.0


def stored_as(x: torch.Tensor, scale: float) -> torch.Tensor:
    """What is stored of values with a static scale."""
    return (x / scale).round().clamp(-127, 127).to(torch.int8)


def exact(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Attention of one token in float64."""
    p = torch.softmax(q.double() @ k.double().T * SOFTMAX_SCALE, -1)
    return p @ v.double()


def kl_nats(seen: torch.Tensor, known: torch.Tensor) -> float:
    """Divergence of two samples of int8, half a count added to each value."""
    p, q = (torch.bincount(x.flatten().long() + 127, minlength=255) + 0.5 for x in (seen, known))
    p, q = p / p.sum(), q / q.sum()
    return float((p * (p / q).log()).sum())


def measure(factor: float, seed: int) -> tuple[float, float]:
    """(relative error of the output, KL of the stored keys) at one factor."""
    generator = torch.Generator().manual_seed(seed)
    q = torch.randn((HEADS, HEAD_DIM), generator=generator) * SPREAD
    k, v = torch.randn((2, CONTEXT, HEAD_DIM), generator=generator)
    scale = CLIP_SIGMAS / 127
    k8, v8 = (stored_as(x * factor, scale) for x in (k, v))
    pages = KVPages(*empty_pages(CONTEXT // PAGE))
    pages.k[:] = k8.unflatten(0, (-1, 1, PAGE))
    pages.v[:] = pack_values(v8.unflatten(0, (-1, 1, PAGE)))
    q8, q_scale = quantise_rows(q[None] * scale)
    whole = torch.tensor([CONTEXT], dtype=torch.int32)
    table = torch.arange(CONTEXT // PAGE, dtype=torch.int32)[None]
    out = decode_attention(
        *(q8, q_scale, pages, torch.full((1, HEAD_DIM), scale), table, torch.zeros_like(whole)),
        whole,
    )
    truth = exact(q, k * factor, v * factor)
    error = (out[0].double() - truth).norm() / truth.norm()
    return float(error), kl_nats(k8, stored_as(k, scale))


def main() -> int:
    """Measure every factor and print the table."""
    rows = []
    for factor in FACTORS:
        found = [measure(factor, seed) for seed in SEEDS]
        error, kl = (round(fmean(column), 5) for column in zip(*found, strict=True))
        rows.append({"factor": factor, "output_error": error, "kl_nats": kl})
    origin = {
        "operator": "kernels.decode_attention, int8",
        "made_by": "scripts/measure_scale_drift.py",
        "date": datetime.now(UTC).date().isoformat(),
        "ran_on": "Triton interpreter, CPU" if "TRITON_INTERPRET" in os.environ else "GPU",
        "torch": torch.__version__,
        "triton": triton.__version__,
        "heads": HEADS,
        "context": CONTEXT,
        "seeds": list(SEEDS),
        "inputs": "normal keys, values and queries; logits N(0, 2) and scales of 4 sigma at 1",
    }
    json.dump({"provenance": origin, "rows": rows}, sys.stdout, indent=2)
    sys.stdout.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
