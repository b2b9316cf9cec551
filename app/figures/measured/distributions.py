"""Distributions of whole runs: the GPU engine's and the simulator's, of the same messages."""

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

Rows = list[dict[str, Any]]
NAMES: Mapping[str, str] = {
    "ttft": "time to first token",
    "tpot": "time per output token",
    "itl": "inter-token latency",
    "e2e": "end to end",
}


@cache
def found(profile: str) -> Mapping[str, Any]:
    """The distributions that ship beside a profile; empty where there are none."""
    file = files("kaiju_sim.catalog").joinpath("measured", profile, "distributions.json")
    shipped: Mapping[str, Any] = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    return shipped


def workloads(profile: str) -> list[str]:
    """Workloads that have distributions."""
    return list(dict.fromkeys(line["workload"] for line in found(profile).get("lines", ())))


def metrics(profile: str) -> list[str]:
    """Metrics that have them."""
    return list(dict.fromkeys(line["metric"] for line in found(profile).get("lines", ())))


def curves(profile: str, workload: str, metric: str) -> Rows:
    """Share of messages (percent) that are no later than so many milliseconds, by line."""
    shares = found(profile).get("shares", ())
    return [
        {"line": line["line"], "ms": round(seconds * 1e3, 3), "share": round(share * 100, 2)}
        for line in found(profile).get("lines", ())
        if (line["workload"], line["metric"]) == (workload, metric)
        for share, seconds in zip(shares, line["seconds"], strict=True)
        if seconds > 0
    ]
