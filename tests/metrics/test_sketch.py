"""The quantile sketch keeps its stated error on any values."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaiju_sim.metrics.summary import at_rank
from kaiju_sim.sketch import BINS, FLOOR_NS, RELATIVE_ERROR, TOP_NS, bin_of, edges_ns, quantile_ns

QUANTILES = (0.0, 0.01, 0.25, 0.5, 0.9, 0.99, 0.999, 1.0)
DURATIONS = st.one_of(
    st.integers(0, 2 * FLOOR_NS),
    st.integers(0, TOP_NS - 1),
    st.integers(10, 45).flatmap(lambda k: st.integers((1 << k) - 2, (1 << k) + 2)),
)


def sketch_of(values: list[int]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.bincount([bin_of(v) for v in values], minlength=BINS).astype(np.int64)


def assert_bound(values: list[int], lost: int) -> None:
    """Every quantile as of the values themselves, within the error; infinite where they are."""
    counts, ranked = sketch_of(values), np.sort(np.asarray(values, float))
    for q in QUANTILES:
        exact, found = at_rank(ranked, q, lost), quantile_ns(counts, q, lost)
        assert (found is None) == (exact is None)
        if exact is not None and found is not None:
            assert abs(found - exact) <= max(FLOOR_NS, RELATIVE_ERROR * exact), (q, found, exact)


@given(st.lists(DURATIONS, min_size=1, max_size=60), st.integers(0, 5))
def test_the_error_is_within_its_bound(values: list[int], lost: int) -> None:
    assert_bound(values, lost)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("lost", [0, 37])
def test_the_error_is_within_its_bound_on_random_data(seed: int, lost: int) -> None:
    draw = np.random.Generator(np.random.PCG64(seed))
    for values in (
        draw.lognormal(18, 2, 5000),
        draw.exponential(1e7, 5000),
        draw.pareto(0.6, 5000) * 1e6,
        draw.integers(0, 5000, 5000),
        np.repeat(draw.uniform(1e3, 1e9, 3), 1000),
    ):
        assert_bound([min(int(v), TOP_NS - 1) for v in values], lost)


@given(st.integers(0, 1 << 62))
def test_a_value_lies_in_its_bin(value: int) -> None:
    edges = edges_ns()
    i = bin_of(value)
    assert edges[i] <= value
    assert value < edges[i + 1] or i == BINS - 1


def test_bins_are_no_wider_than_the_error() -> None:
    edges = edges_ns()
    widths = np.diff(edges)
    assert (widths[1:] <= RELATIVE_ERROR * edges[1:-1]).all()
    assert (widths[1:] > 0).all()
    assert (edges[1], edges[-1]) == (FLOOR_NS, TOP_NS)


def test_the_edges_of_the_range() -> None:
    """Nothing; all at infinity; one value; what is above the range counts as its end."""
    assert quantile_ns(sketch_of([]), 0.5) is None
    assert quantile_ns(sketch_of([]), 0.5, lost=3) is None
    assert quantile_ns(sketch_of([0]), 0.5) <= FLOOR_NS  # type: ignore[operator]
    assert quantile_ns(sketch_of([5_000_000]), 1.0, lost=1) is None
    above = quantile_ns(sketch_of([TOP_NS, 1 << 61]), 0.5)
    assert above == pytest.approx(TOP_NS, rel=RELATIVE_ERROR)
    assert math.isclose(TOP_NS * 1e-9 / 3600, 19.5, rel_tol=0.01)
