"""A plan by the command of a user: its answer, wall clock and processor time."""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kaiju_sim.simulation import warm_up

LIMIT_S = 300.0


def planned(
    scenario: str, sets: Sequence[str], workers: int, folder: Path
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The plan's document, and what it took. The compiled code comes from the cache."""
    warm_up()
    words = ["plan", scenario, *(word for item in sets for word in ("--set", item))]
    words += ["--workers", str(workers), "--format", "json"]
    used, begun = _children_s(), time.perf_counter()
    command = [sys.executable, "-m", "kaiju_sim", *words, "--output", str(folder)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    wall_s = time.perf_counter() - begun
    took = {
        "command": "kaiju-sim " + " ".join(words),
        "wall_s": wall_s,
        "limit_s": LIMIT_S,
        "share_of_time": wall_s / LIMIT_S,
        "processor_s": _children_s() - used,
        "simulations": len(list((folder / "kept").glob("*.json"))),
    }
    return json.loads(done.stdout), took


def _children_s() -> float:
    """Processor time of all processes that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
