"""Whole steps as measured, beside the least that they could take."""

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

Rows = list[dict[str, Any]]


@cache
def found(profile: str) -> Mapping[str, Any]:
    """The steps that ship beside a profile; empty where there are none."""
    file = files("kaiju_sim.catalog").joinpath("measured", profile, "steps.json")
    shipped: Mapping[str, Any] = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    return shipped


def times(profile: str) -> Rows:
    """Of each step what was measured and the floor, milliseconds."""
    return [
        {"step": step["step"], "time": name, "ms": round(step[key], 3)}
        for step in found(profile).get("steps", ())
        for name, key in (
            ("measured, with the host", "wall_ms"),
            ("measured, GPU alone", "gpu_ms"),
            ("floor (roofline)", "floor_ms"),
        )
    ]


def table(profile: str) -> Rows:
    """The steps with their ratios."""
    return [
        {
            "step": step["step"],
            "with host (ms)": round(step["wall_ms"], 3),
            "GPU (ms)": round(step["gpu_ms"], 3),
            "floor (ms)": round(step["floor_ms"], 3),
            "times the floor": round(step["ratio"], 2),
            "must": "" if step["required"] is None else f"{step['required']:g}",
            "reached": {True: "yes", False: "no", None: ""}[step["reached"]],
        }
        for step in found(profile).get("steps", ())
    ]


def sentence(profile: str) -> str:
    """What the floor is."""
    floor = found(profile)["floor"]
    return (
        "Floor: of each operator the longer of its bytes at"
        f" {floor['bytes_per_s'] / 1e12:.1f} TB/s and its operations at"
        f" {floor['int8_ops_per_s'] / 1e12:,.0f} TOPS, one after the other."
    )
