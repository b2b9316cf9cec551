"""Tasks on a real Ray cluster of two nodes: workers and a node are killed under them."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from executor_jobs import Job, raised_in_place, square, starts
from fleet_runs import same, scenario_of

from kaiju_sim.errors import UserError
from kaiju_sim.executor.choose import opened
from kaiju_sim.executor.cluster import RayCluster
from kaiju_sim.simulation import simulate

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.slow]

THREE_CELLS = {
    "fleet": {"cells": 3, "replicas": 6},
    "traffic": {"kind": "sessions", "sessions": {"live": 90}, "messages_per_s": 3.0},
    "characters": {"edits_per_hour": 900.0},
}


@pytest.fixture
def cluster(two_nodes: Any) -> Iterator[RayCluster]:
    """An executor on both nodes."""
    with closing(RayCluster(two_nodes.address)) as executor:
        yield executor


def test_killed_workers_lose_nothing_and_nothing_counts_twice(
    cluster: RayCluster, tmp_path: Path
) -> None:
    tasks = {i: Job(i, tmp_path, deaths=i % 2) for i in range(6)}
    assert cluster.workers == 2
    found = list(cluster.map(square, tasks))
    assert sorted(found) == [(i, i * i) for i in range(6)]
    assert [starts(tmp_path, i) for i in range(6)] == [1, 2, 1, 2, 1, 2]


def test_mistakes_are_the_user_s_there_too(cluster: RayCluster, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"jobs.yaml:3: a negative number"):
        list(cluster.map(square, {0: Job(-1, tmp_path), 1: Job(1, tmp_path, rest_s=60.0)}))
    assert dict(cluster.map(square, {"next": Job(3, tmp_path)})) == {"next": 9}


def test_arrays_can_be_written_to_there_and_here(cluster: RayCluster) -> None:
    """Compiled code is compiled anew for arrays that cannot: half a minute on every node."""
    tasks = {"large": np.zeros(1 << 18), "small": np.zeros(3)}
    found = dict(cluster.map(raised_in_place, tasks))
    assert all(array.flags.writeable and array.sum() == array.size for array in found.values())


def test_cells_give_the_same_bytes_in_one_process_a_pool_and_on_ray(cluster: RayCluster) -> None:
    scenario = scenario_of(THREE_CELLS)
    alone = simulate(scenario)
    with opened("pool", 2) as pool:
        same(alone, simulate(scenario, executor=pool))
    same(alone, simulate(scenario, executor=cluster))


def test_a_killed_node_s_tasks_run_elsewhere(
    two_nodes: Any, cluster: RayCluster, tmp_path: Path
) -> None:
    node = two_nodes.add_node(num_cpus=2, object_store_memory=80 << 20)
    two_nodes.wait_for_nodes()
    tasks = {i: Job(i, tmp_path, rest_s=1.0) for i in range(12)}
    found = {}
    for key, value in cluster.map(square, tasks):
        if not found:
            two_nodes.remove_node(node, allow_graceful=False)
        assert key not in found
        found[key] = value
    assert found == {i: i * i for i in range(12)}


def test_no_cluster_is_the_user_s_mistake() -> None:
    pytest.importorskip("ray", reason="Ray is not installed (extra `cluster`)")
    with pytest.raises(UserError, match="no Ray cluster at 127.0.0.1:1"):
        RayCluster("127.0.0.1:1")
