"""The job, in the order in which things happen.

Anchors, every step once (fit and held out shuffled together), the operators, the links, then steps
again while there is time, the serving engine, and the anchors once more, which tell how far the
card drifted meanwhile.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from calibrate.design.capacity import measured_capacity
from calibrate.design.estimate import LEAST, Estimate, estimate_for
from calibrate.design.item import KEEP, StepItem
from calibrate.design.lists.mixed import HELD_OUT_LEAST
from calibrate.design.lists.variants import LONG_S
from calibrate.design.plan import Plan, make_plan, only
from calibrate.design.serving import serving_s
from calibrate.measure.clock import Clock
from calibrate.measure.loop import StepLoop
from calibrate.measure.operators import measure_links, measure_operators
from calibrate.measure.pace import Pace
from calibrate.measure.seam import Rig
from calibrate.measure.serving import measure_serving
from calibrate.measure.talk import Talk
from calibrate.provenance import commit, profile_id, provenance, software
from calibrate.resume import compare, must_compare, session
from calibrate.samples import Store, operator_row, read_job, serving_row, step_row, write_job
from kaiju_sim.catalog.gpus import find_gpu
from kaiju_sim.catalog.models import Model
from kaiju_sim.errors import UserError

OPERATORS_SHARE = 0.15
"""Of the budget, kept for the operators while the steps are measured."""
WARM_S = 2.0
"""For the card to leave its idle clocks."""
LINKS_S, END_S = 8.0, 10.0
"""Kept for the links; for the anchors at the end, the tables and the fit."""


@dataclass(frozen=True)
class Options:
    """What the user asked for."""

    model: Model
    """With the variant's dimensions, if it is one."""
    catalog_model: str
    gpu: str
    """Catalog name."""
    tensor_parallel: int
    folder: Path
    """Of the samples."""
    budget_s: float
    variant: str | None = None
    only: tuple[str, ...] = ()
    fresh: bool = False
    heldout: int = HELD_OUT_LEAST
    """Held-out steps that are never dropped."""

    @property
    def id(self) -> str:
        """The profile's id."""
        return profile_id(self.gpu, self.catalog_model, self.tensor_parallel, self.variant)


WHOLE = ("complete", "planned", "done", "dropped", "left_out", "anchors", "drift")
"""What `job.json` says of the whole plan: not changed by a job that has a part of it only."""


@dataclass
class Job:
    """A job under way."""

    options: Options
    rig: Rig
    clock: Clock
    talk: Talk
    plan: Plan
    estimate: Estimate
    store: Store
    pace: Pace
    record: dict[str, Any] = field(default_factory=dict)
    earlier: Mapping[str, Any] = field(default_factory=dict)
    """What `job.json` said at the beginning."""


def measure(job: Job) -> dict[str, Any]:
    """Run the job; what `job.json` says of it at the end.

    Whatever ends it early, Ctrl-C included, what was measured is on disk.
    """
    rig, talk = job.rig, job.talk
    loop = StepLoop(rig.steps, rig.card, job.store, job.pace, job.estimate, talk)
    try:
        with talk.bar():
            _begin(job, loop)
            _steps_and_operators(job, loop)
            job.record["drift"] = _anchors_again(job, loop)
    except BaseException:
        _end(job, loop)
        raise
    else:
        _end(job, loop)
        job.store.finish()
    finally:
        job.store.close()
    return job.record


def make_job(options: Options, rig: Rig, clock: Clock, talk: Talk, begin: float) -> Job:
    """The plan for this engine, its folder, and a budget that began to run at `begin`."""
    capacity = measured_capacity(rig.steps.kv_blocks(), rig.steps.limits(), options.model)
    plan = make_plan(
        options.model,
        options.tensor_parallel,
        capacity,
        options.variant,
        options.heldout,
        is_long=options.budget_s >= LONG_S,
    )
    plan = only(plan, options.only)
    estimate = estimate_for(find_gpu(options.gpu), options.model, options.tensor_parallel)
    store = Store(options.folder)
    pace = Pace(clock, begin, options.budget_s, rig.compile_s)
    return Job(options, rig, clock, talk, plan, estimate, store, pace)


