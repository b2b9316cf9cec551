"""The bill and what it comes to: identities, and that every assumption moves something."""

from dataclasses import asdict, replace

import pytest
from economics_runs import BASE, SUMMARY, scenario, values

from kaiju_sim.economics.cost.bill import Bill, blend, month_of
from kaiju_sim.economics.cost.business import business_of
from kaiju_sim.economics.cost.gpus import kinds_of, prices_per_hour
from kaiju_sim.economics.cost.per_unit import split
from kaiju_sim.economics.cost.usage import usage_of
from kaiju_sim.economics.figures import Account, account, money_figures
from kaiju_sim.economics.values import assumptions
from kaiju_sim.scenario.schema import Scenario

HERE = scenario()
USAGE = usage_of(HERE, SUMMARY)


def of(**changes: float) -> Account:
    return account(USAGE, HERE.economics, values(HERE, **changes))


def test_lines_splits_and_units_add_up_to_the_bill() -> None:
    whole = of()
    total = sum(whole.bill.lines().values())
    assert whole.bill.total == pytest.approx(total) == whole.split.total
    found = money_figures(HERE, SUMMARY)
    month = month_of(USAGE, values(HERE))
    assert found["cost.full.usd_per_month"] == pytest.approx(total)
    assert found["cost.full.usd_per_message"] * month.messages == pytest.approx(total)
    kinds = ("uncached_input", "cached_input", "output")
    tokens = (month.uncached, month.cached, month.output)
    parts = [
        found[f"cost.full.usd_per_million_{kind}_tokens"] * n * 1e-6
        for kind, n in zip(kinds, tokens, strict=True)
    ]
    assert sum(parts) == pytest.approx(total)
    lines = [v for k, v in found.items() if k.startswith("bill.")]
    assert sum(lines) == pytest.approx(total)


def test_the_lines_are_what_their_formulas_say() -> None:
    bill, month_s = of().bill, 730 * 3600
    assert bill.gpu == pytest.approx(8 * 2.35 * 730)
    gib = 2**30
    assert bill.network == pytest.approx(14_000 * month_s * 150 / gib * 0.05)
    assert bill.storage == pytest.approx(100 * month_s * 4000 / gib * 24 * 0.02)
    assert bill.cdn == pytest.approx(5000 * 730 * 5e6 / gib * 0.02)
    assert bill.safety == pytest.approx((100 * 40 + 14_000) * month_s * 1e-6 * 0.01)
    assert bill.host_memory == 0.0
    flops = 6 * 12.97e9 * 2e12 * 2
    assert bill.training == pytest.approx(flops / (989e12 * 0.4) / 3600 * 2.35 / 12, rel=0.02)


def test_host_memory_beyond_what_comes_with_gpus_is_paid_and_borne_by_cached_input() -> None:
    bigger = scenario().model_copy(
        update={"kv": HERE.kv.model_copy(update={"host_memory": 350 * 2**30})}
    )
    usage = usage_of(bigger, SUMMARY)
    whole = account(usage, bigger.economics, values(bigger))
    assert whole.bill.host_memory == pytest.approx(100 * 8 * 2.5)
    month = month_of(usage, values(bigger))
    with_none = split(of().bill, month, 0.4, 0.1)
    assert whole.split.cached - with_none.cached == pytest.approx(whole.bill.host_memory)
    assert whole.split.uncached == pytest.approx(with_none.uncached)


def test_a_weight_of_one_prices_cached_like_uncached_and_of_zero_for_nothing() -> None:
    alike = of(cached_input_weight=1.0)
    per_token = alike.split.cached / alike.month.cached
    assert per_token == pytest.approx(alike.split.uncached / alike.month.uncached)
    assert of(cached_input_weight=0.0).split.cached == pytest.approx(0.0)
    assert alike.split.total == pytest.approx(of().split.total)


def test_gpus_alone_split_into_both_kinds_of_input_and_output() -> None:
    found = money_figures(HERE, SUMMARY)
    uncached = found["cost.usd_per_million_uncached_input_tokens"] * 60_000 * 1e-6
    cached = found["cost.usd_per_million_cached_input_tokens"] * 500_000 * 1e-6
    assert uncached + cached == pytest.approx(0.4 * 8 * 2.35 / 3600)
    assert found["cost.usd_per_million_cached_input_tokens"] == pytest.approx(
        0.1 * found["cost.usd_per_million_uncached_input_tokens"]
    )


