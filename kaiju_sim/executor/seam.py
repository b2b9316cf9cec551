"""The one seam behind which tasks run: cells of a fleet, replications, points of a sweep.

Tasks share nothing and a task's result depends on the task alone, so the same tasks give the same
results wherever they run, in whatever order they end, and however often one had to be started anew
because its process or its machine was lost.
"""

from collections.abc import Callable, Generator, Hashable, Iterator, Mapping
from contextlib import closing
from typing import Protocol, TypeVar

Key = TypeVar("Key", bound=Hashable)
Task = TypeVar("Task")
Result = TypeVar("Result")

ATTEMPTS = 4
"""How often a task is started at most when what it runs on is lost under it."""


class TaskLostError(Exception):
    """A task's process or machine was lost each time that it was started."""

    def __init__(self, key: object) -> None:
        super().__init__(
            f"task {key} lost its process {ATTEMPTS} times: out of memory (fewer --workers use"
            " less), or a script that starts a pool without `if __name__ == '__main__'`"
        )


class Executor(Protocol):
    """Runs independent tasks; whoever opened it closes it."""

    @property
    def workers(self) -> int:
        """Tasks that run at once."""
        ...

    def map(
        self, function: Callable[[Task], Result], tasks: Mapping[Key, Task]
    ) -> Generator[tuple[Key, Result], None, None]:
        """Key and result of each task as it ends: every key once, in no particular order.

        *function* is one of a module, its tasks and results can be pickled. What it raises is
        raised here. A task whose process is lost is started again, up to ATTEMPTS times in all.
        Closing the iterator, or an exception, ends what still runs.
        """
        ...

    def close(self) -> None:
        """End what was started for it."""
        ...


class InProcess:
    """One task after the other, in this process."""

    workers = 1

    def map(
        self, function: Callable[[Task], Result], tasks: Mapping[Key, Task]
    ) -> Generator[tuple[Key, Result], None, None]:
        """Key and result of each task, in order."""
        for key, task in tasks.items():
            yield key, function(task)

    def close(self) -> None:
        """There is nothing to end."""


def in_order(found: Generator[tuple[int, Result], None, None]) -> Iterator[Result]:
    """Results of tasks numbered from 0, in that order; one that is early waits in memory."""
    early: dict[int, Result] = {}
    wanted = 0
    with closing(found):
        for key, result in found:
            early[key] = result
            while wanted in early:
                yield early.pop(wanted)
                wanted += 1


def counted(
    found: Generator[tuple[Key, Result], None, None],
    total: int,
    progress: Callable[[float], None] | None,
) -> Generator[tuple[Key, Result], None, None]:
    """The same, telling *progress* the fraction of *total* tasks that have ended."""
    with closing(found):
        for done, item in enumerate(found, 1):
            if progress is not None:
                progress(done / total)
            yield item
