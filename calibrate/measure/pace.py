"""The time budget: what is left, what the rest will take, and what must go.

The roofline's estimate is scaled by what measuring has taken so far. When the rest does not fit,
items go in the order of their rank (EARLY first, KEEP never), within a rank from the end of the
list that was given.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from calibrate.design.item import KEEP
from calibrate.measure.clock import Clock


@dataclass
class Pace:
    """A budget that runs from `begin`; seconds spent on compiling do not count."""

    clock: Clock
    begin: float
    budget_s: float
    compile_s: Callable[[], float] = float
    """Seconds spent on compiling so far (`Rig.compile_s`)."""
    earlier_s: float = 0.0
    """Seconds of earlier sessions of the same job."""
    expected_s: float = 0.0
    spent_s: float = 0.0

    def left(self) -> float:
        """Seconds of the budget that are left; negative when it is overrun."""
        return self.begin + self.budget_s + self.compile_s() - self.clock.now()

    def elapsed(self) -> float:
        """Seconds since this session began."""
        return self.clock.now() - self.begin

    def fraction(self) -> float:
        """Share of the budget that is used, at most 1."""
        return min(self.elapsed() / max(self.budget_s + self.compile_s(), 1e-9), 1.0)

    def learn(self, expected_s: float, spent_s: float) -> None:
        """Something that was expected to take so long took so long."""
        self.expected_s += expected_s
        self.spent_s += spent_s

    @property
    def scale(self) -> float:
        """How much longer things take than expected; careful while little is known."""
        prior = 5.0
        return (self.spent_s + prior) / (self.expected_s + prior)


def droppable(costs: Sequence[float], ranks: Sequence[int], room_s: float) -> list[int]:
    """Places to drop so that the rest fits `room_s`, in the order in which they go."""
    over = sum(costs) - room_s
    places = sorted(range(len(costs)), key=lambda i: (-ranks[i], -i))
    gone = []
    for place in places:
        if over <= 0 or ranks[place] == KEEP:
            break
        gone.append(place)
        over -= costs[place]
    return gone
