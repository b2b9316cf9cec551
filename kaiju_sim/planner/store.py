"""Figures that are kept under a hash of whatever they depend on, so that nothing is done twice.

A file holds one replication's figures. It appears whole or not at all (`report.atomic`), so what a
killed process leaves is either there or missing, and the next one does what is missing.
"""

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import kaiju_sim
from kaiju_sim.errors import UserError
from kaiju_sim.report import atomic

_PACKAGE = Path(kaiju_sim.__file__).parent
_NOT_SIMULATED = ("audit", "cli", "planner", "report")
"""Packages whose sources do not change what a run gives."""

Figures = dict[str, Any]


def digest(*parts: str) -> str:
    """A name for what depends on these texts and on the simulator's sources."""
    return hashlib.sha256("\0".join((*parts, sources_digest())).encode()).hexdigest()[:32]


@cache
def sources_digest() -> str:
    """Hash of the simulator's sources, catalog and shipped profiles."""
    found = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*")):
        inside = path.relative_to(_PACKAGE)
        if inside.parts[0] not in _NOT_SIMULATED and path.suffix in (".py", ".yaml", ".json"):
            found.update(inside.as_posix().encode() + b"\0" + path.read_bytes())
    return found.hexdigest()


def file_digest(path: Path) -> str:
    """Hash of a file that a scenario names; empty if there is none (the run will say so)."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def opened(folder: Path) -> Path:
    """The folder, made if need be and cleared of what dead processes left; UserError if it cannot
    be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror or error}") from error
    atomic.probe(folder)
    return folder


def read(folder: Path, name: str) -> Figures | None:
    """Figures of that name; None where there are none, or not in one piece."""
    try:
        figures = json.loads((folder / f"{name}.json").read_bytes())
    except (OSError, ValueError):
        return None
    return figures if isinstance(figures, dict) else None


def write(folder: Path, name: str, figures: Figures) -> None:
    """Keep figures under that name."""
    atomic.write_file(folder / f"{name}.json", json.dumps(figures, sort_keys=True).encode())
