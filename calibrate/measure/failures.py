"""What could not be measured: a few shapes may fail, a broken GPU may not go on.

A shape that the engine refuses after all, or for which memory does not suffice, is told and left
out, so that one of 900 does not end the job (nor each later one that goes on with it). More than a
few mean that something else is wrong: an error on a GPU often stays until the process ends.
"""

import contextlib
from collections.abc import Iterator

from kaiju_sim.errors import one_line

MOST = 5
LONGEST = 300


class Failures:
    """Ids that failed, and why."""

    def __init__(self) -> None:
        self.why: dict[str, str] = {}

    @contextlib.contextmanager
    def noted(self, key: str) -> Iterator[None]:
        """Note an error of the block; raise it if there have been too many."""
        try:
            yield
        except (RuntimeError, ValueError) as error:  # torch's own are RuntimeErrors
            self.why[key] = one_line(f"{type(error).__name__}: {error}")[:LONGEST]
            if len(self.why) > MOST:
                raise
