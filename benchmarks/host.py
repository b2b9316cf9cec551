"""What a measurement was made on: machines differ, so no figure goes without it."""

import os
import platform
from importlib.metadata import version
from typing import Any

import kaiju_sim
from kaiju_sim.report.provenance import git_state, processor

PACKAGES = ("numba", "llvmlite", "numpy", "simpy")


def machine() -> dict[str, Any]:
    """The machine and how busy it is (runnable processes over the last minute)."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "system": platform.system(),
        "architecture": platform.machine(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "load_1min": load,
    }


def versions() -> dict[str, Any]:
    """Python, the packages that the speed depends on, and the simulator with its commit."""
    found: dict[str, Any] = {"python": platform.python_version()}
    found |= {name: version(name) for name in PACKAGES}
    return found | {"kaiju_sim": kaiju_sim.__version__} | git_state()
