"""The few measured step times that the crossover of `kaiju_sim.economics` reads, as package data.

    python -m calibrate.report.attention > kaiju_sim/economics/measured/attention.json

The simulator does not read samples; a test compares the file with them.
"""

import json
import sys
from pathlib import Path
from typing import Any

from calibrate.design.lists.variants import LARGEST, UNDOES
from calibrate.provenance import profile_id
from calibrate.publish import SAMPLES
from calibrate.report.steps import CONTEXT, Measured, shown_steps
from calibrate.report.worth import samples_id
from calibrate.samples import read_job
from kaiju_sim.errors import UserError

GPU, MODEL, RANKS = "H100-80GB", "kaiju-13b", 1
DESIGNS = (None, "gqa-8", "mha", "bf16-gqa-8", "bf16-mha")
PREFILL = "n2048"


def attention_figures(samples: Path = SAMPLES) -> dict[str, Any]:
    """Decode at the largest batch that fits (up to 256) and prefill of each design, with origin."""
    return {
        "gpu": GPU,
        "model": MODEL,
        "context": CONTEXT,
        "designs": [_design(samples, name) for name in DESIGNS],
    }


def _design(samples: Path, variant: str | None) -> dict[str, Any]:
    name = samples_id(samples, (GPU, MODEL, RANKS), variant)
    steps = {step.name: step for step in shown_steps(samples / name)}
    if PREFILL not in steps:
        raise UserError(f"{name}: no measured step {PREFILL}")
    decode, prefill = _largest(steps), steps[PREFILL]
    provenance = read_job(samples / name)["provenance"]
    return {
        "id": profile_id(GPU, MODEL, RANKS, variant),
        "variant": variant or "as designed",
        "undoes": UNDOES[variant] if variant else "",
        "decode_batch": len(decode.shape.decodes),
        "decode_step_s": decode.wall_s,
        "prefill_tokens": prefill.shape.chunks[0].new,
        "prefill_step_s": prefill.wall_s,
        **{key: provenance[key] for key in ("gpu_name", "driver", "date", "commit")},
    }


def _largest(steps: dict[str, Measured]) -> Measured:
    decodes = [s for s in steps.values() if 0 < len(s.shape.decodes) <= LARGEST]
    return max(decodes, key=lambda step: len(step.shape.decodes))


if __name__ == "__main__":
    sys.stdout.write(json.dumps(attention_figures(), indent=2) + "\n")
