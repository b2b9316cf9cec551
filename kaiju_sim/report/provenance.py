"""Where a run came from: versions, inputs and their hashes, the machine, the wall clock.

The only part of a run that may differ between two runs of one scenario. The machine's name and
the user's are left out on purpose, since run directories are passed around.
"""

import hashlib
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kaiju_sim

if TYPE_CHECKING:
    from kaiju_sim.scenario.schema import Scenario

_PACKAGES = ("numba", "numpy", "pyarrow", "simpy", "pydantic")


def collect(
    scenario_yaml: str,
    summary: Mapping[str, Any],
    *,
    seed: int,
    profile_sha256: str | None,
    command: Sequence[str],
    started: datetime,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """Everything about a run that its scenario does not say; `started` is aware, in UTC."""
    ended = datetime.now(UTC)
    return {
        "package": {"name": "kaiju-fleet-planner", "version": kaiju_sim.__version__} | git_state(),
        "seed": seed,
        "scenario_sha256": text_hash(scenario_yaml),
        "profile": _profile(summary) | {"sha256": profile_sha256},
        "sample_share": summary.get("results.sample_share"),
        "options": dict(options),
        "command": shlex.join(command),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "machine": _machine(),
        "started": started.isoformat(timespec="milliseconds"),
        "ended": ended.isoformat(timespec="milliseconds"),
        "wall_s": round((ended - started).total_seconds(), 3),
    }


def text_hash(text: str) -> str:
    """SHA-256 of a text in UTF-8, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def git_state() -> dict[str, Any]:
    """The commit, and whether files differ from it, when the package runs from its checkout."""
    root = Path(kaiju_sim.__file__).parents[1]
    if not (root / ".git").exists():
        return {}
    commit = _git(root, "rev-parse", "HEAD")
    if not commit:
        return {}
    return {"commit": commit, "modified": bool(_git(root, "status", "--porcelain"))}


def _git(root: Path, *words: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def profile_hash(scenario: "Scenario", base_dir: Path) -> str:
    """SHA-256 over the step-time curves that the engine read: what counts, whatever its file."""
    import numpy as np

    from kaiju_sim.fleet.setup.groups import build_groups

    digest = hashlib.sha256()
    for group in build_groups(scenario, base_dir):
        for part in group.step_time.curves:
            digest.update(np.ascontiguousarray(part, dtype=np.float64).tobytes())
    return digest.hexdigest()


def _profile(summary: Mapping[str, Any]) -> dict[str, Any]:
    names = ("id", "source", "rel_error_low", "rel_error_high", "kv_blocks")
    return {name: summary.get(f"profile.{name}") for name in names}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _machine() -> dict[str, Any]:
    return {
        "system": platform.system(),
        "release": platform.release(),
        "architecture": platform.machine(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "byte_order": sys.byteorder,
    }


def processor() -> str | None:
    """The processor's model name, where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or None
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, None)
