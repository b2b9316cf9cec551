"""The engine's own time between steps, from the runs in which all messages wait at its door.

A job measures it under a load of its own; these runs are longer, and serve what the engine is for:
dialogues, with hits, windows that are gone on from, and every batch from full to empty. They take
no part in what is said of other workloads, and the times of their kernels are not looked at.
"""

from pathlib import Path

from calibrate.fidelity.compare.steps import afters
from calibrate.fidelity.serve.recorder import column
from calibrate.fidelity.store import Sample, Store
from calibrate.fidelity.workloads.catalogue import CAPACITY
from calibrate.samples import COUNTS, Visit, write_engine
from kaiju_sim.errors import UserError


def take_engine_time(store: Store, samples: Path) -> int:
    """Write a profile's `engine.parquet` from its capacity runs; the number of steps. UserError if
    there are none."""
    runs = store.runs(CAPACITY)
    if not runs:
        raise UserError(f"{CAPACITY}: no run is there to take the engine's own time from")
    visits = [visit_of(f"engine/{CAPACITY}-{n}", store.load_run(CAPACITY, n)) for n in runs]
    write_engine(samples, visits)
    return sum(len(visit.wall_s) for visit in visits)


def visit_of(key: str, run: Sample) -> Visit:
    """Its steps as the job notes an engine's: with the time after each, if there is a next one."""
    after = afters(run.outcome, run.steps)
    kept = after >= 0
    steps, after = run.steps[kept], after[kept]
    period = (column(steps, "end") - column(steps, "at") + after) * 1e-9
    counts = {name: column(steps, name).tolist() for name in COUNTS if name != "after_ns"}
    return Visit(
        key=key,
        row={"requests": run.setting.limits.max_seqs},
        wall_s=period.tolist(),
        gpu_s=(column(steps, "device") * 1e-9).tolist(),
        counts={**counts, "after_ns": after.tolist()},
    )
