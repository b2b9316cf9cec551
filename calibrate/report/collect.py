"""The whole report of folders of samples, for machines."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from calibrate.fit.read import read_samples
from calibrate.publish import SAMPLES, dimensions, fitted, is_enough, profile_file, sample_folder
from calibrate.report.breakdown import step_lines
from calibrate.report.engine import engine_lines
from calibrate.report.floors import BYTES_PER_S, OPS_PER_S
from calibrate.report.heldout import held_out
from calibrate.report.operators import Times
from calibrate.report.steps import shown_steps
from calibrate.report.worth import AS_DESIGNED, worth_lines
from calibrate.samples import read_engine, read_job
from kaiju_sim.errors import UserError
from kaiju_sim.steptime.profile import Profile, parse_profile

Report = dict[str, Any]
NAMES = ("id", "gpu", "model", "variant", "tensor_parallel", "complete")
PROVENANCE = ("gpu_name", "driver", "sm_clock_mhz", "date", "commit", "versions")


def measured_names(out: Path | None) -> list[str]:
    """Every folder of samples that is no variant's; UserError if there is none."""
    root = SAMPLES if out is None else out
    jobs = {file.parent.name: read_job(file.parent) for file in sorted(root.glob("*/job.json"))}
    jobs = {name: job for name, job in jobs.items() if f"-{AS_DESIGNED}-" not in name}
    names = [name for name, job in jobs.items() if job.get("variant") is None]
    if not names:
        raise UserError(f"there are no samples in {root}")
    return names


def collect(names: Sequence[str], out: Path | None) -> Report:
    """Reports of these profiles."""
    return {
        "floor": {"bytes_per_s": BYTES_PER_S, "int8_ops_per_s": OPS_PER_S},
        "profiles": [profile_report(name, out) for name in names],
    }


def profile_report(name: str, out: Path | None) -> Report:
    """Steps with their floors and operators, held-out errors, worth of the design choices."""
    folder = sample_folder(name, out)
    job = read_job(folder)
    if not job:
        raise UserError(f"there are no samples in {folder}")
    model = dimensions(job)
    times = Times(read_samples(folder).calls, model, job["tensor_parallel"])
    profile, why = _profile(name, out)
    is_model = job.get("variant") is None
    provenance = job.get("provenance", {})
    return {
        **{key: job.get(key) for key in NAMES},
        "provenance": {key: provenance.get(key) for key in PROVENANCE},
        "steps": list(step_lines(shown_steps(folder), model, times, job)),
        "heldout": None if profile is None else held_out(folder, profile, model),
        "no_profile": why,
        "engine": engine_lines(read_engine(folder), profile),
        "worth": worth_lines(folder.parent, job) if is_model else [],
    }


def _profile(name: str, out: Path | None) -> tuple[Profile | None, str]:
    """The profile that was written, else one fitted now; or why there is none."""
    file, folder = profile_file(name, out), sample_folder(name, out)
    if file.is_file():
        return parse_profile(file.read_bytes(), str(file)), ""
    why = is_enough(read_job(folder))
    if why:
        return None, why
    try:
        return fitted(folder), ""
    except UserError as error:
        return None, str(error)
