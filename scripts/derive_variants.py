"""Step-time profiles of the break-it variants, from few measured steps of each.

    python scripts/derive_variants.py            # prints how well each explains its steps
    python scripts/derive_variants.py --write    # writes catalog/measured/<id>/profile.json

A variant is Kaiju 13B with one design choice taken back. Its short measurement
(`python -m calibrate --variants`) is some twenty whole steps, too few for a profile of its own.
What a variant shares with the model is known from the model's own profile; what it does not, the
roofline knows but for how much of the GPU's peaks is reached. So each curve is

    the model's measured curve + factor x (the variant's roofline - the model's)

with a factor for decode attention and one for prefill attention, by least squares of
predicted / measured - 1; rows, sequences and host have the factor 1. The random mixed steps are
held out and judge it. The profile says `source: derived`. A profile measured in full
(`python -m calibrate --variant NAME --budget 120s`) has the same name and takes its place.
"""

import sys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from calibrate.design.lists.variants import variant_of
from calibrate.fit.errors import error_summary, errors_by_kind, relative_errors
from calibrate.fit.profile import _kv_blocks, _provenance
from calibrate.fit.read import Samples, Step, read_samples
from calibrate.publish import PROFILES, SAMPLES, write_profile
from kaiju_sim.catalog.gpus import find_gpu
from kaiju_sim.catalog.models import Model, find_model
from kaiju_sim.steptime import curves as of
from kaiju_sim.steptime.convert import curves_from_profile
from kaiju_sim.steptime.profile import ErrorSummary, OperatorCurves, Points, Profile, load_profile
from kaiju_sim.steptime.roofline import Rank, roofline_curves, usual_efficiency

BASE = "h100-80gb-kaiju-13b-tp1"
VARIANTS = ("mha", "kv-16bit", "no-window", "no-sharing")
EFFICIENCY = usual_efficiency(0.66, 0.8)
"""The roofline's usual efficiencies: the factors are relative to them."""
MOST_ROWS, MOST_SEQS = 8192, 1024
CONTEXTS = {
    "decode_global": (of.DECODE_GLOBAL, 0),
    "decode_local": (of.DECODE_LOCAL, 0),
    "prefill_global": (of.PREFILL_GLOBAL, 1),
    "prefill_local": (of.PREFILL_LOCAL, 1),
    "decode_each": (of.DECODE_EACH, None),
}
"""Each context curve, and which factor it has."""


def main(words: Sequence[str]) -> None:
    """Derive all variants; write them if asked to."""
    for name in VARIANTS:
        profile, factors = derived(name)
        assert profile.heldout is not None
        assert profile.residual is not None
        sys.stdout.write(
            f"{profile.id}: factors decode {factors[0]:.2f}, prefill {factors[1]:.2f}; fitted"
            f" {profile.residual.n} steps, median error"
            f" {profile.residual.median_abs_rel_error:.1%}; held out {profile.heldout.n}, median"
            f" {profile.heldout.median_abs_rel_error:.1%}, 95 % within"
            f" {profile.heldout.p95_abs_rel_error:.1%}, bias {profile.heldout.bias:+.1%}\n"
        )
        if "--write" in words:
            write_profile(profile, PROFILES / profile.id / "profile.json")


def derived(name: str) -> tuple[Profile, NDArray[np.float64]]:
    """A variant's profile, and its two factors."""
    whole = load_profile(BASE)
    # Steps are measured without the serving engine's own time, which is put back at the end.
    base = whole.model_copy(update={"engine_host": None})
    model = variant_of(find_model(base.model), name)
    samples = read_samples(SAMPLES / BASE.replace("-tp1", f"-{name}-tp1"))
    held = [step for step in samples.steps if step.id.startswith("mixed/")]
    fitted = [step for step in samples.steps if not step.id.startswith("mixed/")]
    window = model.window or 0

    def errors(factors: NDArray[np.float64]) -> NDArray[np.float64]:
        profile = made(base, model, name, samples, factors)
        return relative_errors(curves_from_profile(profile, 4096, 512), fitted, window)

    # Steps are whole nanoseconds: a smaller difference would show the fit no slope.
    found = least_squares(errors, [1.0, 1.0], diff_step=1e-3, bounds=([0.05, 0.05], [20.0, 20.0])).x
    profile = made(base, model, name, samples, found)
    shown = judged(profile, held, fitted, window)
    return shown.model_copy(update={"engine_host": whole.engine_host}), found


def judged(profile: Profile, held: Sequence[Step], fitted: Sequence[Step], window: int) -> Profile:
    """The profile with its errors."""
    read = curves_from_profile(profile, 4096, 512)
    return profile.model_copy(
        update={
            "heldout": error_summary(read, held, window),
            "heldout_by_kind": errors_by_kind(read, held, window),
            "residual": error_summary(read, fitted, window),
        }
    )


def made(
    base: Profile, model: Model, name: str, samples: Samples, factors: NDArray[np.float64]
) -> Profile:
    """The profile at these factors, its errors not yet known."""
    gpu, ranks = find_gpu(base.gpu), base.tensor_parallel
    its, usual = (
        roofline_curves(Rank(gpu, m, ranks, EFFICIENCY), 0.0, MOST_ROWS, MOST_SEQS)
        for m in (model, find_model(base.model))
    )
    nothing = ErrorSummary(n=1, median_abs_rel_error=0.0, p95_abs_rel_error=0.0, bias=0.0)
    curves = {
        "rows": shifted(base.curves.rows, (its.rows_ns - usual.rows_ns) * 1e-9),
        "seqs": shifted(base.curves.seqs, (its.seqs_ns - usual.seqs_ns) * 1e-9),
    }
    for key, (which, factor) in CONTEXTS.items():
        points: Points = getattr(base.curves, key)
        more = [of.curve_ns(its, which, x) - of.curve_ns(usual, which, x) for x in points.x]
        times = 1.0 if factor is None else factors[factor]
        added = np.array(more) * 1e-9 * times
        there = not (model.window is None and key.endswith("_local"))
        seconds = (np.array(points.seconds) + added) * there
        curves[key] = Points(x=points.x, seconds=rounded(seconds))
    variant = f"{base.model}-{name}"
    return base.model_copy(
        update={
            "id": f"{base.gpu}-{variant}-tp{ranks}".lower(),
            "source": "derived",
            "model": variant,
            "provenance": _provenance(samples.job),
            "curves": OperatorCurves(**curves),
            "kv_blocks": _kv_blocks(samples.job, model),
            "heldout": nothing,
            "heldout_by_kind": {},
            "residual": None,
        }
    )


def shifted(points: Points, more_s: NDArray[np.float64]) -> Points:
    """Points of a dense table, with what is added at each."""
    added = more_s[np.array(points.x)]
    return Points(x=points.x, seconds=rounded(np.array(points.seconds) + added))


def rounded(seconds: NDArray[np.float64]) -> tuple[float, ...]:
    """To five digits, never below 0 (no attention layer of that kind: no time)."""
    return tuple(float(f"{max(0.0, x):.5g}") for x in seconds)


if __name__ == "__main__":
    main(sys.argv[1:])
