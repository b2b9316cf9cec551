"""The gate in closed form against the simulated one, and what it rests on."""

from typing import Any

import pytest
from fleet_runs import constant
from gate_runs import assumed, classes, gated, refused, share

from kaiju_sim.economics.gate.queue import squared_variation, stay_s, waiting_chance
from kaiju_sim.economics.gate.rates import all_above, rates
from kaiju_sim.economics.gate.tornado import GATE_FIGURES, gate_assumptions, gate_sheet
from kaiju_sim.scenario.assumed import with_values
from kaiju_sim.scenario.parts.safety import Pool, Safety, ScoreLaw
from kaiju_sim.simulation import simulate

OPEN = {
    "run": {"warm_up": 20.0, "horizon": 420.0, "drain": 20.0},
    "traffic": {
        "kind": "poisson",
        "messages_per_s": 60.0,
        "output_tokens": {"kind": "geometric", "mean": 8},
    },
    "steptime": {"kind": "constant", "step": 0.002},
    "characters": {"count": 1, "definition_tokens": constant(0)},
}


def low_bounds(**parts: Any) -> dict[str, Any]:
    """More of what is seldom, so that a short run has enough of it."""
    pool = {"servers": 2, "service_mean_s": assumed(0.02)}
    return {"pool": pool, "teen_share": share(0.3), **classes(0.15, 0.3), **parts}


def simulated(safety: dict[str, Any], engine: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    here = gated(safety, OPEN, {"engine": engine})
    return simulate(here).summary, here


@pytest.mark.parametrize(
    ("gate", "engine"),
    [
        ({"pre": "before"}, {}),
        ({"pre": "before", "post": {"kind": "classifier"}}, {}),
        ({"post": {"kind": "head", "likeness": share(0.3)}}, {"candidates": 3}),
    ],
)
def test_rates_and_times_are_the_simulated_ones(gate: dict[str, Any], engine: Any) -> None:
    """Open traffic: who is refused says it again half the time, as the formula has it."""
    summary, here = simulated(low_bounds(**gate, **refused(0.1, 0.5)), engine)
    sheet = gate_sheet(here, summary)
    assert sheet is not None
    stated = {name: figure["stated"] for name, figure in sheet.items()}
    n = summary["requests.arrived"]

    def near(part: float, truth: float) -> bool:
        return part / n == pytest.approx(truth, abs=5 * (truth * (1 - truth) / n) ** 0.5 + 1e-3)

    stopped = summary["requests.blocked_pre"] + summary["requests.blocked_post"]
    assert near(stopped, stated["blocked"])
    assert near(summary["safety.wrongly"], stated["wrongly_refused"])
    assert near(summary["safety.left"], stated["left"])
    sent = rates(here.safety, here.engine.candidates).sent
    assert summary["requests.arrived"] / 400 == pytest.approx(60 * sent, rel=0.03)
    if "pre" in gate:
        assert summary["safety.pre.utilisation"] == pytest.approx(stated["utilisation"], rel=0.02)
        stay = summary["safety.pre.stay_s.mean"]
        assert stay == pytest.approx(stated["added_ttft_s"], rel=0.06)


def test_the_queue_is_erlangs_and_pollaczeks() -> None:
    assert waiting_chance(1, 0.7) == pytest.approx(0.7)
    assert waiting_chance(2, 1.0) == pytest.approx(1 / 3)  # rho 0.5: C = 2 rho^2 / (1 + rho)
    mean = assumed(0.01)
    one = Pool.model_validate({"servers": 1, "service": "constant", "service_mean_s": mean})
    assert squared_variation(one) == 0.0
    assert stay_s(one, 70.0) == pytest.approx(0.01 * (1 + 0.7 / (2 * 0.3)))  # M/D/1
    assert stay_s(one, 100.0) is None, "full: it grows without end"
    random = one.model_copy(update={"service": "exponential"})
    assert stay_s(random, 70.0) == pytest.approx(0.01 / 0.3)  # M/M/1


def test_candidates_that_are_alike_are_blocked_together() -> None:
    law = ScoreLaw.model_validate({"median": share(0.5), "spread": assumed(1.0)})
    assert all_above(law, 0.5, 3, 1.0) == pytest.approx(0.5)
    assert all_above(law, 0.5, 3, 0.0) == pytest.approx(1 / 8)
    # Two normals with correlation r are both above 0 with 1/4 + asin(r) / (2 pi) (Sheppard 1899).
    assert all_above(law, 0.5, 2, 0.5) == pytest.approx(1 / 3, abs=1e-6)
    assert all_above(law, 0.5, 3, 0.5) < all_above(law, 0.5, 2, 0.5)


def test_everything_assumed_of_the_gate_moves_something_but_the_pause() -> None:
    """The pause before one says it again shifts messages in time; only a simulation sees it."""
    here = gated({"pre": "before", "post": {"kind": "head"}}, {"engine": {"candidates": 2}})
    sheet = gate_sheet(here, {"realised.messages_per_s": 900.0})
    assert sheet is not None
    bars = {name: {b["name"]: b for b in sheet[name]["tornado"]} for name in GATE_FIGURES}
    moved = {name for figure in bars.values() for name in figure}
    assert gate_assumptions(here).keys() - moved == {"refused.pause_s"}
    slow = bars["added_ttft_s"]["pool.service_mean_s"]
    assert slow["at_high"] is None, "8 servers cannot do 900 messages/s of 32 ms"
    assert slow["at_low"] < sheet["added_ttft_s"]["stated"]
    assert sheet["added_ttft_s"]["tornado"][0] == slow, "no end is the widest"
    paid = bars["servers_usd_per_month"]["pool.service_mean_s"]
    assert paid["at_high"] == pytest.approx(32 * paid["at_low"])
    assert sheet["servers_usd_per_month"]["stated"] == pytest.approx(8 * 0.085 * 730)
    assert bars["wrongly_refused"]["adult.messages.benign.spread"]["at_high"] > 0.03


def test_the_sheet_has_what_the_gate_has() -> None:
    assert gate_sheet(gated({}), {"realised.messages_per_s": 9.0}) is None
    after = gate_sheet(gated({"pre": "after"}), {"realised.messages_per_s": 9.0})
    only = gate_sheet(gated({"post": {"kind": "classifier"}}), {"realised.messages_per_s": 9.0})
    assert after is not None
    assert only is not None
    assert after["added_ttft_s"]["stated"] == 0.0, "the model does not wait for it"
    assert only["added_ttft_s"] == {"stated": None, "tornado": []}
    assert only.keys() == after.keys() == set(GATE_FIGURES)
    names = {bar["name"] for figure in only.values() for bar in figure["tornado"]}
    assert names
    assert not any(name.startswith("pool.") for name in names)


def test_values_at_paths_replace_only_themselves() -> None:
    moved = with_values(Safety(), {"adult.classes.violating": 0.05, "pool.service_sigma": 1.0})
    assert moved.adult.classes.violating.value == 0.05
    assert moved.adult.classes.violating.high == Safety().adult.classes.violating.high
    assert moved.teen == Safety().teen
    assert moved.pool.service_sigma.value == 1.0
