"""Names of what was measured, and where figures come from: card, clocks, versions, date, commit."""

import os
import platform
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

from kaiju_sim.catalog.gpus import gpu_names
from kaiju_sim.errors import UserError
from kaiju_sim.report.provenance import git_state

CARDS = {
    r"H100.*80GB HBM3": "H100-80GB",
    r"H200": "H200",
    r"A100-SXM4-80GB": "A100-80GB",
}
"""What the driver calls a card, and its name in the catalog. (An H100 PCIe or NVL is another.)"""
COMMIT_VARIABLE = "KAIJU_COMMIT"
"""Says the commit where the files are no checkout of it, as in an image; it wins."""
NO_COMMIT = "0000000"
PACKAGES = ("numpy", "torch", "triton")


def catalog_gpu(gpu_name: str, asked: str = "auto") -> str:
    """The catalog's name of a card; UserError if it is another than *asked* for, or not known."""
    found = [name for pattern, name in CARDS.items() if re.search(pattern, gpu_name)]
    found = [name for name in found if name in gpu_names()]
    if asked == "auto":
        if not found:
            raise UserError(
                f"{gpu_name[:80]} is not in the catalog ({', '.join(gpu_names())}): add it there, "
                "or say with --gpu which of them it is"
            )
        return found[0]
    if found and asked != found[0]:
        raise UserError(f"--gpu {asked}: this card is {gpu_name[:80]}, {found[0]} in the catalog")
    return asked


def profile_id(gpu: str, model: str, tensor_parallel: int, variant: str | None = None) -> str:
    """The id of a profile and the name of its folders, such as h100-80gb-kaiju-13b-tp1."""
    parts = [gpu, model, *([variant] if variant else []), f"tp{tensor_parallel}"]
    return re.sub(r"[^a-z0-9._-]+", "-", "-".join(parts).lower())


def software(versions: Mapping[str, str]) -> dict[str, str]:
    """Versions of all that ran: what the rig says, and what this process has."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return {**found, **versions}


def commit() -> tuple[str, bool]:
    """The commit of the measured code, and whether files differ from it."""
    said = os.environ.get(COMMIT_VARIABLE, "")
    if re.fullmatch(r"[0-9a-f]{7,40}", said):
        return said, False
    state = git_state()
    return (str(state["commit"]), bool(state["modified"])) if state else (NO_COMMIT, True)


def provenance(
    identity: Mapping[str, str],
    versions: Mapping[str, str],
    clocks: Sequence[Mapping[str, Any]],
    date: datetime,
    samples: Path,
) -> dict[str, Any]:
    """Provenance as the profile has it, from the card, the clocks seen, and the day."""
    revision, modified = commit()
    return {
        "gpu_name": identity["gpu_name"],
        "driver": identity["driver"],
        "sm_clock_mhz": _middle(clocks, "sm_mhz"),
        "memory_clock_mhz": _middle(clocks, "memory_mhz"),
        "versions": dict(versions),
        "date": date.date().isoformat(),
        "commit": revision,
        "modified": modified,
        "samples": f"calibrate/samples/{samples.name}",
    }


def _middle(clocks: Sequence[Mapping[str, Any]], name: str) -> float | None:
    known = [float(seen[name]) for seen in clocks if seen.get(name) is not None]
    return median(known) if known else None
