"""`incidents[]` of the summary: when each incident was noticed and over, and its ledger."""

from collections.abc import Sequence
from typing import Any

from kaiju_sim.fleet.control import CellResult
from kaiju_sim.fleet.setup.build import Plant
from kaiju_sim.incidents.ledger import Outcome, ledger, outcome
from kaiju_sim.incidents.runbook import Record
from kaiju_sim.incidents.variants import LATE, WITHOUT, variants
from kaiju_sim.metrics.stats.intervals import as_json
from kaiju_sim.scenario.parts.incidents import Incident
from kaiju_sim.scenario.schema import Scenario

Entry = dict[str, Any]
TIMES = ("detected_s", "triaged_s", "acted_s", "recovered_s")


def entries(plants: Sequence[Plant], runs: Sequence[Sequence[CellResult]]) -> list[Entry]:
    """One entry for each enabled incident, from the run and its variants, in `plants_of` order."""
    outcomes = [outcome(plant, cells) for plant, cells in zip(plants, runs, strict=True)]
    scenario, found = plants[0].scenario, []
    told = list(zip(variants(scenario), outcomes[1:], runs[1:], strict=True))
    for number, incident in enumerate(scenario.incidents):
        if not incident.enabled:
            continue
        spared = next(o for v, o, _ in told if (v.what, v.number) == (WITHOUT, number))
        here = [(0.0, outcomes[0], runs[0])]
        here += [(v.late_s, o, c) for v, o, c in told if (v.what, v.number) == (LATE, number)]
        curve = [point(scenario, incident, number, spared, *run) for run in here]
        found.append(head(scenario, incident) | moments(runs[0], number) | _ledger_of(curve))
    return found


def head(s: Scenario, incident: Incident) -> Entry:
    """What does not depend on chance."""
    return {
        "name": incident.name,
        "fault": incident.fault.kind,
        "fleet": "fixed" if s.fleet.autoscale is None else "autoscaled",
        "at_s": incident.at,
        "signal": incident.detection.signal,
    }


def moments(cells: Sequence[CellResult], number: int) -> Entry:
    """When each step was taken: in the first cell to notice, in the last one to recover."""
    records = records_of(cells, number)
    times = {name: [getattr(r, name) for r in records] for name in TIMES}
    first = {name: earliest(times[name]) for name in TIMES[:-1]}
    worst = [r.worst for r in records if r.worst is not None]
    return {
        **first,
        "recovered_s": latest(times["recovered_s"]),
        "signal_worst": worst[0] if worst else None,
        "false_alarms": sum(r.false_alarms for r in records),
    }


def records_of(cells: Sequence[CellResult], number: int) -> list[Record]:
    """What the cells have noted of an incident."""
    notes = [note for cell in cells for note in cell.notes]
    return [note for note in notes if isinstance(note, Record) and note.number == number]


def earliest(times: Sequence[float | None]) -> float | None:
    """The first of those that are known."""
    return min((t for t in times if t is not None), default=None)


def latest(times: Sequence[float | None]) -> float | None:
    """The last of all; None if one is missing."""
    known = [t for t in times if t is not None]
    return max(known) if known and len(known) == len(times) else None


def point(
    s: Scenario,
    incident: Incident,
    number: int,
    spared: Outcome,
    late_s: float,
    hit: Outcome,
    cells: Sequence[CellResult],
) -> Entry:
    """One point of the detection-delay curve."""
    seen = moments(cells, number)
    entry = {"late_s": late_s, "detected_s": seen["detected_s"], "recovered_s": seen["recovered_s"]}
    return entry | {"ledger": ledger(s, incident, hit, spared)}


def _ledger_of(curve: list[Entry]) -> Entry:
    found: Entry = {"ledger": curve[0]["ledger"]}
    return found | ({"detection_delay": curve} if len(curve) > 1 else {})


def joined(replications: Sequence[list[Entry]]) -> list[Entry]:
    """The entries of several replications as one list: means, with their intervals."""
    if len(replications) == 1:
        return replications[0]
    return [_mean(list(same)) for same in zip(*replications, strict=True)]


def _mean(same: list[Entry]) -> Entry:
    """One entry of all replications; a time that is missing in one of them is null."""
    intervals: Entry = {}
    entry: Entry = _averaged(same, intervals, "")
    return entry | {"intervals": intervals}


def _averaged(same: list[Any], intervals: Entry, path: str) -> Any:
    first = same[0]
    if isinstance(first, dict):
        return {k: _averaged([s[k] for s in same], intervals, f"{path}.{k}") for k in first}
    if isinstance(first, list):
        return [
            _averaged(list(items), intervals, f"{path}[{i}]")
            for i, items in enumerate(zip(*same, strict=True))
        ]
    if all(isinstance(value, str) for value in same):
        return first
    found = as_json(same)
    intervals[path.removeprefix(".")] = found
    return found["mean"]
