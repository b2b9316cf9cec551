"""What an int8 KV scale that no longer fits does: measured on the attention operator.

`measured/scale_drift.json` (made by `scripts/measure_scale_drift.py`) has, for values `factor`
times as large as when scales were calibrated, the relative error of the operator's output and the
divergence of the stored integers from the calibrated ones. Linear in between, flat beyond.
"""

import json
from functools import cache
from importlib import resources

import numpy as np


@cache
def table() -> dict[str, list[float]]:
    """The measured columns: factor, output_error, kl_nats."""
    text = resources.files("kaiju_sim.incidents.measured").joinpath("scale_drift.json").read_text()
    rows = json.loads(text)["rows"]
    return {name: [float(row[name]) for row in rows] for name in rows[0]}


def output_error(factor: float) -> float:
    """Relative error of attention's output (Euclidean norm)."""
    return float(np.interp(factor, table()["factor"], table()["output_error"]))


def kl_nats(factor: float) -> float:
    """Divergence of the stored keys' distribution from the calibrated one, nats."""
    return float(np.interp(factor, table()["factor"], table()["kl_nats"]))
