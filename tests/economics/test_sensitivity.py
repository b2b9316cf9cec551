"""Tornado and Sobol's indices: one-at-a-time runs, and a function whose indices are known."""

import math
from collections.abc import Mapping

import pytest
from economics_runs import SUMMARY, scenario

from kaiju_sim.economics.sensitivity import sobol, tornado
from kaiju_sim.economics.sheet import FIGURES, bars_of, ledger_of, sensitivities
from kaiju_sim.economics.values import values_of
from kaiju_sim.scenario.assumed import Assumed, assumed

LEDGER = ledger_of(scenario(), SUMMARY)
STATED = values_of(LEDGER.assumed)


def test_the_tornado_is_one_run_at_a_time() -> None:
    for place in range(len(FIGURES)):
        for bar in bars_of(LEDGER, place):
            item = LEDGER.assumed[bar.name]
            low, high = (
                LEDGER.figures(STATED | {bar.name: end})[place] for end in (item.low, item.high)
            )
            assert (bar.at_low, bar.at_high) == (low, high)


def test_bars_are_sorted_and_name_what_moves() -> None:
    (bill, *_) = (bars_of(LEDGER, place) for place in range(3))
    assert [bar.swing for bar in bill] == sorted((bar.swing for bar in bill), reverse=True)
    names = {bar.name for bar in bill}
    assert {"gpu_price", "step_time", "training.tokens", "bill.network_usd_per_gib"} <= names
    assert not any(name.startswith(("users.", "growth.", "crossover.")) for name in names)
    margin = {bar.name for bar in bars_of(LEDGER, 2)}
    assert {"users.messages_per_user_day", "users.payment_fee"} <= margin


def test_a_range_of_no_width_has_no_bar() -> None:
    found = {"a": assumed(1, 1, 1, "x", "U"), "b": assumed(1, 0, 2, "x", "U")}
    assert [bar.name for bar in tornado(lambda v: v["a"] + v["b"], found)] == ["b"]


UNIT = assumed(0.5, 0, 1, "triangular", "U")


def test_indices_of_a_sum_are_its_variances() -> None:
    """Var(a x + b y) = (a^2 + b^2) Var(x): no interactions, so first and total are equal."""
    found = {"x": UNIT, "y": UNIT}
    (indices,) = sobol(lambda v: (3 * v["x"] + v["y"],), found, ["x", "y"], count=4096)
    assert [index.name for index in indices] == ["x", "y"]
    for index, share in zip(indices, (0.9, 0.1), strict=True):
        assert index.first == pytest.approx(share, abs=0.03)
        assert index.total == pytest.approx(share, abs=0.03)


def test_a_pure_interaction_has_no_first_order() -> None:
    found: Mapping[str, Assumed] = {"x": UNIT, "y": UNIT}

    def product(v: Mapping[str, float]) -> tuple[float]:
        return ((v["x"] - 0.5) * (v["y"] - 0.5),)

    (indices,) = sobol(product, found, ["x", "y"], count=4096)
    for index in indices:
        assert index.first == pytest.approx(0.0, abs=0.05)
        assert index.total == pytest.approx(1.0, abs=0.08)


def test_indices_of_a_product_of_means() -> None:
    """f = (1 + x)(1 + y), x and y of variance v about mean m: shares from their moments."""
    found = {"x": UNIT, "y": UNIT}
    (indices,) = sobol(lambda v: ((1 + v["x"]) * (1 + v["y"]),), found, ["x", "y"], count=4096)
    mean, var = 1.5, 1 / 24
    whole = var * mean**2 * 2 + var**2
    for index in indices:
        assert index.first == pytest.approx(var * mean**2 / whole, abs=0.03)
        assert index.total == pytest.approx((var * mean**2 + var**2) / whole, abs=0.03)


def test_nothing_that_varies_has_no_indices() -> None:
    (indices,) = sobol(lambda _: (1.0,), {"x": UNIT}, ["x"], count=64)
    assert indices[0].first == indices[0].total == 0.0


def test_the_sheets_indices_add_up() -> None:
    found = sensitivities(LEDGER, indices=True)
    for name in FIGURES:
        firsts = sum(index["first"] for index in found[name]["sobol"])
        totals = sum(index["total"] for index in found[name]["sobol"])
        assert firsts < 1.1, name
        assert totals > 0.9, name
        assert math.isfinite(found[name]["stated"])
