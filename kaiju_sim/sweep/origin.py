"""Where a sweep's table came from: the only file of a sweep that two runs of it may differ in."""

import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import kaiju_sim
from kaiju_sim.executor.sources import sources_digest
from kaiju_sim.report.provenance import git_state


def origin(command: Sequence[str], started: datetime, done: int) -> dict[str, Any]:
    """Version, command, wall clock of the last part, points that were simulated then or before."""
    ended = datetime.now(UTC)
    return {
        "package": {"name": "kaiju-fleet-planner", "version": kaiju_sim.__version__} | git_state(),
        "sources_sha256": sources_digest(),
        "command": shlex.join(command),
        "points_done": done,
        "started": started.isoformat(timespec="milliseconds"),
        "ended": ended.isoformat(timespec="milliseconds"),
        "wall_s": round((ended - started).total_seconds(), 3),
    }