def _check_budget(job: Job) -> None:
    """What is never dropped and not yet there must fit; UserError says how long it takes."""
    kept = [item for item in job.plan.steps if item.rank == KEEP]
    waiting = [i for i in (*job.plan.anchors, *kept) if not job.store.seconds(i.id)]
    needed = job.estimate.total_s(waiting) + _end_s(job)
    if needed > job.pace.left():
        raise UserError(
            f"--budget: {max(job.pace.left(), 0):.0f} s are left of it, and what is never dropped "
            f"({job.options.heldout} held-out steps, anchors, row buckets, the engine) takes about "
            f"{needed:.0f} s"
        )


def _begin(job: Job, loop: StepLoop) -> None:
    """Take up what is there, or begin anew; measure the anchors where that is called for."""
    job.store.lock()
    if job.options.fresh:
        _check_budget(job)  # before anything is lost
        job.store.clear()
    job.earlier = earlier = read_job(job.options.folder)
    now = _session(job)
    if earlier and not earlier.get("sessions"):
        raise UserError("job.json names no session (--fresh begins anew)", job.options.folder)
    changed = must_compare(earlier["sessions"][-1], now) if earlier else []
    job.store.open()
    job.pace.earlier_s = earlier.get("seconds", 0.0)
    _forget(job)
    _check_budget(job)
    loop.warm_up(job.plan.anchors, WARM_S)
    if changed:
        job.talk.say(f"other {', '.join(changed)} than before: the anchors are compared first")
        again = {item.id: loop.visit(item, LEAST) for item in job.plan.anchors}
        now["compared"] = compare(job.store, job.plan.anchors, again)
        job.store.write(list(again.values()))
    job.record = _record(job, [*earlier.get("sessions", []), now], earlier)
    write_job(job.options.folder, job.record)
    loop.first_round(job.plan.anchors, 0.0)


def _session(job: Job) -> dict[str, Any]:
    versions = software(job.rig.versions())
    begin = job.clock.date().isoformat(timespec="seconds")
    return session(job.rig.card.identity(), versions, commit()[0], begin)


def _forget(job: Job) -> None:
    """Samples of shapes that the plan no longer has are not mixed with those that it has."""
    steps = {item.id: step_row(item) for item in _all_steps(job.plan)}
    rows = steps | {item.id: operator_row(item) for item in job.plan.operators}
    rows |= {item.id: serving_row(item) for item in job.plan.serving}
    if job.options.only:  # what is left out by name stays as it is
        rows = {key: visits[0].row for key, visits in job.store.visits.items()} | rows
    gone = job.store.forget_changed(rows)
    if gone:
        job.talk.say(f"{len(gone)} earlier samples are of another plan and are not used: {gone[0]}")


def _all_steps(plan: Plan) -> list[StepItem]:
    return [*plan.anchors, *plan.steps]


def _steps_and_operators(job: Job, loop: StepLoop) -> None:
    plan, pace, store, talk = job.plan, job.pace, job.store, job.talk
    operators, end_s = OPERATORS_SHARE * pace.budget_s if plan.operators else 0.0, _end_s(job)
    loop.first_round(plan.steps, operators + LINKS_S + end_s)
    job.record["operators_left_out"] = measure_operators(
        job.rig.operators, plan.operators, store, pace, LINKS_S + end_s, talk, loop.failures
    )
    if not job.record.get("links"):
        job.record["links"] = measure_links(job.rig.links, job.options.tensor_parallel)
    loop.later_rounds(plan.steps, end_s)
    measure_serving(job.rig.serving, plan.serving, store, pace, talk, loop.failures)


