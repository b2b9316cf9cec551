"""The safety gate's classifier goes wrong."""

from kaiju_sim.fleet.elastic.story import Story
from kaiju_sim.fleet.gate.control import EVERYBODY, shift_scores
from kaiju_sim.fleet.gate.records import TEEN
from kaiju_sim.incidents.faults.fault import Fault
from kaiju_sim.scenario.parts.faults import FalsePositives


class Overblocking(Fault[FalsePositives]):
    """Scores of messages are too high until the old classifier is back."""

    def strike(self) -> Story:
        """From the next message on."""
        self._shift(self.part.shift)
        self.tell(f"scores of messages are too high by {self.part.shift:g} in log-odds")
        yield self.env.timeout(0)

    def remedy(self) -> str:
        """The classifier of before judges again."""
        self.over = True
        self._shift(0.0)
        return "the old classifier is back"

    def _shift(self, shift: float) -> None:
        ages = EVERYBODY if self.part.ages == "all" else (TEEN,)
        shift_scores(self.control.cell.gate, shift, ages=ages)
