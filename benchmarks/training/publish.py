"""Measured figures of training as package data of the simulator, from the files of results."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.kernels.store import read, read_json
from benchmarks.training import aims, store
from benchmarks.training.cases import GRADIENTS, TOKENS
from benchmarks.training.layers import SHAPE
from kaiju_sim.economics.measured.training import BF16, BOTH, FORWARD
from kernels.model.state.files import renamed

CATALOG = {"h100-80gb-hbm3": "H100-80GB"}
"""Catalog names of GPUs that are measured."""
FILE = Path(__file__).parents[2] / "kaiju_sim/economics/measured/training.json"


def content(gpu: str, folder: Path) -> dict[str, Any]:
    """The file's. Raises ValueError for what is not measured."""
    rows = read(store.path(gpu, ".parquet", folder))
    runs = read_json(store.path(gpu, ".json", folder))["runs"]
    layer = _step(rows, ("layer_step", SHAPE))
    (run,) = [r for r in runs if r["run"] == layer["run"]]
    return {
        "gpu": CATALOG[gpu], "gpu_name": run["gpu"], "date": run["run"][:10],
        "commit": run["commit"], "command": run["command"], "tokens": TOKENS,
        "linear": _without_run(_step(rows, ("linear_step", f"13B all four, {TOKENS} tokens"))),
        "layer": _without_run(layer),
        "pack_per_s": GRADIENTS / _us(rows, ("squinch_pack", "bf16 nearest"), "ours") * 1e6,
        "unpack_per_s": GRADIENTS / _us(rows, ("squinch_unpack", "bf16 1 rank"), "ours") * 1e6,
    }  # fmt: skip


def _us(rows: Sequence[Mapping[str, Any]], case: tuple[str, str], impl: str) -> float:
    found = aims.median_us(rows, *case, impl)
    if found is None:
        raise ValueError(f"{' '.join(case)}, {impl}: is not measured")
    return found


def _step(rows: Sequence[Mapping[str, Any]], case: tuple[str, str]) -> dict[str, Any]:
    us = {way: _us(rows, case, way) for way in (BF16, FORWARD, BOTH)}
    (row,) = [r for r in rows if (r["operator"], r["shape"], r["impl"]) == (*case, BF16)]
    seconds = {way: time * 1e-6 for way, time in us.items()}
    return {"flops": row["tops"] * row["us_median"] * 1e6, "seconds": seconds, "run": row["run"]}


def _without_run(step: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in step.items() if name != "run"}


def publish(gpu: str, folder: Path, file: Path = FILE) -> None:
    """Write it, whole or not at all."""
    found = content(gpu, folder)
    with renamed(file) as temporary:
        temporary.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
