"""Where independent tasks run: in this process, or in a pool of processes. Results keep order."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


def run_tasks(
    function: Callable[[Task], Result], tasks: Sequence[Task], workers: int
) -> Iterator[Result]:
    """`function` of each task, in order of the tasks, on up to `workers` processes.

    The result does not depend on the number of workers: tasks share nothing. Processes are spawned
    (not forked), so that a task starts from the same state everywhere.
    """
    workers = min(workers, len(tasks))
    if workers <= 1:
        yield from map(function, tasks)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        yield from pool.map(function, tasks)
