"""What is measured of the serving engine: its loop with so many requests inside."""

from dataclasses import dataclass

from calibrate.design.capacity import Capacity
from calibrate.design.item import KEEP
from calibrate.shapes import StepShape

REQUESTS = (8, 16, 32, 64, 96, 128, 192, 256)
MOST_REQUESTS = REQUESTS[-1]
TOKEN_BUDGET = 1024
SECONDS = 1.5
"""Of each, after up to as long to reach it."""
CONTEXT = 2048
"""Tokens that memory must have room for, of each request."""


@dataclass(frozen=True)
class ServingItem:
    """The engine with so many requests inside."""

    requests: int
    seconds: float = SECONDS
    rank: int = KEEP

    @property
    def id(self) -> str:
        """Its name."""
        return f"engine/b{self.requests}"


def serving_items(capacity: Capacity, tensor_parallel: int) -> tuple[ServingItem, ...]:
    """In rising order; the engine does not serve on several GPUs."""
    if tensor_parallel > 1:
        return ()
    fitting = (n for n in REQUESTS if capacity.holds(StepShape((CONTEXT,) * n)))
    return tuple(ServingItem(n) for n in fitting)


def serving_s(items: tuple[ServingItem, ...]) -> float:
    """Seconds, the filling included: half of the longest that it may take."""
    return sum(1.5 * item.seconds for item in items)