def test_a_subscribers_cost_is_his_messages() -> None:
    asked = scenario(messages_per_subscriber_month=3000.0)
    found = money_figures(asked, SUMMARY)
    assert found["cost.usd_per_subscriber_month"] == pytest.approx(
        3000 * SUMMARY["cost.usd_per_message"]
    )
    assert found["cost.full.usd_per_subscriber_month"] == pytest.approx(
        3000 * found["cost.full.usd_per_message"]
    )
    assert money_figures(HERE, SUMMARY)["cost.usd_per_subscriber_month"] is None


def margin(price: float, **changes: float) -> float:
    now = values(HERE, **changes)
    month = month_of(USAGE, now)
    found = business_of(of(**changes).bill, month, price, now).gross_margin
    assert found is not None
    return found


def test_the_break_even_price_is_where_the_margin_is_zero() -> None:
    for ads in (0.0, 0.01):
        now = values(HERE, users__ads_usd_per_free_user_month=ads)
        whole = account(USAGE, HERE.economics, now)
        price = whole.business.break_even_price_usd
        assert price is not None
        at = margin(price, users__ads_usd_per_free_user_month=ads)
        assert at == pytest.approx(0.0, abs=1e-12)
        assert margin(price + 0.01, users__ads_usd_per_free_user_month=ads) > 0


def test_the_break_even_volume_is_where_the_margin_is_zero() -> None:
    """With so many users, a fleet that has grown or shrunk with them just earns its bill."""
    whole = of()
    users = whole.business.break_even_daily_users
    assert users is not None
    scale = users / whole.business.daily_users
    rates = ("gpus", "stated_usd_per_hour", "on_demand_usd_per_hour", "replicas")
    rates += ("messages_per_s", "uncached_per_s", "cached_per_s", "output_per_s")
    rates += ("classified_per_s", "live_sessions")
    there = replace(USAGE, **{name: getattr(USAGE, name) * scale for name in rates})
    grown = account(there, HERE.economics, values(HERE))
    assert grown.business.daily_users == pytest.approx(users)
    assert grown.business.burn_usd == pytest.approx(0.0, abs=1e-6 * grown.bill.total)
    assert of(users__subscribers_per_daily_user=0.002).business.break_even_daily_users is None


def test_burn_is_bill_less_revenue() -> None:
    business = of().business
    revenue = business.subscription_usd + business.ads_usd
    assert business.burn_usd == pytest.approx(of().bill.total - revenue)
    assert business.gross_margin == pytest.approx(1 - of().bill.total / revenue)
    overloaded = money_figures(HERE, SUMMARY | {"verdict": "overloaded"})
    assert overloaded["business.gross_margin"] is None


def test_bought_gpus_cost_their_mix() -> None:
    mix = scenario(purchase={"reserved_share": 0.6, "spot_share": 0.3})
    found = account(USAGE, mix.economics, values(mix))
    per_hour = 0.6 * 0.8 + 0.3 * 0.67 / 0.9 + 0.1
    assert blend(0.6, 0.3, values(mix)) == pytest.approx(per_hour)
    assert found.bill.gpu == pytest.approx(8 * 2.95 * per_hour * 730)


def test_a_quieter_average_costs_more_a_message_and_the_fleet_as_much() -> None:
    half = of(average_load=0.5)
    assert half.bill.gpu == of().bill.gpu
    assert half.month.messages == pytest.approx(of().month.messages / 2)
    assert half.bill.network == pytest.approx(of().bill.network / 2)


OTHER_PARTS = ("growth.", "crossover.", "planner.")
"""Assumptions that only forecasts, planner and crossover read."""
INERT = {
    "purchase.reserved_discount": {"purchase": {"reserved_share": 0.5}},
    "purchase.spot_discount": {"purchase": {"reserved_share": 0.5, "spot_share": 0.2}},
    "purchase.spot_loss": {"purchase": {"reserved_share": 0.5, "spot_share": 0.2}},
}
"""Assumptions that act only where the scenario buys so."""


@pytest.mark.parametrize(
    "name", [n for n in assumptions(HERE, SUMMARY) if not n.startswith(OTHER_PARTS)]
)
def test_every_assumption_moves_the_account(name: str) -> None:
    here = scenario(**INERT.get(name, {}))
    here = with_host_memory(here) if name.startswith("bill.host") else here
    usage = usage_of(here, SUMMARY)
    base = values(here)
    up = base | {name: base[name] * 0.9 if base[name] else 0.1}
    before, after = (account(usage, here.economics, v) for v in (base, up))
    assert asdict(before) != asdict(after)