def _end_s(job: Job) -> float:
    """What has to be left of the budget when all else is measured."""
    waiting = (item for item in job.plan.serving if not job.store.seconds(item.id))
    return END_S + serving_s(tuple(waiting))


def _anchors_again(job: Job, loop: StepLoop) -> dict[str, float]:
    """How far each anchor is from the job's beginning (last / first - 1)."""
    for item in job.plan.anchors:
        job.store.add(loop.visit(item, LEAST))
    visits = [job.store.visits[item.id] for item in job.plan.anchors]
    return {v[0].key: median(v[-1].wall_s) / median(v[0].wall_s) - 1 for v in visits}


def _record(
    job: Job, sessions: Sequence[Mapping[str, Any]], earlier: Mapping[str, Any]
) -> dict[str, Any]:
    options = job.options
    return {
        "id": options.id,
        "gpu": options.gpu,
        "model": options.catalog_model,
        "variant": options.variant,
        "tensor_parallel": options.tensor_parallel,
        "complete": False,
        "heldout_least": options.heldout,
        "sessions": list(sessions),
        "kv_blocks": job.rig.steps.kv_blocks(),
        "links": earlier.get("links", {}),
        "seconds": earlier.get("seconds", 0.0),
        "compile_s": earlier.get("compile_s", 0.0),
        "prepare_s": earlier.get("prepare_s", 0.0),
    }


def _end(job: Job, loop: StepLoop) -> None:
    """Write down how far it got, also when it was stopped."""
    job.store.flush()
    if not job.record:
        return
    record, plan = job.record, job.plan
    record["planned"] = _counts(_all_steps(plan))
    done = [item for item in _all_steps(plan) if job.store.seconds(item.id)]
    record["done"] = _counts(done)
    record["repetitions"] = sum(len(job.store.seconds(item.id)) for item in done)
    record["dropped"] = list(loop.dropped)
    record["failed"] = loop.failures.why
    record["over_budget_s"] = max(0.0, -job.pace.left())
    record["left_out"] = list(plan.left_out)
    record["anchors"] = {i.id: median(s) for i in plan.anchors if (s := job.store.seconds(i.id))}
    record["host"] = host_overhead(job.store)
    record["seconds"] += job.pace.elapsed()
    record["compile_s"] += job.rig.compile_s()
    record["prepare_s"] += loop.prepare_s
    seen = [v for visits in job.store.visits.values() for v in visits]
    record["slowed_by"] = _slowed(v.slowed_by for v in seen)
    clocks = [{"sm_mhz": v.sm_mhz} for v in seen] + [job.rig.card.telemetry()]
    now = record["sessions"][-1]
    record["provenance"] = provenance(
        now["card"], now["versions"], clocks, job.clock.date(), job.options.folder
    )
    record["complete"] = "drift" in record and not job.options.only
    if job.options.only and job.earlier.get("complete"):  # a few more of what was whole already
        record |= {key: job.earlier[key] for key in WHOLE if key in job.earlier}
    write_job(job.options.folder, record)


def host_overhead(store: Store) -> dict[str, float]:
    """Seconds of a step's wall-clock that the GPU does not work, the median of each kind."""
    kinds: dict[str, list[float]] = {}
    for visits in store.visits.values():
        for visit in visits:
            gaps = [wall - gpu for wall, gpu in zip(visit.wall_s, visit.gpu_s, strict=False)]
            if gaps and "kind" in visit.row:  # the engine's have none
                kinds.setdefault(visit.row["kind"], []).append(median(gaps))
    return {kind: median(gaps) for kind, gaps in sorted(kinds.items())}


def _counts(items: Sequence[StepItem]) -> dict[str, int]:
    found = {"fit": 0, "heldout": 0, "anchor": 0, "aim": 0}
    for item in items:
        found[item.set] += 1
    return found


def _slowed(reasons: Any) -> dict[str, int]:
    found: dict[str, int] = {}
    for reason in reasons:
        if reason:
            found[reason] = found.get(reason, 0) + 1
    return found
