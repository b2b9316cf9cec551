"""Work beside the steps: queues that a device works off on its own, and who waits for whom."""

import time
from collections.abc import Callable
from typing import Any, Protocol

import torch


class Mark(Protocol):
    """A moment in a queue; a CUDA event that takes times is one."""

    def query(self) -> bool:
        """Whether it has passed."""

    def elapsed_time(self, end: Any, /) -> float:
        """Milliseconds to another one; both have passed."""


class Queue(Protocol):
    """Work that is done in order, some time after it is handed over."""

    def run(self, work: Callable[[], None]) -> None:
        """Queue work."""

    def mark(self) -> Mark:
        """The moment at which all that is queued so far is done."""

    def wait(self, mark: Mark) -> None:
        """What is queued from now on is done after that moment."""


class Instant:
    """A moment that has passed when it is made."""

    def __init__(self) -> None:
        self._at = time.perf_counter_ns()

    def query(self) -> bool:
        """It has."""
        return True

    def elapsed_time(self, end: "Instant", /) -> float:
        """By the machine's clock."""
        return (end._at - self._at) / 1e6


class Inline:
    """No queue: work is done when it is handed over, as on a CPU."""

    def run(self, work: Callable[[], None]) -> None:
        """Do it."""
        work()

    def mark(self) -> Mark:
        """Now."""
        return Instant()

    def wait(self, mark: Mark) -> None:
        """It has passed."""


class StreamQueue:
    """A CUDA stream."""

    def __init__(self, stream: torch.cuda.Stream) -> None:
        self._stream = stream

    def run(self, work: Callable[[], None]) -> None:
        """On the stream."""
        with torch.cuda.stream(self._stream):
            work()

    def mark(self) -> Mark:
        """An event."""
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(self._stream)
        return event

    def wait(self, mark: Mark) -> None:
        """On the device; the host goes on."""
        assert isinstance(mark, torch.cuda.Event)
        self._stream.wait_event(mark)


class Lane:
    """A queue whose work comes in numbered batches, so that it can be noted which of them was the
    last to touch a page, and waited for."""

    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self.last = 0
        """Number of the last batch."""
        self._open: dict[int, Mark] = {}

    @property
    def is_busy(self) -> bool:
        """Whether a batch may still be under way."""
        while self._open:
            number, mark = next(iter(self._open.items()))
            if not mark.query():
                return True
            del self._open[number]
        return False

    def end_batch(self) -> Mark:
        """What was queued since the last call is a batch: its end."""
        self.last += 1
        self._open[self.last] = mark = self.queue.mark()
        return mark

    def precede(self, queue: Queue, batch: int) -> None:
        """What is queued there from now on is done after this batch and those before it."""
        if self.is_busy and batch in self._open:
            queue.wait(self._open[batch])


def make_queues(device: torch.device) -> tuple[Queue, Queue, Queue]:
    """Where steps run (what is current now), and two queues beside it."""
    if device.type != "cuda":
        return Inline(), Inline(), Inline()
    out, into = torch.cuda.Stream(device), torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    return StreamQueue(torch.cuda.current_stream(device)), StreamQueue(out), StreamQueue(into)
