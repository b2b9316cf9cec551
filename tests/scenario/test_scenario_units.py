"""Quantities: what is read, what is refused, and that what is written reads back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaiju_sim import units

FLOATS = st.floats(min_value=0, max_value=1e12, allow_nan=False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("500ms", 0.5),
        ("1.5 s", 1.5),
        ("60min", 3600.0),
        ("2h", 7200.0),
        ("1d", 86400.0),
        ("  3 us ", 3e-6),
        ("1e3ns", 1e-6),
        ("-.5s", -0.5),
    ],
)
def test_times(text: str, expected: float) -> None:
    assert units.seconds(text) == expected


def test_sizes_and_prices() -> None:
    assert units.byte_count("80GiB") == 80 * 2**30
    assert units.byte_count("80GB") == 80 * 10**9
    assert units.byte_count("1.5KiB") == 1536
    assert units.usd_per_hour("2.35 USD/h") == 2.35
    assert units.usd_per_month("10 USD/month") == 10


@pytest.mark.parametrize("text", ["", "5", "s", "5 parsecs", "5 S", "1,5s", "5s5", "--5s", "1_0s"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="ns, us, ms, s, min, h, d"):
        units.seconds(text)


def test_long_numbers_are_refused_quickly() -> None:
    with pytest.raises(ValueError, match="not a quantity"):
        units.seconds("9" * 100_000 + "s")
    with pytest.raises(ValueError, match="unknown unit"):
        units.seconds("1e9999999999s")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0s"),
        (0.1, "100ms"),
        (90, "90s"),
        (600, "10min"),
        (4200, "70min"),
        (7200, "2h"),
        (86400, "1d"),
        (1e-9, "1ns"),
        (1.5, "1.5s"),
    ],
)
def test_times_are_written_as_people_do(value: float, expected: str) -> None:
    assert units.format_seconds(value) == expected


@given(FLOATS)
def test_times_and_prices_read_back(value: float) -> None:
    assert units.seconds(units.format_seconds(value)) == value
    assert units.usd_per_hour(units.format_usd_per_hour(value)) == value


@given(st.integers(min_value=0, max_value=2**62))
def test_sizes_read_back(value: int) -> None:
    assert units.byte_count(units.format_bytes(value)) == value


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 1e300, -3.0])
def test_any_time_can_be_shown(value: float) -> None:
    assert units.format_seconds(value).endswith("s")
