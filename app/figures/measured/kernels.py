"""Kernels as measured on a GPU: ours beside others', and how near the card's limits.

A kernel's floor is the longer of two times, its bytes at the data sheet's bandwidth and its
operations at the data sheet's int8 peak (roofline). The files are the checkout's
(`python -m benchmarks.kernels` on a GPU writes them).
"""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from app.figures.scenarios import ROOT
from kaiju_sim.catalog.gpus import Gpu, find_gpu

Rows = list[dict[str, Any]]
FOLDER = ROOT / "benchmarks" / "results"
OURS = "ours"
CARDS: Mapping[str, str] = {"h100": "H100-80GB", "h200": "H200"}
"""GPUs of the catalog by how a file's name begins."""
MOST = 8
"""Shapes that are drawn at once."""


def files(folder: Path = FOLDER) -> list[str]:
    """Names of the measurements that there are."""
    found = (file.stem for file in sorted(folder.glob("kernels-*.parquet")))
    return [name for name in found if not name.endswith(("-accuracy", "-samples"))]


@cache
def measured(name: str) -> Rows:
    """The rows of a measurement."""
    if name not in files():
        return []
    found: Rows = pq.read_table(FOLDER / f"{name}.parquet").to_pylist()
    return found


@cache
def runs(name: str) -> Rows:
    """When, on what and with what it was measured."""
    file = FOLDER / f"{name}.json"
    if name not in files() or not file.is_file():
        return []
    kept = ("gpu", "run", "commit", "command", "torch", "cuda", "driver")
    found = json.loads(file.read_text(encoding="utf-8"))["runs"]
    return [{key: str(run[key]) for key in kept if key in run} for run in found]


def operators(name: str) -> list[str]:
    """Operators that others were measured beside, first those with the most rows."""
    rows = measured(name)
    names = dict.fromkeys(row["operator"] for row in rows)
    counts = {op: sum(row["operator"] == op for row in rows) for op in names}
    return sorted((op for op in names if op not in ("copy", "read")), key=lambda op: -counts[op])


def shapes(name: str, operator: str) -> list[str]:
    """Shapes of an operator, in words."""
    return list(
        dict.fromkeys(words(row["shape"]) for row in measured(name) if row["operator"] == operator)
    )


def words(shape: str) -> str:
    """A shape for people; what says nothing (no window, equal lengths) is left out."""
    found = json.loads(shape)
    kept = {key: value for key, value in found.items() if value not in (0, 0.0, "none", "equal")}
    return ", ".join(f"{key} {value}" for key, value in kept.items())


def beside(name: str, operator: str, chosen: Sequence[str]) -> Rows:
    """Time, speed and share of the floor of everyone measured on the chosen shapes."""
    gpu = card_of(name)
    return [
        row_of(row, gpu)
        for row in measured(name)
        if row["operator"] == operator and words(row["shape"]) in chosen
    ]


def card_of(name: str) -> Gpu:
    """The card that a file's name says."""
    key = name.removeprefix("kernels-").partition("-")[0]
    return find_gpu(CARDS.get(key, "H100-80GB"))


def row_of(row: Mapping[str, Any], gpu: Gpu) -> dict[str, Any]:
    """A measured row with its share of what the data sheet would allow."""
    us = row["us_median"]
    moved, done = row["tb_per_s"] * 1e12 * us * 1e-6, row["tops"] * 1e12 * us * 1e-6
    peak = gpu.bf16_ops_per_s if "bf16" in row["impl"] else gpu.int8_ops_per_s
    floor_us = max(moved / gpu.hbm_bytes_per_s, done / peak) * 1e6
    return {
        "shape": words(row["shape"]),
        "kernel": row["impl"],
        "whose": "ours" if row["impl"].startswith(OURS) else "others'",
        "us": round(us, 2),
        "us_p05": round(row["us_p05"], 2),
        "us_p95": round(row["us_p95"], 2),
        "TB/s": round(row["tb_per_s"], 3),
        "TOPS": round(row["tops"], 1),
        "floor_percent": round(100 * floor_us / us, 1),
        "repeats": row["repeats"],
    }


def sentence(name: str) -> str:
    """The measurement's origin in a line."""
    found = runs(name)
    if not found:
        return name
    last = found[-1]
    return f"{last.get('gpu', '')}, {last.get('run', '')[:10]}, commit {last.get('commit', '')}."
