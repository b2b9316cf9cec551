"""Every assumed value of a scenario carries its source and moves a figure in some tornado."""

from typing import Any

from economics_runs import BASE, SUMMARY

from kaiju_sim.economics.others import OTHERS
from kaiju_sim.economics.ranges import ranges_of
from kaiju_sim.economics.sheet import Sheet, sheet_of
from kaiju_sim.evals.persona import ends as persona_ends
from kaiju_sim.evals.safety import ends as safety_ends
from kaiju_sim.scenario.assumed import Assumed, assumed_in
from kaiju_sim.scenario.schema import Scenario

RATES = {"capacity.prefill_tokens_per_s": 1e6, "capacity.decode_tokens_per_s": 3e4}
MEANS = {"realised.prompt_tokens_mean": 5600.0, "realised.output_tokens_mean": 140.0}
RAN: dict[str, Any] = SUMMARY | RATES | MEANS | {"realised.messages_per_s": 100.0}
EVERYTHING: dict[str, Any] = {
    "economics": {"purchase": {"reserved_share": 0.5, "spot_share": 0.2}, "subscription": 9.99},
    "kv": {"host_memory": 400 * 2**30},
    "safety": {"pre": "before", "post": {"kind": "head"}},
    "slo": {"ttft": 2.5},
    "engine": {"candidates": 3},
}


def with_everything(**changes: Any) -> Scenario:
    return Scenario.model_validate(BASE | EVERYTHING | changes)


def moved(sheet: Sheet) -> set[str]:
    """Names with a bar of some length."""
    figures = [*sheet["sensitivity"].values(), *sheet["other_figures"].values()]
    found = {bar["name"] for figure in figures for bar in figure["tornado"]}
    bars = (figure["tornado"] for figure in sheet["gate"].values())
    return found | {f"safety.{bar['name']}" for figure in bars for bar in figure}


def test_all_that_is_assumed_has_a_bar_of_some_length() -> None:
    found = moved(sheet_of(with_everything(), RAN, indices=False))
    # A stated price has no range here, so that of subscriptions moves in a scenario without one,
    # tokens are paid where a classifier reads answers.
    hosted = {"pre": "before", "post": {"kind": "classifier"}}
    plain = with_everything(economics={}, safety=hosted)
    found |= moved(sheet_of(plain, RAN, indices=False))
    here = with_everything()
    names = {path for path, _ in assumed_in(here.economics)}
    names |= {f"safety.{path}" for path, _ in assumed_in(here.safety)}
    assert names - found == {"safety.refused.pause_s"}, "it moves messages in time only"
    assert "safety.refused.pause_s.value" in ranges_of(here), "which a simulated range shows"


def test_evals_have_tornados_of_their_own() -> None:
    evals = with_everything().evals
    rows = [*persona_ends.ends(evals.persona), *safety_ends.ends(evals.safety)]
    assert {row["assumed"] for row in rows} == {f"evals.{path}" for path, _ in assumed_in(evals)}


def test_every_assumption_says_where_it_comes_from() -> None:
    found: list[tuple[str, Assumed]] = list(assumed_in(with_everything()))
    assert len(found) > 80
    for path, item in found:
        assert len(item.source) > 3, path
        assert item.grade in "PRIU", path
        assert item.low < item.high, path


def test_other_figures_move_with_what_they_are_for() -> None:
    sheet = sheet_of(with_everything(), RAN, indices=False)["other_figures"]
    assert set(sheet) == set(OTHERS)
    longest = {name: figure["tornado"][0]["name"] for name, figure in sheet.items()}
    later = {bar["name"] for bar in sheet["usd_per_month_ahead"]["tornado"]}
    assert {"growth.per_month", "growth.gpu_price_decline_per_month", "gpu_price"} <= later
    assert longest["planner_gpus"] == "planner.hit_rate"
    assert longest["case_study_planner_gpus"].startswith("planner.")
    weight = {b["name"]: b for b in sheet["usd_per_million_uncached_input_tokens"]["tornado"]}
    heavier = weight["cached_input_weight"]
    assert heavier["at_low"] > heavier["at_high"], "cached tokens bear more, uncached ones less"
    runs = {b["name"]: b for b in sheet["crossover_daily_users"]["tornado"]}["training.runs"]
    assert runs["at_low"] < runs["at_high"]
