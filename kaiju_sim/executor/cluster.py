"""Tasks on a Ray cluster (extra `cluster`): the only module that knows Ray, and only when asked.

Ray starts a task again when its process or its node is lost, and its result when that is lost
before it was fetched. Results are taken from here by key, each once, whatever was run twice.
"""

import os
import pickle
import socket
from collections.abc import Callable, Generator, Mapping
from itertools import islice
from typing import Any

from kaiju_sim.errors import UserError
from kaiju_sim.executor.seam import ATTEMPTS, Key, Result, Task, TaskLostError
from kaiju_sim.executor.sources import sources_digest

AHEAD = 1000
"""Tasks that Ray is told of at once: many for a cluster, few for the memory here."""

ANSWER_S = 10.0
"""A cluster's head answers within this time, or is not there."""


class RayCluster:
    """A Ray cluster: the one at *address*, else one of this machine with *workers* CPUs."""

    def __init__(self, address: str | None = None, workers: int = 1) -> None:
        self._ray = _import_ray()
        self._mine = not self._ray.is_initialized()
        if self._mine:
            _connect(self._ray, address, workers)

    @property
    def workers(self) -> int:
        """CPUs of the cluster now."""
        return max(1, int(self._ray.cluster_resources().get("CPU", 0)))

    def map(
        self, function: Callable[[Task], Result], tasks: Mapping[Key, Task]
    ) -> Generator[tuple[Key, Result], None, None]:
        """Key and result of each task as it ends (`seam.Executor.map`)."""
        start = self._ray.remote(num_cpus=1, max_retries=ATTEMPTS - 1)(call).remote
        digest = sources_digest()
        waiting = iter(tasks.items())
        running: dict[Any, Key] = {}
        try:
            while True:
                for key, task in islice(waiting, AHEAD - len(running)):
                    running[start(pickle.dumps((function, task)), digest)] = key
                if not running:
                    return
                for done in self._ray.wait(list(running))[0]:
                    key = running.pop(done)
                    yield key, self._result(key, done)
        finally:
            for left in running:
                self._ray.cancel(left, force=True)

    def _result(self, key: Key, done: Any) -> Any:
        """What a task gave, or what it raised, as if it had run here."""
        errors = self._ray.exceptions
        try:
            return pickle.loads(self._ray.get(done))
        except errors.RayTaskError as error:
            raise _told(error.cause) from error
        except errors.RaySystemError as error:
            raise _told(error) from error
        except errors.RayError as error:
            raise TaskLostError(key) from error

    def close(self) -> None:
        """Leave the cluster; one that was started here ends."""
        if self._mine:
            self._ray.shutdown()


def call(packed: bytes, digest: str) -> bytes:
    """On a node: run a task, if this is the same simulator as the one that sent it.

    Task and result travel packed by us. Ray would share arrays, read-only, and compiled code would
    be compiled anew for arrays that it must not write to.
    """
    if sources_digest() != digest:
        raise UserError("a node of the cluster has other sources of kaiju_sim: install the same")
    function, task = pickle.loads(packed)
    return pickle.dumps(function(task))


def _import_ray() -> Any:
    try:
        import ray
        import ray.exceptions
    except ImportError:
        raise UserError(
            "--executor ray needs Ray, which is not installed: pip install"
            " 'kaiju-fleet-planner[cluster]' (or use --executor pool)"
        ) from None
    return ray


def _connect(ray: Any, address: str | None, workers: int) -> None:
    """Join the cluster, or start one; nothing of it is printed and nothing reported to anybody."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is None:
        options |= {"address": "local", "num_cpus": workers, "include_dashboard": False}
    else:
        _check_there(address)
        options["address"] = address
    try:
        ray.init(**options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        place = "on this machine" if address is None else f"at {address}"
        raise UserError(f"--address: no Ray cluster {place}: {error}") from error


def _check_there(address: str) -> None:
    """UserError where nobody listens: Ray itself would try for minutes."""
    host, colon, port = address.rpartition(":")
    if not colon or "/" in host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_S).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"--address: no Ray cluster at {address}: {error}") from None


def _told(error: BaseException) -> BaseException:
    """The error, in words where a node lacks what it needs."""
    if "No module named 'kaiju_sim" in str(error):
        return UserError("a node of the Ray cluster has no kaiju_sim: install it on every node")
    return error
