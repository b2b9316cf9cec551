"""Simulated values of claims about behaviour: which runs, and which figure of them.

The seam for whatever the simulator learns: add a `Study` to `STUDIES`, and take the claim out of
`WAITING`. A study's cells are shipped scenarios with overrides; its measure turns their figures
into one value per replication.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kaiju_sim.audit.cells import Progress, figures_of
from kaiju_sim.audit.figures import Figures
from kaiju_sim.audit.studies import fleet, gate, incidents
from kaiju_sim.audit.studies.study import Study
from kaiju_sim.metrics.stats.intervals import as_json

REPLICATIONS = 5


WAITING: dict[str, str] = {}
"""Claims about behaviour that the simulator has nothing to hold against yet: what is missing."""

STUDIES = (*fleet.STUDIES, *gate.STUDIES, *incidents.STUDIES)


def simulate_claims(
    folder: Path,
    *,
    only: Sequence[str] | None = None,
    replications: int = REPLICATIONS,
    workers: int = 1,
    progress: Progress | None = None,
) -> dict[str, dict[str, Any]]:
    """Simulated values by claim id, for all claims that have a study or those of *only*.

    *folder* keeps the figures of runs (`cells.py`). UserError without the shipped scenarios.
    """
    studies = [study for study in STUDIES if only is None or study.claim in only]
    cells = [cell for study in studies for cell in study.cells]
    found = figures_of(cells, replications, folder, workers, progress)
    values: dict[str, dict[str, Any]] = {}
    for study in studies:
        row = value_of(study, [found[cell] for cell in study.cells], replications)
        if study.claim in values:
            values[study.claim]["also"].append(row)
        else:
            values[study.claim] = row | {"also": []}
    return values


def value_of(study: Study, runs: Sequence[Figures], replications: int) -> dict[str, Any]:
    """Mean and 95 % interval of a study's values, null if a replication has none."""
    known = as_json(study.measure(runs))
    return {
        "says": study.says,
        "value": known["mean"],
        "low": known["low"],
        "high": known["high"],
        "unit": study.unit,
        "replications": replications,
        "step_times": " + ".join(dict.fromkeys(run["profile.source"] for run in runs)),
        "values": known["values"],
        "commands": [cell.command(replications) for cell in dict.fromkeys(study.cells)],
    }
