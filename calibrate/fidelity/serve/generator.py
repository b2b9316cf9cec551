"""The load generator: a thread that hands each message in when it is due."""

import threading
from collections.abc import Callable, Sequence

from calibrate.engine.clock import Clock
from calibrate.engine.requests import Answer, Door, RefusedError, Request

Tell = Callable[[int], None]


def hand_in_ahead(
    door: Door, requests: Sequence[Request], due_ns: Sequence[int]
) -> list[Answer | None]:
    """All messages before the engine runs, each with the time at which it arrives."""
    answers = [_submit(door, r, at) for r, at in zip(requests, due_ns, strict=True)]
    door.close()
    return answers


def _submit(door: Door, request: Request, at: int | None) -> Answer | None:
    try:
        return door.submit(request, at=at)
    except RefusedError:
        return None


class LoadGenerator(threading.Thread):
    """Sleeps until a message is due, hands it in, closes the door after the last one.

    It arrives when it is handed in, by the engine's clock. How late that is, is the generator's own
    jitter: it waits for the interpreter's lock while the engine's thread holds it.
    """

    def __init__(
        self, door: Door, clock: Clock, requests: Sequence[Request], due_ns: Sequence[int],
        tell: Tell,
    ) -> None:  # fmt: skip
        super().__init__(name="load", daemon=True)
        self.answers: list[Answer | None] = []
        self._door, self._clock, self._tell = door, clock, tell
        self._requests, self._due = requests, due_ns
        self._stopped = threading.Event()

    def run(self) -> None:
        """All messages, or until it is stopped."""
        for number, (request, due) in enumerate(zip(self._requests, self._due, strict=True)):
            left = due - self._clock.now_ns()
            if left > 0 and self._stopped.wait(left / 1e9):
                break
            self.answers.append(_submit(self._door, request, None))
            self._tell(number)
        self._door.close()

    def stop(self) -> None:
        """Hand no more in; wait for the thread."""
        self._stopped.set()
        self.join()
