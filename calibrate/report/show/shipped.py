"""Steps beside their floors as data, beside the profile: what the dashboard draws."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from calibrate.publish import profile_file
from kaiju_sim.report.atomic import write_file

KINDS = {"b": ("decode", "{} x 4096"), "n": ("prefill", "{}")}
"""Steps by the letter of their name."""
KEPT = ("wall_ms", "gpu_ms", "floor_ms", "ratio", "required", "reached")


def write(report: Mapping[str, Any]) -> list[Path]:
    """`steps.json` beside each profile that the simulator ships; the files."""
    written = []
    for one in report["profiles"]:
        file = profile_file(one["id"], None).with_name("steps.json")
        if file.parent.is_dir():
            found = {"id": one["id"], "floor": report["floor"], "steps": rows(one["steps"])}
            write_file(file, f"{json.dumps(found, indent=1)}\n".encode())
            written.append(file)
    return written


def rows(steps: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The steps by the names that the tables have."""
    return [{"step": named(step["step"])} | {key: step[key] for key in KEPT} for step in steps]


def named(name: str) -> str:
    """b64 as "decode 64 x 4096", n512 as "prefill 512"."""
    match = re.fullmatch(r"([bn])(\d+)", name)
    if match is None:
        return name
    kind, form = KINDS[match[1]]
    return f"{kind} {form.format(match[2])}"
