"""`peak`: the peak hour of scenarios/published.yaml in full, by the command of a user.

20,000 messages a second for an hour after two minutes of warm-up, every message and every engine
step, on two processes, from the start of the command to its end with the run directory and the
report. Compiled code comes from the cache. Memory is the peak of each process, added up, which
counts shared pages more than once.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.loads.day import totals, watched
from kaiju_sim.simulation import warm_up

WORKERS = 2
LIMIT_S = 150.0
LIMIT_BYTES = 6 << 30
SETS = ("run.warm_up=2min", "run.horizon=62min")


def measure() -> dict[str, Any]:
    """Wall clock and memory beside their limits, and what was simulated."""
    warm_up()
    sets = [word for item in SETS for word in ("--set", item)]
    words = ["run", "scenarios/published.yaml", *sets, "--workers", str(WORKERS)]
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "peak"
        options = ["--quiet", "--format", "json", "--output", str(target)]
        wall_s, peaks = watched([sys.executable, "-m", "kaiju_sim", *words, *options])
        found = totals(target)
    memory = sum(peaks.values())
    return {
        "command": "kaiju-sim " + " ".join(words),
        "wall_s": wall_s,
        "limit_s": LIMIT_S,
        "share_of_time": wall_s / LIMIT_S,
        "peak_rss_bytes": memory,
        "limit_bytes": LIMIT_BYTES,
        "share_of_memory": memory / LIMIT_BYTES,
        "messages_per_s": found["messages"] / wall_s,
        **found,
    }
