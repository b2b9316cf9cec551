"""What every fault can do."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from kaiju_sim.fleet.control import CellRun
from kaiju_sim.fleet.elastic.story import Story
from kaiju_sim.fleet.setup.build import ns
from kaiju_sim.incidents.persona import Slips
from kaiju_sim.scenario.base import Part


@dataclass
class Wrong:
    """Answers that came in time and were wrong: of replicas [first, last), in a span of time."""

    first: int = 0
    last: int = 0
    start_ns: int | None = None
    stop_ns: int | None = None
    """None: they still are, if they ever began to be."""
    answers: int = 0
    """How many, where all of them are wrong."""
    slips: Slips | None = None
    """Which of them are, where not all are."""


P = TypeVar("P", bound=Part)


class Fault(Generic[P]):
    """A fault of one cell. `part` is its description, `number` its incident's place in the list.

    `over`: whether nothing of the fault itself is left, so that recovery may be verified.
    """

    def __init__(self, control: CellRun, part: P, number: int) -> None:
        self.control, self.env = control, control.env
        self.part, self.number = part, number
        self.over = False
        self.wrong = Wrong()

    def strike(self) -> Story:
        """It happens, from now on; what it does by itself later, too."""
        raise NotImplementedError

    def remedy(self) -> str:
        """What people do about it takes effect now: in words."""
        raise NotImplementedError

    def tell(self, detail: str) -> None:
        """Note what the fault does, in the events."""
        self.control.tell("fault", f"cell {self.control.index}", detail)

    def lasting(self, seconds: float | None) -> Iterator[Any]:
        """Wait so long, or for ever."""
        yield self.env.event() if seconds is None else self.env.timeout(ns(seconds))
