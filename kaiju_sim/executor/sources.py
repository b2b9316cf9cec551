"""What results depend on beside their task: the simulator's sources, catalog and profiles."""

import hashlib
from functools import cache
from pathlib import Path

import kaiju_sim

NOT_SIMULATED = ("audit", "cli", "diff", "executor", "planner", "report", "sweep")
"""Packages whose sources do not change what a run gives."""


@cache
def sources_digest() -> str:
    """SHA-256 over the sources, catalog and shipped profiles that a run depends on."""
    package = Path(kaiju_sim.__file__).parent
    found = hashlib.sha256()
    for path in sorted(package.rglob("*")):
        place = path.relative_to(package)
        if place.parts[0] not in NOT_SIMULATED and path.suffix in (".py", ".yaml", ".json"):
            found.update(place.as_posix().encode())
            found.update(path.read_bytes())
    return found.hexdigest()
