"""Picks the executor that was asked for."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Literal

from kaiju_sim.errors import UserError
from kaiju_sim.executor.pool import Pool
from kaiju_sim.executor.seam import Executor, InProcess, Result, Task, in_order

Kind = Literal["inprocess", "pool", "ray"]


@contextmanager
def opened(
    kind: Kind | None = None, workers: int = 1, address: str | None = None
) -> Iterator[Executor]:
    """An executor, closed at the end of the block.

    None for *kind*: a pool for several *workers*, else this process. *address* is of a Ray cluster;
    without one, Ray is started on this machine with *workers* CPUs. UserError without Ray.
    """
    executor = _made(kind or ("pool" if workers > 1 else "inprocess"), workers, address)
    try:
        yield executor
    finally:
        executor.close()


def _made(kind: Kind, workers: int, address: str | None) -> Executor:
    if kind == "ray":
        from kaiju_sim.executor.cluster import RayCluster

        return RayCluster(address, workers)
    if address is not None:
        raise UserError("--address is of a Ray cluster: it needs --executor ray")
    return Pool(workers) if kind == "pool" else InProcess()


def run_tasks(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    workers: int,
    executor: Executor | None = None,
) -> Iterator[Result]:
    """`function` of each task, in order of the tasks: on the executor, or `workers` processes here.

    The result does not depend on the number of workers: tasks share nothing.
    """
    here = opened(workers=min(workers, len(tasks)))
    with nullcontext(executor) if executor else here as where:
        yield from in_order(where.map(function, dict(enumerate(tasks))))
