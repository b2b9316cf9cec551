"""A pool of processes on this machine."""

import multiprocessing
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Generator, Hashable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.process import BaseProcess
from typing import Any

from kaiju_sim.executor.seam import ATTEMPTS, Key, Result, Task, TaskLostError


class Pool:
    """Up to `workers` processes, spawned when there is work and kept until `close`.

    Spawned, not forked, so that a task starts from the same state everywhere. When a process is
    lost (killed, out of memory) the pool is made anew, and the tasks that it had not finished are
    started again.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._pool: ProcessPoolExecutor | None = None

    @property
    def workers(self) -> int:
        """Processes."""
        return self._workers

    def map(
        self, function: Callable[[Task], Result], tasks: Mapping[Key, Task]
    ) -> Generator[tuple[Key, Result], None, None]:
        """Key and result of each task as it ends (`seam.Executor.map`)."""
        waiting = deque(tasks)
        starts: Counter[Hashable] = Counter()
        running: dict[Future[Result], Key] = {}
        try:
            while waiting or running:
                # One more than there are processes, so that none waits for this one.
                while waiting and len(running) <= self._workers:
                    key = waiting.popleft()
                    starts[key] += 1
                    running[self._submit(function, tasks[key])] = key
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    key = running.pop(future)
                    if not isinstance(future.exception(), BrokenProcessPool):
                        yield key, future.result()
                    elif starts[key] < ATTEMPTS:
                        waiting.append(key)
                    else:
                        raise TaskLostError(key)
        finally:
            if running:  # an interrupt must not wait for tasks that nobody wants any more
                self._kill()

    def _submit(self, function: Callable[[Task], Result], task: Task) -> "Future[Result]":
        """Hand a task to the pool, or to a new one where a process of the old one was lost."""
        try:
            return self._started().submit(function, task)
        except BrokenProcessPool:
            self._kill()
            return self._started().submit(function, task)

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self._workers, context, initializer=_begin)
        return self._pool

    def _kill(self) -> None:
        """End the processes at once, whatever they do."""
        if self._pool is None:
            return
        processes: list[Any] = list((self._pool._processes or {}).values())
        for process in processes:
            process.terminate()
        self.close()

    def close(self) -> None:
        """End the processes once they are idle."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(cancel_futures=True)


def _begin() -> None:
    """In a pool's process: interrupts are the parent's affair, and its end is this one's too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_exit_after, args=(parent,), daemon=True).start()


def _exit_after(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)
