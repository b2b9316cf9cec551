"""Purchase mix, demand curve, forecast: against brute force and closed forms."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from economics_runs import BASE, SUMMARY, scenario, values

from kaiju_sim.economics.figures import money_figures
from kaiju_sim.economics.plan.beside import answers
from kaiju_sim.economics.plan.demand import demand_by_hour
from kaiju_sim.economics.plan.forecast import Today, ahead, draws, forecast, spread, triangular
from kaiju_sim.economics.plan.mix import Prices, best_mix, mix_with
from kaiju_sim.economics.sheet import LEAST_MARGIN, sheet_of
from kaiju_sim.scenario.assumed import assumed, assumed_in
from kaiju_sim.scenario.schema import Scenario

PRICES = Prices(reserved=2.0, on_demand=3.0, spot=1.5, spot_limit=0.2)
RNG = np.random.Generator(np.random.PCG64(7))
SHAPE = [1.0, 0.7, 0.5, 0.4, 0.3, 0.3, 0.3, 0.4, 0.6, 0.7, 0.8, 0.8] + [1.0, 1.2, 1.5, 1.9] * 3


@pytest.mark.parametrize("case", range(20))
def test_the_best_mix_is_the_best_of_all(case: int) -> None:
    demand = RNG.integers(0, 60, 24).astype(float).tolist()
    prices = Prices(
        RNG.uniform(1, 3), 3.0, RNG.uniform(0.5, 3.5), float(RNG.choice([0, 0.2, 0.5, 1]))
    )
    every = [mix_with(n, demand, prices).usd_per_hour for n in range(62)]
    assert best_mix(demand, prices).usd_per_hour == pytest.approx(min(every)), case


def test_without_spot_it_is_the_newsvendors_quantile() -> None:
    """A reserved GPU pays if it is used in over reserved / on-demand of the hours: the level that
    is exceeded two thirds of the time."""
    demand = [float(n) for n in range(1, 31)]
    found = best_mix(demand, replace(PRICES, spot_limit=0.0))
    used = sum(d >= found.reserved_gpus for d in demand) / len(demand)
    one_more = sum(d >= found.reserved_gpus + 1 for d in demand) / len(demand)
    assert used >= 2 / 3 >= one_more


def test_reserved_work_adds_up_to_the_demand() -> None:
    demand = [10.0, 20.0, 40.0]
    found = mix_with(15, demand, PRICES)
    by_reserved = np.minimum(demand, 15).mean()
    assert by_reserved + found.spot_gpus + found.on_demand_gpus == pytest.approx(np.mean(demand))
    assert found.spot_gpus <= 0.2 * np.mean(demand)
    dear = mix_with(15, demand, replace(PRICES, spot=4.0))
    assert dear.spot_gpus == 0


def test_a_flat_demand_is_reserved() -> None:
    found = best_mix([50.0], replace(PRICES, spot_limit=0.0))
    assert (found.reserved_gpus, found.usd_per_hour) == (50, 100.0)


def of_a_day(**run: float) -> Scenario:
    traffic = BASE["traffic"] | {"diurnal": {"shape": SHAPE, "start_hour": 0}}
    return Scenario.model_validate(BASE | {"traffic": traffic, "run": run})


def test_demand_follows_the_shape_from_the_busiest_measured_hour() -> None:
    demand = demand_by_hour(of_a_day(warm_up=0.0, horizon=86400.0), SUMMARY)
    assert len(demand) == 168
    assert max(demand) == 8
    assert min(demand) == pytest.approx(np.ceil(8 * 0.3 / 1.9), abs=1)
    quiet = demand_by_hour(of_a_day(warm_up=0.0, horizon=7200.0), SUMMARY)
    assert max(quiet) > 8, "a fleet for the small hours is too small for the evening"
    assert demand_by_hour(scenario(), SUMMARY) == [8.0]


def test_the_triangular_quantiles_are_its_own() -> None:
    u = (np.arange(200_000) + 0.5) / 200_000
    found = triangular(u, assumed(2, 1, 5, "x", "U"))
    assert found.min() >= 1
    assert found.max() <= 5
    assert found.mean() == pytest.approx((1 + 2 + 5) / 3, rel=1e-3)
    assert found.var() == pytest.approx((1 + 4 + 25 - 2 - 5 - 10) / 18, rel=1e-3)
    assert (triangular(u[:3], assumed(2, 2, 2, "x", "U")) == 2).all()
    assert triangular(u, assumed(1, 1, 2, "x", "U")).mean() == pytest.approx(4 / 3, rel=1e-3)


def test_draws_are_the_same_each_time_and_stay_in_range() -> None:
    item = assumed(2, 1, 5, "x", "U")
    one, two = draws({"a": item}, 50), draws({"a": item}, 50)
    assert one == two
    assert all(1 <= row["a"] <= 5 for row in one)
    assert draws({"a": item}, 50, seed=3) != one


NOW = Today(100.0, 10.0, 17_000.0, 500.0, 300.0, growth=0.1, decline=0.02)


def test_the_forecast_grows_and_cheapens_as_stated() -> None:
    rate, gpus, usd = ahead(NOW, 0)
    assert (rate, gpus, usd) == (100.0, 10, pytest.approx(17_800))
    rate, gpus, usd = ahead(NOW, 6)
    assert rate == pytest.approx(100 * 1.1**6)
    assert gpus == 18
    assert usd == pytest.approx(18 * 1700 * 0.98**6 + 300 * 1.1**6 + 500)
    months = forecast(NOW, [NOW, replace(NOW, growth=0.2)], 12)
    assert [m.month for m in months] == list(range(13))
    assert all(a.gpus.p90 <= b.gpus.p90 for a, b in pairwise(months))
    assert months[6].gpus.stated == 18


def test_percentiles_are_of_the_draws() -> None:
    found = spread(1.0, list(range(101)))
    assert (found.p10, found.p50, found.p90) == (10, 50, 90)


def test_the_planner_stands_beside_the_simulation() -> None:
    asked = scenario().model_copy(
        update={"slo": scenario().slo.model_copy(update={"ttft": 2.5, "tpot": 0.05})}
    )
    more = {
        "stated.messages_per_s": 100.0,
        "prefix_hit_rate": 500 / 560,
        "realised.prompt_tokens_mean": 5600.0,
        "realised.output_tokens_mean": 140.0,
        "capacity.prefill_tokens_per_s": 8 * 40_000.0,
        "capacity.decode_tokens_per_s": 8 * 20_000.0,
    }
    case, stated, realised, simulated = answers(asked, SUMMARY | more, values(asked))
    assert case.batch_factor == pytest.approx(2.5 / 0.8)
    assert case.effective_messages_per_s == pytest.approx(40.0)
    assert case.decode_gpus == pytest.approx(stated.decode_gpus / case.batch_factor)
    assert stated.effective_messages_per_s == pytest.approx(5.0)
    assert realised.prefill_gpus == pytest.approx(60_000 / 40_000)
    assert realised.decode_gpus == pytest.approx(14_000 / 20_000)
    assert realised.gpus == 3
    assert simulated.gpus == 8
    assert simulated.usd_per_hour == SUMMARY["cost.usd_per_hour"]
    assert [a.by for a in answers(asked, SUMMARY, values(asked))] == ["simulation"]


PLANNED = [
    name
    for name, _ in assumed_in(scenario().economics)
    if name.startswith(("growth.", "planner.", "crossover."))
]
RATES = {
    "stated.messages_per_s": 100.0,
    "realised.prompt_tokens_mean": 5600.0,
    "realised.output_tokens_mean": 140.0,
    "capacity.prefill_tokens_per_s": 320_000.0,
    "capacity.decode_tokens_per_s": 160_000.0,
}


@pytest.mark.parametrize("name", PLANNED)
def test_every_assumption_of_a_plan_moves_it(name: str) -> None:
    part, key = name.split(".")
    here = scenario().model_copy(
        update={"slo": scenario().slo.model_copy(update={"ttft": 2.5, "tpot": 0.05})}
    )
    item = getattr(getattr(here.economics, part), key)
    moved = item.model_copy(update={"value": (item.value + item.high) / 2})
    inner = getattr(here.economics, part).model_copy(update={key: moved})
    there = here.model_copy(update={"economics": here.economics.model_copy(update={part: inner})})
    sheets = [sheet_of(s, SUMMARY | RATES, indices=False) for s in (here, there)]
    section = {"growth": "forecast", "planner": "planner", "crossover": "crossover"}[part]
    assert sheets[0][section] != sheets[1][section]


def test_no_revenue_is_told_as_the_least_margin() -> None:
    sheet = sheet_of(scenario(subscription=0.0), SUMMARY, indices=False)
    assert sheet["business"]["gross_margin"] is None
    assert sheet["spread"]["gross_margin"]["stated"] == LEAST_MARGIN
    free = sheet_of(scenario(gpu_price=0.0), SUMMARY, indices=False)
    assert free["bill_usd_per_month"]["gpu"] == 0
    assert free["purchase"]["mixes"]["all_on_demand"]["usd_per_hour"] == pytest.approx(8 * 2.95)
    json.dumps([sheet, free], allow_nan=False)


def test_the_sheet_agrees_with_itself() -> None:
    sheet = sheet_of(scenario(), SUMMARY, indices=False)
    bill = sheet["bill_usd_per_month"]
    assert bill["total"] == pytest.approx(sum(v for k, v in bill.items() if k != "total"))
    assert sheet["spread"]["usd_per_month"]["stated"] == bill["total"]
    summary = money_figures(scenario(), SUMMARY)
    for name in ("p10", "p50", "p90"):
        one = summary[f"cost.full.usd_per_month_{name}"]
        assert one == pytest.approx(sheet["spread"]["usd_per_month"][name])
    first = sheet["forecast"][0]
    assert first["usd_per_month"]["stated"] == pytest.approx(bill["total"])
    assert first["gpus"]["stated"] == 8
    assert sheet["per_unit"]["cost.full.usd_per_month"] == bill["total"]
    mixes = sheet["purchase"]["mixes"]
    assert mixes["best"]["usd_per_hour"] <= min(m["usd_per_hour"] for m in mixes.values())
    assert mixes["all_on_demand"]["usd_per_hour"] == pytest.approx(8 * 2.95)
