"""From what was asked to what is printed: opens the rig, runs the job, fits; model by model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calibrate.design.capacity import expected_capacity
from calibrate.design.estimate import LEAST, estimate_for
from calibrate.design.lists.mixed import HELD_OUT_LEAST
from calibrate.design.lists.variants import LONG_S, variant_of
from calibrate.design.plan import make_plan, only
from calibrate.design.text import explain, total_s
from calibrate.job import Job, Options, make_job, measure
from calibrate.measure.clock import Clock, SystemClock
from calibrate.measure.seam import Request, Rig
from calibrate.measure.talk import Talk
from calibrate.models import config_of
from calibrate.provenance import catalog_gpu, profile_id
from calibrate.publish import is_enough, profile_file, publish, result, sample_folder, shown
from calibrate.samples import read_job
from kaiju_sim.catalog.gpus import find_gpu, gpu_names
from kaiju_sim.catalog.models import Model, find_model
from kaiju_sim.errors import UserError

Print = Callable[[str], None]
Open = Callable[[Request], Rig]


@dataclass(frozen=True)
class Asked:
    """The command's options."""

    model: str
    tensor_parallel: int
    gpu: str
    out: Path | None
    budget_s: float
    only: tuple[str, ...] = ()
    fresh: bool = False
    heldout: int = HELD_OUT_LEAST

    def dimensions(self, variant: str | None) -> Model:
        """The model to measure."""
        model = find_model(self.model)
        return model if variant is None else variant_of(model, variant)

    def options(self, gpu: str, variant: str | None) -> Options:
        """Options of the job, on a card of that catalog name."""
        name = profile_id(gpu, self.model, self.tensor_parallel, variant)
        return Options(
            model=self.dimensions(variant),
            catalog_model=self.model,
            gpu=gpu,
            tensor_parallel=self.tensor_parallel,
            folder=sample_folder(name, self.out),
            budget_s=self.budget_s,
            variant=variant,
            only=self.only,
            fresh=self.fresh,
            heldout=self.heldout,
        )


def dry_run(asked: Asked, variants: Sequence[str], gpu: str, out: Print) -> dict[str, Any]:
    """Print what would be measured, on a card assumed to be `gpu` if none is named."""
    _check(asked, variants)
    chosen = find_gpu(gpu if asked.gpu == "auto" else asked.gpu)
    plans = [_plan(asked, variant, chosen.name, out) for variant in _each(variants)]
    return {"dry_run": True, **plans[0]} if not variants else {"dry_run": True, "variants": plans}


def _plan(asked: Asked, variant: str | None, gpu: str, out: Print) -> dict[str, Any]:
    options = asked.options(gpu, variant)
    capacity = expected_capacity(find_gpu(gpu), options.model, asked.tensor_parallel)
    is_long = asked.budget_s >= LONG_S
    plan = make_plan(
        options.model, asked.tensor_parallel, capacity, variant, asked.heldout, is_long=is_long
    )
    if variant is None and not plan.anchors:
        raise UserError(
            f"{options.id}: no step fits beside the weights (--tp takes more GPUs, --gpu another)"
        )
    plan = only(plan, asked.only)
    estimate = estimate_for(find_gpu(gpu), options.model, asked.tensor_parallel)
    out(f"{options.id} (pools by memory arithmetic: the real engine's may differ)")
    for line in explain(plan, estimate, asked.budget_s):
        out(line)
    return {
        "id": options.id,
        "steps": len(plan.steps),
        "heldout": plan.heldout,
        "operators": len(plan.operators),
        "estimate_s": round(total_s(plan, estimate, LEAST), 1),
        "budget_s": asked.budget_s,
        "paths": {"samples": shown(options.folder)},
    }


def run(
    asked: Asked,
    variants: Sequence[str],
    talk: Talk,
    out: Print,
    opened: Open | None = None,
    clock: Clock | None = None,
) -> dict[str, Any]:
    """Measure and fit the model, or each of its variants; what the last line says.

    A variant that cannot be measured (its weights do not fit) is told and does not stop the others.
    """
    _check(asked, variants)
    clock = clock or SystemClock()
    opened = opened or _open
    if not variants:
        return _one(asked, None, talk, out, opened, clock)
    done, failed = [], {}
    for variant in variants:
        try:
            done.append(_one(asked, variant, talk, out, opened, clock))
        except UserError as error:
            talk.say(f"{variant}: {error}")
            failed[variant] = str(error)
    if not done:
        raise UserError(f"no variant could be measured: {failed[variants[0]]}")
    return {"variants": done, "failed": failed}


def _each(variants: Sequence[str]) -> list[str | None]:
    """The variants; the model as it is where there are none."""
    return [*variants] or [None]


def _check(asked: Asked, variants: Sequence[str]) -> None:
    """Mistakes in the options, before anything is built."""
    config_of(asked.dimensions(None), asked.tensor_parallel)
    for variant in _each(variants):
        asked.dimensions(variant)
    if asked.gpu != "auto" and asked.gpu not in gpu_names():
        find_gpu(asked.gpu)


def _open(request: Request) -> Rig:
    from calibrate.gpu.opening import open_rig

    return open_rig(request)


def _one(
    asked: Asked, variant: str | None, talk: Talk, out: Print, opened: Open, clock: Clock
) -> dict[str, Any]:
    begin = clock.now()
    talk.say(f"opening {asked.model}{f' {variant}' if variant else ''}: weights, kernels, graphs")
    rig = opened(Request(asked.dimensions(variant), asked.tensor_parallel))
    try:
        gpu = catalog_gpu(rig.card.identity()["gpu_name"], asked.gpu)
        job = make_job(asked.options(gpu, variant), rig, clock, talk, begin)
        _announce(job, out)
        measure(job)
    finally:
        rig.close()
    return _fit(asked, job.options, talk)


def _announce(job: Job, out: Print) -> None:
    out(f"{job.options.id} on {job.rig.card.identity()['gpu_name']}")
    for line in explain(job.plan, job.estimate, job.options.budget_s):
        out(line)


def _fit(asked: Asked, options: Options, talk: Talk) -> dict[str, Any]:
    why = is_enough(read_job(options.folder))
    if why:
        talk.say(f"no profile is fitted: {why}")
        return result(options.folder, None, None)
    target = profile_file(options.id, asked.out)
    return result(options.folder, publish(options.folder, target), target)
