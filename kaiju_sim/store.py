"""Figures of simulations, one file each, named by a hash of all that they depend on.

A file appears whole or not at all (`report.atomic`), says its own name and carries a checksum: what
was cut short all the same (a machine that lost power) is simulated again, never read.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kaiju_sim.errors import UserError
from kaiju_sim.report.atomic import probe, write_file

Figures = Mapping[str, Any]
"""What is kept of a simulation, as JSON has it."""


class Store:
    """A folder of figures by digest (`executor.sources.digest`)."""

    def __init__(self, folder: Path) -> None:
        """UserError where the folder cannot be made or written in."""
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot write {folder}: {error.strerror or error}") from error
        probe(folder)

    def get(self, digest: str) -> Figures | None:
        """The figures that were kept; None where there are none, or not in one piece."""
        try:
            kept = json.loads(self._path(digest).read_bytes())
            figures: Figures = kept["figures"]
            whole = kept["digest"] == digest and kept["sha256"] == _checksum(figures)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return figures if whole else None

    def put(self, digest: str, figures: Figures) -> None:
        """Keep figures."""
        kept = {"digest": digest, "sha256": _checksum(figures), "figures": figures}
        write_file(self._path(digest), json.dumps(kept).encode())

    def _path(self, digest: str) -> Path:
        return self.folder / f"{digest}.json"


def _checksum(figures: Figures) -> str:
    return hashlib.sha256(json.dumps(figures, sort_keys=True).encode()).hexdigest()
