"""A real Ray cluster of two nodes on this machine, for tests that ask for it."""

import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest

NODE = {"num_cpus": 1, "object_store_memory": 80 << 20}


@pytest.fixture(scope="session")
def two_nodes() -> Iterator[Any]:
    """Head and worker node, each with one CPU; skips where Ray is not installed."""
    pytest.importorskip("ray", reason="Ray is not installed (extra `cluster`)")
    from ray.cluster_utils import Cluster

    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))  # nodes find the tests too
    cluster = Cluster(initialize_head=True, head_node_args=NODE | {"include_dashboard": False})
    cluster.add_node(**NODE)
    cluster.wait_for_nodes()
    yield cluster
    cluster.shutdown()
