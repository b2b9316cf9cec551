"""A job's folder: what was asked for, how far it is, what it left. Names are drawn, never typed.

task.json     what was asked for
state.json    state (waiting | running | done | failed | cancelled), progress, words
run/          the run directory, when it is done
base/         the one that it is held against, if any
result/       what is no run: a plan, a sweep, a table of break-its, an audit
"""

import json
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kaiju_sim.report.atomic import write_file

_NAME = re.compile(r"[0-9a-f]{32}")
RUN, BASE, RESULT = "run", "base", "result"
"""Folders of what a job leaves."""
FIGURES, REPORT = "result.json", "report.html"
"""What a result has."""
SHARED = "kept"
"""Folder of figures by the hash of what they depend on, for all jobs."""
MOST_KEPT = 20_000
"""Figures kept there; of more, the oldest go."""
KEPT = 40
"""Folders kept; of more, the oldest that have ended go."""
OPEN = ("waiting", "running")
"""States of a job that has not ended."""


@dataclass(frozen=True)
class State:
    """How far a job is."""

    state: str
    progress: float = 0.0
    """Fraction done."""
    words: str = ""
    """What it does, or what went wrong."""
    ready: int = 0
    """Parts of it that can be looked at before it is done."""

    @property
    def is_open(self) -> bool:
        """Whether it has not ended."""
        return self.state in OPEN


def root() -> Path:
    """Where jobs are kept: KAIJU_APP_DIR, or a folder of this user's in the temporary one."""
    stated = os.environ.get("KAIJU_APP_DIR")
    found = Path(stated) if stated else Path(tempfile.gettempdir()) / f"kaiju-app-{os.getuid()}"
    found.mkdir(mode=0o700, parents=True, exist_ok=True)
    return found


def is_name(text: str) -> bool:
    """Whether a text (from an address, say) could be a job's name."""
    return _NAME.fullmatch(text) is not None


def new(task: Mapping[str, Any], files: Mapping[str, bytes]) -> str:
    """A folder for a task and its files, whose names are ours; its own name cannot be guessed."""
    name = secrets.token_hex(16)
    folder = root() / name
    folder.mkdir(mode=0o700)
    for file, content in files.items():
        write_file(folder / file, content)
    write_file(folder / "task.json", json.dumps(task).encode())
    tell(folder, State("waiting"))
    return name


def folder_of(name: str) -> Path | None:
    """A job's folder; None where there is none (or the name is none)."""
    folder = root() / name if is_name(name) else None
    return folder if folder is not None and (folder / "task.json").is_file() else None


def task_of(folder: Path) -> dict[str, Any]:
    """What was asked for."""
    found: dict[str, Any] = json.loads((folder / "task.json").read_text(encoding="utf-8"))
    return found


def result_of(folder: Path) -> Any:
    """What a job found, as it was written; None before."""
    file = folder / RESULT / FIGURES
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def write_result(folder: Path, figures: Any, page: str, files: Mapping[str, bytes]) -> None:
    """Write what a job found, its page, and other files."""
    target = folder / RESULT
    target.mkdir(exist_ok=True)
    for name, content in files.items():
        write_file(target / name, content)
    write_file(target / REPORT, page.encode())
    write_file(target / FIGURES, json.dumps(figures, indent=1).encode())


def shared() -> Path:
    """The folder of figures that jobs share."""
    return root() / SHARED


def tell(folder: Path, state: State) -> None:
    """Write how far a job is; a reader sees the old words or the new ones."""
    write_file(folder / "state.json", json.dumps(asdict(state)).encode())


def state_of(folder: Path) -> State:
    """How far a job is."""
    return State(**json.loads((folder / "state.json").read_text(encoding="utf-8")))


def tidy() -> None:
    """Remove the oldest folders of jobs that have ended."""
    found = sorted(root().glob("*/task.json"), key=lambda file: file.stat().st_mtime)
    ended = [f.parent for f in found if is_name(f.parent.name) and not state_of(f.parent).is_open]
    for folder in ended[: max(0, len(found) - KEPT)]:
        shutil.rmtree(folder, ignore_errors=True)
    figures = sorted(shared().glob("*.json"), key=lambda file: file.stat().st_mtime)
    for file in figures[: max(0, len(figures) - MOST_KEPT)]:
        file.unlink(missing_ok=True)
