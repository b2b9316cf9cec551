"""What the engine decided and what came of it, event by event: what tests compare."""

from collections.abc import Callable
from typing import NamedTuple


class Event(NamedTuple):
    """A decision or an outcome, for logs."""

    at: int
    """When, in ns."""
    what: str
    """admit, chunk, first, end, preempt, shed, cancel; step, at its end."""
    request: int
    """Number of the request; of a step, its number."""
    value: int
    """admit: cached tokens; chunk: its tokens; end: those of the answer; preempt: those that it had
    made since its admission; step: blocks evicted so far; else 0."""


Journal = Callable[[Event], None]
