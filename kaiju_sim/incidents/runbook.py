"""An incident in a cell, told in the four steps of a runbook: detect, page, act, verify.

The fault strikes by the scenario's clock; everything after it comes of what monitors see. An alarm
that rings before the fault is a false one. People take a drawn time from the alarm to the remedy;
recovery is verified when the alarm's condition has been false for its holding time and nothing of
the fault is left.
"""

from dataclasses import dataclass, field
from typing import Any

from kaiju_sim.fleet.control import CellRun
from kaiju_sim.fleet.elastic.story import Story
from kaiju_sim.fleet.setup.build import ns
from kaiju_sim.incidents import response, signals
from kaiju_sim.incidents.faults.content import Rollover, Storm, Viral
from kaiju_sim.incidents.faults.drift import Drift
from kaiju_sim.incidents.faults.fault import Fault, Wrong
from kaiju_sim.incidents.faults.persona import Requantised
from kaiju_sim.incidents.faults.replicas import LostReplicas, Restart
from kaiju_sim.incidents.faults.rollout import Rollout
from kaiju_sim.incidents.faults.routing import LostTable
from kaiju_sim.incidents.faults.safety import Overblocking
from kaiju_sim.incidents.persona import Panel
from kaiju_sim.incidents.watch import Watch
from kaiju_sim.scenario.parts.incidents import Incident

KINDS: dict[str, type[Fault[Any]]] = {
    "table_loss": LostTable,
    "replica_loss": LostReplicas,
    "cold_restart": Restart,
    "viral": Viral,
    "edit_storm": Storm,
    "bad_rollout": Rollout,
    "midnight": Rollover,
    "false_positives": Overblocking,
    "int8_drift": Drift,
    "persona_drift": Requantised,
}


@dataclass
class Record:
    """When each step was taken in one cell, simulated seconds; None: never."""

    number: int
    """The incident's place in the scenario's list."""
    struck_s: float | None = None
    detected_s: float | None = None
    triaged_s: float | None = None
    acted_s: float | None = None
    recovered_s: float | None = None
    false_alarms: int = 0
    worst: float | None = None
    """The signal at its worst between the fault and recovery."""
    wrong: Wrong = field(default_factory=Wrong)
    """Answers that were wrong."""


@dataclass
class Runbook:
    """The processes of one incident in one cell."""

    control: CellRun
    incident: Incident
    number: int
    record: Record = field(init=False)
    fault: Fault[Any] = field(init=False)
    watch: Watch = field(init=False)
    ringing: bool = False

    def __post_init__(self) -> None:
        self.record = Record(self.number)
        self.fault = KINDS[self.incident.fault.kind](self.control, self.incident.fault, self.number)
        self.record.wrong = self.fault.wrong
        self.watch = Watch(self.incident.detection)

    def start(self) -> Record:
        """Begin the fault's process and the monitor's."""
        self.control.env.process(self._strike())
        self.control.env.process(self._monitor())
        return self.record

    def _now_s(self) -> float:
        return int(self.control.env.now) * 1e-9

    def _tell(self, detail: str) -> None:
        where = f"cell {self.control.index}"
        self.control.tell("incident", f"{self.incident.name}, {where}", detail)

    def _strike(self) -> Story:
        yield self.control.env.timeout(ns(self.incident.at))
        self.record.struck_s = self._now_s()
        yield from self.fault.strike()

    def _monitor(self) -> Story:
        """Look at the signal at each interval, from the measured time on, until recovery."""
        rule = self.incident.detection
        step = ns(rule.interval)
        start = ns(self.control.plant.scenario.run.measured_from) // step * step
        panel = Panel(self.control, rule) if rule.signal == "persona_score" else None
        yield self.control.env.timeout(max(step, start))
        while self.record.recovered_s is None:
            seen = signals.read(self.control, rule.signal)
            self.watch.see(seen if panel is None else seen.with_scores(*panel.look()))
            self._note_worst()
            self._look(int(self.control.env.now))
            yield self.control.env.timeout(step)

    def _note_worst(self) -> None:
        seen, worst = self.watch.last, self.record.worst
        if self.record.struck_s is None or seen is None:
            return
        pick = min if self.incident.detection.below is not None else max
        self.record.worst = seen if worst is None else pick(seen, worst)

    def _look(self, now: int) -> None:
        """What the alarm's state means for the incident."""
        rings = self.watch.rings(now)
        if rings and not self.ringing:
            self._alarm()
        self.ringing = self.watch.bad and (rings or self.ringing)
        if self.record.acted_s is not None and self.fault.over and self.watch.clear(now):
            self.record.recovered_s = self._now_s()
            self._tell("verify: the signal has been back for its holding time")

    def _alarm(self) -> None:
        if self.record.struck_s is None:
            self.record.false_alarms += 1
            self._tell(f"false alarm: {self._signal()}")
        elif self.record.detected_s is None:
            self.record.detected_s = self._now_s() + self.incident.detection.late
            self.control.env.process(self._respond())

    def _signal(self) -> str:
        """The signal as it was last seen; a window may have no value while the alarm holds."""
        last, name = self.watch.last, self.incident.detection.signal
        return f"{name} has no value" if last is None else f"{name} is {last:.4g}"

    def _respond(self) -> Story:
        """Page and triage, then the remedy."""
        env, rule = self.control.env, self.incident.detection
        yield env.timeout(ns(rule.late))
        self._tell(f"detect: {self._signal()}")
        seed = self.control.plant.scenario.seed
        whole = response.drawn_s(self.incident.response, seed, self.number)
        triage = whole * self.incident.response.page_share.value
        yield env.timeout(ns(triage))
        self.record.triaged_s = self._now_s()
        self._tell(f"page: acknowledged and understood after {triage:.0f} s")
        yield env.timeout(ns(whole - triage))
        self.record.acted_s = self._now_s()
        done = self.fault.remedy() if self.incident.response.remedy else "no remedy is applied"
        self._tell(f"act: {done}")


def play(control: CellRun) -> list[Record]:
    """Start every incident that strikes this cell: their records, filled as they go on."""
    return [
        Runbook(control, incident, number).start()
        for number, incident in enumerate(control.plant.scenario.incidents)
        if incident.enabled and (not incident.cells or control.index in incident.cells)
    ]
