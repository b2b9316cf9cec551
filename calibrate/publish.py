"""From samples to the profile that the simulator ships, and the one line of JSON that says so."""

import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from calibrate.design.lists.mixed import HELD_OUT_LEAST
from calibrate.samples import read_job
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
    if not (folder / "steps.parquet").is_file():
        raise UserError(f"there are no samples in {folder}")
    profile: Profile = import_module("calibrate.fit").fit_profile(folder)
    return profile


def is_enough(job: Mapping[str, Any]) -> str:
    """Why samples are not to be fitted, in words; empty if they are."""
    if not job.get("complete"):
        return "the job is not complete (the same command goes on with it)"
    if job.get("variant") is None and job["done"]["heldout"] < HELD_OUT_LEAST:
        return f"{job['done']['heldout']} held-out steps were measured, under {HELD_OUT_LEAST}"
    return ""


def publish(folder: Path, target: Path) -> Profile:
    """Fit the samples and write the profile."""
    profile = fitted(folder)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make {target.parent}: {error.strerror}") from error
    write_file(target, profile_json(profile).encode())
    return profile


def result(folder: Path, profile: Profile | None, target: Path | None) -> dict[str, Any]:
    """What the last line of stdout says; without a profile `heldout` and `source` are null."""
    job = read_job(folder)
    whole = profile.model_dump(mode="json", by_alias=True) if profile else {}
    names = ("gpu", "model", "variant", "tensor_parallel", "complete", "planned", "done")
    return {
        "id": whole.get("id", job.get("id")),
        "source": whole.get("source"),
        **{name: job.get(name) for name in names},
        "heldout": whole.get("heldout"),
        "kv_blocks": whole.get("kv_blocks") or job.get("kv_blocks"),
        "seconds": round(job.get("seconds", 0.0), 1),
        "compile_s": round(job.get("compile_s", 0.0), 1),
        "dropped": len(job.get("dropped", ())),
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
