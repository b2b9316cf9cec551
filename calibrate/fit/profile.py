"""`refit`: from a folder of samples to the profile that the simulator reads."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from calibrate.design.buckets import round_tokens
from calibrate.fit.basis import Floats, points_of
from calibrate.fit.errors import error_summary, errors_by_kind
from calibrate.fit.features import CURVES, Card
from calibrate.fit.host import engine_host, host_overhead_s
from calibrate.fit.joint import Data, Problem, choose, solve, split
from calibrate.fit.read import (
    LEAST_STEPS,
    Samples,
    Step,
    plain_steps,
    read_samples,
    steps_to_fit,
)
from kaiju_sim.catalog.models import Model, find_model
from kaiju_sim.errors import UserError
from kaiju_sim.scenario.schema import Engine, KvCache
from kaiju_sim.scenario.traffic import Prompt
from kaiju_sim.steptime.convert import curves_from_profile
from kaiju_sim.steptime.profile import (
    FORMAT,
    VERSION,
    ErrorSummary,
    KvBlocks,
    OperatorCurves,
    Profile,
    Provenance,
    profile_id,
)


def refit(folder: Path, model: Model | None = None) -> Profile:
    """The profile of the samples in *folder*: the same bytes each time.

    *model* has the dimensions if they are not the catalog's (a variant). UserError if there are too
    few steps.
    """
    samples = read_samples(folder)
    held = plain_steps(samples, "heldout")
    steps = steps_to_fit(samples)
    _check(steps, held, folder)
    found = model or find_model(samples.job["model"])
    host_s = host_overhead_s(steps)
    problem, widths, data = choose(
        [Data(steps, samples.calls, found, host_s, card) for card in _cards(samples, found)]
    )
    return _profile(samples, found, data, _curves(problem, solve(problem, widths)), held)


def _check(steps: Sequence[Step], held: Sequence[Step], folder: Path) -> None:
    if len(steps) < LEAST_STEPS or not held:
        raise UserError(
            f"{len(steps)} steps to fit and {len(held)} held out are too few: at least "
            f"{LEAST_STEPS} and 1",
            folder,
        )
    both = {step.shape for step in steps} & {step.shape for step in held}
    assert not both, "a held-out step is among those of the fit"


def _cards(samples: Samples, model: Model) -> list[Card]:
    """Prefill attention in rounds of all multiprocessors' tiles, or not in rounds."""
    heads = model.heads // samples.job["tensor_parallel"]
    return [Card(model.window or 0, tokens) for tokens in (round_tokens(heads), 0)]


def _curves(problem: Problem, rises: Floats) -> OperatorCurves:
    curves = split(problem.bases, rises)
    return OperatorCurves(**{name: points_of(*curves[name]) for name in CURVES})


def _profile(
    samples: Samples, model: Model, data: Data, curves: OperatorCurves, held: Sequence[Step]
) -> Profile:
    job, window = samples.job, data.card.window
    parts: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        **_names(job),
        "source": "measured",
        "provenance": _provenance(job),
        "curves": curves,
        "prefill_round_tokens": data.card.round_tokens,
        "host_overhead_s": data.host_s,
        "kv_blocks": _kv_blocks(job, model),
    }
    nothing = ErrorSummary(n=1, median_abs_rel_error=0.0, p95_abs_rel_error=0.0, bias=0.0)
    draft = Profile(**parts, heldout=nothing, heldout_by_kind={}, residual=None)
    read = curves_from_profile(draft, _most(data, held, 0), _most(data, held, 1))
    return Profile(
        **parts,
        heldout=error_summary(read, held, window),
        heldout_by_kind=errors_by_kind(read, held, window),
        residual=error_summary(read, data.steps, window),
        engine_host=engine_host(samples.engine),
    )


def _most(data: Data, held: Sequence[Step], which: int) -> int:
    shapes = [step.shape for step in (*data.steps, *held)]
    return max((shape.rows, shape.seqs)[which] for shape in shapes)


def _names(job: dict[str, Any]) -> dict[str, Any]:
    """Id, GPU, model (a variant by a name of its own) and ranks."""
    variant = job.get("variant")
    model = f"{job['model']}-{variant}" if variant else job["model"]
    names = {"gpu": job["gpu"], "model": model, "tensor_parallel": job["tensor_parallel"]}
    return {"id": profile_id(**names), **names}


def _provenance(job: dict[str, Any]) -> Provenance:
    known = Provenance.model_fields
    fields = {key: value for key, value in job["provenance"].items() if key in known}
    return Provenance.model_validate(fields, strict=False)


def _kv_blocks(job: dict[str, Any], model: Model) -> KvBlocks | None:
    """The engine's memory plan; what it does not say are the scenario's defaults."""
    said = job.get("kv_blocks")
    if not said:
        return None
    ring = -(-(model.window or 0) // said["block_tokens"]) + 1 if said["local"] else 0
    usual = {
        "window_blocks": ring,
        "memory_utilisation": KvCache().memory_utilisation,
        "token_budget": Engine().token_budget,
        "max_seqs": Engine().max_seqs,
        "prompt_limit": Prompt().limit,
    }
    known = {info.alias or name for name, info in KvBlocks.model_fields.items()}
    fields = usual | {key: value for key, value in said.items() if key in known}
    return KvBlocks.model_validate(fields)
