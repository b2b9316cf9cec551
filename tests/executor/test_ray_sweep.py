"""A sweep on a real Ray cluster of two nodes, whose workers are killed while it runs."""

import os
import signal
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from kaiju_sim.executor.choose import opened
from kaiju_sim.executor.cluster import RayCluster
from kaiju_sim.store import Store
from kaiju_sim.sweep.points import make_points
from kaiju_sim.sweep.read import read_spec
from kaiju_sim.sweep.run import gather, missing, run_missing
from kaiju_sim.sweep.table import make_rows, parquet_bytes

sys.path.insert(0, str(Path(__file__).parents[1] / "sweep"))

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.slow]

TEXT = """\
scenario: small.yaml
set: {run.horizon: 200s}
grid: {fleet.replicas: [1, 2, 3, 4]}
sobol: {traffic.messages_per_s: [20, 60]}
points: 3
"""


def workers() -> list[int]:
    """Ray's processes on this machine that run our tasks now."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if b"ray::call" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def test_killed_workers_change_no_byte_of_a_sweep(two_nodes: Any, tmp_path: Path) -> None:
    from sweep_files import written

    points = make_points(read_spec(written(tmp_path, TEXT)))
    calm, stormy = Store(tmp_path / "calm"), Store(tmp_path / "stormy")
    with opened() as executor:
        run_missing(missing(points, calm), calm, executor)
    killed: list[int] = []
    counted: list[int] = []

    def tell(done: int, fraction: float) -> None:
        counted.append(done)
        if done in (2, 5):
            for pid in workers():
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

    with closing(RayCluster(two_nodes.address)) as cluster:
        run_missing(missing(points, stormy), stormy, cluster, tell)
    assert killed
    assert counted == list(range(1, 13))
    rows = [make_rows(gather(points, store)) for store in (calm, stormy)]
    assert parquet_bytes(rows[0]) == parquet_bytes(rows[1])
