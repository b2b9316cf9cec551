"""From samples to the profile that the simulator ships, and the one line of JSON that says so."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from calibrate.design.lists.variants import LONG_S, variant_of
from calibrate.samples import read_job
from kaiju_sim.catalog.models import Model, find_model
from kaiju_sim.errors import UserError
from kaiju_sim.report.atomic import write_file
from kaiju_sim.steptime.profile import Profile, profile_json

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = ROOT / "calibrate" / "samples"
PROFILES = ROOT / "kaiju_sim" / "catalog" / "measured"


def sample_folder(name: str, out: Path | None) -> Path:
    """Where the samples of that profile are: under `out`, else in the checkout."""
    return (SAMPLES if out is None else out) / name


def profile_file(name: str, out: Path | None) -> Path:
    """Where the profile goes: beside the samples under `out`, else into the simulator's catalog."""
    return (PROFILES if out is None else out) / name / "profile.json"


def fitted(folder: Path) -> Profile:
    """The profile of these samples; UserError if there are none, or too few."""
    job = read_job(folder)
    if not job or not (folder / "steps.parquet").is_file():
        raise UserError(f"there are no samples in {shown(folder)}")
    from calibrate.fit.profile import refit  # brings scipy

    return refit(folder, dimensions(job))


def dimensions(job: Mapping[str, Any]) -> Model:
    """The model that was measured, a variant's dimensions where it was one."""
    model = find_model(job["model"])
    return model if job.get("variant") is None else variant_of(model, job["variant"])


def is_enough(job: Mapping[str, Any]) -> str:
    """Why samples are not to be fitted, in words; empty if they are."""
    if not job.get("complete"):
        return "the job is not complete (the same command goes on with it)"
    if job.get("variant") is None and job["done"]["heldout"] < job["heldout_least"]:
        done, least = job["done"]["heldout"], job["heldout_least"]
        return f"{done} held-out steps were measured, under {least}"
    if not job["done"]["heldout"]:
        return f"a variant's short plan has no held-out steps (--budget {LONG_S:.0f}s has some)"
    return ""


def publish(folder: Path, target: Path) -> Profile:
    """Fit the samples and write the profile."""
    profile = fitted(folder)
    write_profile(profile, target)
    return profile


def write_profile(profile: Profile, target: Path) -> None:
    """Write it, whole or not at all."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make {target.parent}: {error.strerror}") from error
    write_file(target, profile_json(profile).encode())


def result(folder: Path, profile: Profile | None, target: Path | None) -> dict[str, Any]:
    """What the last line of stdout says: the profile but for its curves, and how the job went.

    Without a profile `source` and `heldout` are null.
    """
    job = read_job(folder)
    names = ("id", "gpu", "model", "variant", "tensor_parallel", "provenance", "kv_blocks")
    block = {name: job.get(name) for name in names} | {"source": None, "heldout": None}
    if profile is not None:
        block |= profile.model_dump(mode="json", by_alias=True, exclude={"curves"})
    return {
        **block,
        **{name: job.get(name) for name in ("complete", "planned", "done")},
        "seconds": round(job.get("seconds", 0.0), 1),
        "compile_s": round(job.get("compile_s", 0.0), 1),
        "dropped": len(job.get("dropped", ())),
        "failed": len(job.get("failed", ())),
        "over_budget_s": round(job.get("over_budget_s", 0.0), 1),
        "paths": {
            "samples": shown(folder),
            "profile": shown(target) if target is not None else None,
        },
    }


def line_of(value: Mapping[str, Any]) -> str:
    """One line of JSON."""
    return json.dumps(value, allow_nan=False) + "\n"


def shown(path: Path) -> str:
    """The path from the checkout, if it is in it."""
    path = path.resolve()
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)
