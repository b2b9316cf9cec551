"""Reading curves: slots, continuity, the sum of a step, rounding."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaiju_sim.steptime.curves import (
    CONSTANT,
    CONTEXT_CURVES,
    DECODE_EACH,
    DECODE_GLOBAL,
    OPERATORS,
    SLOTS,
    Curves,
    curve_ns,
    decode_ns,
    fixed_ns,
    prefill_ns,
    step_ns,
)
from kaiju_sim.steptime.grid import Floats, lines_on_grid, slot_edges

TOKENS = st.integers(1, 2**48 - 1)


def curves(slope: Floats, offset: Floats, kind: int = OPERATORS) -> Curves:
    return Curves(
        kind=kind,
        mean_ns=7.0,
        host_ns=1000.0,
        rows_ns=np.arange(10) * 10.0,
        seqs_ns=np.arange(5) * 3.0,
        slope=np.stack([slope * (i + 1) for i in range(CONTEXT_CURVES)]),
        offset=np.stack([offset * (i + 1) for i in range(CONTEXT_CURVES)]),
        rounds=np.zeros(1, np.int64),
        each=True,
    )


def linear(ns_per_unit: float) -> Curves:
    return curves(*lines_on_grid(lambda x: ns_per_unit * x))


def test_slots_are_eight_an_octave_and_exact() -> None:
    edges = slot_edges()
    assert len(edges) == SLOTS + 1
    assert list(edges[:9]) == [1, 1.125, 1.25, 1.375, 1.5, 1.625, 1.75, 1.875, 2]
    assert edges[-1] == 2.0**48
    assert np.all(np.diff(edges) > 0)


@given(TOKENS)
def test_a_token_count_falls_in_its_slot(x: int) -> None:
    edges = slot_edges()
    which = curves(np.zeros(SLOTS), np.arange(SLOTS, dtype=np.float64))
    slot = int(curve_ns(which, DECODE_GLOBAL, x))
    assert edges[slot] <= x < edges[slot + 1]


@given(TOKENS, st.floats(1e-6, 1e6))
def test_a_linear_curve_is_exact(x: int, ns_per_unit: float) -> None:
    value = curve_ns(linear(ns_per_unit), DECODE_GLOBAL, x)
    assert math.isclose(value, ns_per_unit * x, rel_tol=1e-12)


@given(st.integers(0, SLOTS - 2))
def test_a_bent_curve_is_continuous_at_slot_ends(slot: int) -> None:
    bent = curves(*lines_on_grid(lambda x: np.sqrt(x) + 0.5 * x))
    edge = slot_edges()[slot + 1]
    left = bent.offset[0, slot] + bent.slope[0, slot] * edge
    right = bent.offset[0, slot + 1] + bent.slope[0, slot + 1] * edge
    assert math.isclose(left, right, rel_tol=1e-9)


@given(TOKENS)
def test_a_bent_curve_is_close(x: int) -> None:
    bent = curves(*lines_on_grid(np.sqrt))
    assert math.isclose(curve_ns(bent, DECODE_GLOBAL, x), math.sqrt(x), rel_tol=5e-4)


def test_nothing_takes_no_time_and_the_last_line_goes_on() -> None:
    line = curves(*lines_on_grid(lambda x: 5.0 + 2.0 * x))
    assert curve_ns(line, DECODE_GLOBAL, 0) == 0.0
    assert curve_ns(line, DECODE_GLOBAL, 1) == 7.0
    assert math.isclose(curve_ns(line, DECODE_GLOBAL, 2**50), 2.0 * 2**50, rel_tol=1e-9)


def test_a_step_is_the_sum_of_its_parts() -> None:
    line = linear(1.0)
    assert fixed_ns(line, 4, 2) == 1000.0 + 40.0 + 6.0
    assert decode_ns(line, 100, 50, 4) == pytest.approx(100 + 2 * 50 + 5 * 12)
    assert decode_ns(line, 0, 0, 0) == 0.0
    assert prefill_ns(line, 10, 5) == pytest.approx(3 * 10 + 4 * 5)
    assert step_ns(1046.0, 200.0, 50.0) == 1296


@given(TOKENS, TOKENS, st.integers(1, 512))
def test_a_curve_of_nothing_makes_no_difference_to_the_last_bit(x: int, y: int, n: int) -> None:
    """So whether it is looked up is a matter of speed alone."""
    zeros = curves(*lines_on_grid(np.sqrt))
    zeros.slope[DECODE_EACH] = zeros.offset[DECODE_EACH] = 0.0
    assert decode_ns(zeros, x, y, n) == decode_ns(zeros._replace(each=False), x, y, n)


def test_a_fixed_kind_has_only_its_mean() -> None:
    fixed = curves(np.ones(SLOTS), np.ones(SLOTS), kind=CONSTANT)
    assert fixed_ns(fixed, 10**9, 10**9) == 7.0
    assert decode_ns(fixed, 100, 100, 2) == 0.0
    assert prefill_ns(fixed, 100, 100) == 0.0


def test_a_step_is_rounded_once_and_takes_at_least_a_nanosecond() -> None:
    assert step_ns(0.0, 0.0, 0.0) == 1
    assert step_ns(0.4, 0.4, 0.4) == 1
    assert step_ns(1.5, 0.0, 0.0) == 2
    assert step_ns(1.2, 0.2, 0.2) == 2
    assert isinstance(step_ns(1.2, 0.2, 0.2), int)


def test_values_are_plain_floats() -> None:
    line = linear(2.0)
    parts = (fixed_ns(line, 1, 1), decode_ns(line, 3, 3, 1), prefill_ns(line, 3, 3))
    assert all(type(part) is float for part in parts)
