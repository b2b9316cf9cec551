"""The break-it variants: catalog models and derived profiles that are what they say."""

import runpy
from pathlib import Path

import pytest

from calibrate.design.lists.variants import variant_of
from kaiju_sim.catalog.models import find_model
from kaiju_sim.steptime.profile import load_profile

VARIANTS = ("mha", "kv-16bit", "no-window", "no-sharing")


@pytest.mark.parametrize("name", VARIANTS)
def test_the_catalog_has_the_variant_that_was_measured(name: str) -> None:
    mine, measured = find_model(f"kaiju-13b-{name}"), variant_of(find_model("kaiju-13b"), name)
    names = {"name", "description"}
    assert mine.model_dump(exclude=names) == measured.model_dump(exclude=names)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_profile_says_where_it_is_from_and_how_far_off_it_is(name: str) -> None:
    profile = load_profile(f"h100-80gb-kaiju-13b-{name}-tp1")
    assert profile.source in ("derived", "measured")
    assert profile.heldout is not None
    assert profile.heldout.p95_abs_rel_error < 0.2
    assert profile.kv_blocks is not None  # its own memory, as the real engine had it


@pytest.mark.parametrize("name", VARIANTS)
def test_a_derived_profile_comes_from_its_samples_and_the_models_profile(name: str) -> None:
    """`scripts/derive_variants.py` gives it again, so it is not of an older profile."""
    kept = load_profile(f"h100-80gb-kaiju-13b-{name}-tp1")
    script = Path(__file__).parents[2] / "scripts" / "derive_variants.py"
    made, _ = runpy.run_path(str(script))["derived"](name)
    assert made.engine_host == kept.engine_host
    assert made.heldout is not None
    assert kept.heldout is not None
    assert made.heldout.bias == pytest.approx(kept.heldout.bias, rel=1e-4)
    for curve in ("rows", "seqs", "decode_global", "decode_each", "prefill_global"):
        mine, committed = getattr(made.curves, curve), getattr(kept.curves, curve)
        assert mine.x == committed.x
        assert mine.seconds == pytest.approx(committed.seconds, rel=1e-6, abs=1e-12)
