"""What results depend on beside their task: the simulator's sources, catalog and profiles."""

import hashlib
from functools import cache, lru_cache
from pathlib import Path

import kaiju_sim

NOT_SIMULATED = ("audit", "cli", "diff", "executor", "planner", "report", "store.py", "sweep")
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


def digest(*parts: str) -> str:
    """A name for what depends on these texts and on the simulator's sources."""
    return hashlib.sha256("\0".join((*parts, sources_digest())).encode()).hexdigest()[:32]


def file_digest(path: Path) -> str:
    """SHA-256 of a file that a scenario names; empty if there is none (the run will say so)."""
    try:
        known = path.stat()
        return _content_digest(path, known.st_mtime_ns, known.st_size)
    except (OSError, ValueError):
        return ""


@lru_cache(maxsize=64)
def _content_digest(path: Path, changed_ns: int, size: int) -> str:
    """The same for a file as it is now: a trace is not read anew for every simulation."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
