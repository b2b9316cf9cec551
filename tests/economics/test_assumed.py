"""Assumed values: ranges are checked, and one walk finds them all."""

import pytest
from pydantic import ValidationError

from kaiju_sim.scenario.assumed import Assumed, AssumedShare, assumed, assumed_in, assumed_share
from kaiju_sim.scenario.base import Part


class Inner(Part):
    """A part with an assumption."""

    a: Assumed = assumed(2, 1, 3, "made up", "U")


class Outer(Part):
    """Parts in parts and in lists."""

    inner: Inner = Inner()
    items: tuple[Inner, ...] = (Inner(), Inner())
    share: AssumedShare = assumed_share(0.5, 0, 1, "made up", "U")
    name: str = "x"


def test_a_value_lies_in_its_range() -> None:
    with pytest.raises(ValidationError, match="give low and high too"):
        assumed(4, 1, 3, "made up", "U")
    with pytest.raises(ValidationError, match="share must not exceed 1"):
        assumed_share(0.5, 0, 2, "made up", "U")


def test_the_walk_finds_all() -> None:
    found = dict(assumed_in(Outer()))
    assert list(found) == ["inner.a", "items[0].a", "items[1].a", "share"]
    assert found["inner.a"].value == 2