def with_host_memory(of_: Scenario) -> Scenario:
    return of_.model_copy(update={"kv": of_.kv.model_copy(update={"host_memory": 400 * 2**30})})


def test_no_prompt_leaves_all_to_output() -> None:
    month = month_of(replace(USAGE, uncached_per_s=0.0, cached_per_s=0.0), values(HERE))
    found = split(Bill(1, 2, 3, 4, 5, 6, 7), month, 0.4, 0.1)
    assert found.total == pytest.approx(28)
    assert found.cached == 0.0


def test_a_mixed_fleet_is_priced_by_kind() -> None:
    groups = [
        {"replicas": 6, "gpu_price": 2.0},
        {"replicas": 2, "gpu": "A100-80GB"},
    ]
    mixed = Scenario.model_validate(BASE | {"fleet": {"replicas": 8, "groups": groups}})
    billed = 6 * 2.0 + 2 * 1.30
    kinds = kinds_of(mixed, SUMMARY)
    assert [(k.gpu, k.gpus, k.usd_per_gpu_hour) for k in kinds] == [
        ("H100-80GB", 6, 2.0),
        ("A100-80GB", 2, 1.30),
    ]
    assert prices_per_hour(mixed, SUMMARY, kinds) == pytest.approx((billed, 6 * 2.95 + 2 * 1.3))
    grown = SUMMARY | {"fleet.replicas_mean": 9.0, "cost.usd_per_hour": 20.0}
    stated, demanded = prices_per_hour(mixed, grown, kinds_of(mixed, grown))
    assert stated == 20.0, "what was billed, whichever kind was added"
    assert demanded > 9 / 8 * (6 * 2.95 + 2 * 1.3)


def test_an_older_run_is_split_by_its_hit_rate() -> None:
    older = {k: v for k, v in SUMMARY.items() if k != "throughput.cached_tokens_per_s"}
    found = usage_of(HERE, older | {"prefix_hit_rate": 0.9})
    assert found.cached_per_s == pytest.approx(0.9 * 560_000)
    assert found.uncached_per_s == pytest.approx(0.1 * 560_000)


def gated(**safety: object) -> Scenario:
    parts = {"fleet": {"replicas": 8, "cells": 2}, "safety": safety}
    return Scenario.model_validate(BASE | parts)


def bill_with(**safety: object) -> tuple[dict[str, float], Scenario]:
    here = gated(**safety)
    return account(usage_of(here, SUMMARY), here.economics, values(here)).bill.lines(), here


def test_the_safety_gate_is_paid_by_what_it_is_made_of() -> None:
    """Servers before the model; a classifier of answers by the token; the head in GPU time."""
    hour, token = 16 * 0.085 * 730, 730 * 3600 * 1e-6 * 0.01
    classifier = {"kind": "classifier"}
    expected: tuple[tuple[dict[str, object], float, float], ...] = (
        ({}, 0.0, 18_000 * token),
        ({"pre": "before"}, hour, 0.0),
        ({"pre": "after", "post": {"kind": "head"}}, hour, 0.0),
        ({"post": {"kind": "head"}}, 0.0, 0.0),
        ({"post": classifier}, 0.0, 14_000 * token),
        ({"pre": "before", "post": classifier}, hour, 14_000 * token),
    )
    for safety, servers, tokens in expected:
        lines, _ = bill_with(**safety)
        assert lines["safety_servers"] == pytest.approx(servers), safety
        assert lines["safety"] == pytest.approx(tokens), safety


def test_the_servers_price_is_assumed_only_where_there_are_servers() -> None:
    """So that a scenario without a gate draws what it always drew."""
    name = "bill.safety_server_usd_per_hour"
    assert name not in assumptions(HERE, SUMMARY)
    _, here = bill_with(pre="before", pool={"servers": 100})
    names = list(assumptions(here, SUMMARY))
    assert names[-1] == name
    assert names[:-1] == list(assumptions(HERE, SUMMARY))
    lines, here = bill_with(pre="before", pool={"servers": 100})
    usage = usage_of(here, SUMMARY)
    dearer = account(usage, here.economics, values(here, bill__safety_server_usd_per_hour=0.17))
    more = account(usage, here.economics, values(here, demand=1.25))
    assert dearer.bill.safety_servers == pytest.approx(2 * lines["safety_servers"])
    assert more.bill.safety_servers == pytest.approx(1.25 * lines["safety_servers"])
