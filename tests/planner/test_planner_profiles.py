"""The break-it variants: catalog models and derived profiles that are what they say."""

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
