"""What a summary says about money in full: keys computed from its other keys and the scenario."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kaiju_sim.economics.bottleneck import bottleneck, pressures
from kaiju_sim.economics.cost.bill import Bill, Month, bill_of, month_of
from kaiju_sim.economics.cost.business import DAYS_PER_MONTH, Business, business_of, price_of
from kaiju_sim.economics.cost.per_unit import Split, per, per_million, split, split_shared
from kaiju_sim.economics.cost.usage import Usage, usage_of
from kaiju_sim.economics.plan.forecast import draws, spread
from kaiju_sim.economics.plan.planner import HOURS_PER_MONTH
from kaiju_sim.economics.values import Values, assumptions, values_of
from kaiju_sim.scenario.assumed import Assumed
from kaiju_sim.scenario.parts.economics import Economics
from kaiju_sim.scenario.schema import Scenario

Figures = dict[str, Any]


@dataclass(frozen=True)
class Account:
    """A month in full: what was served, what it cost, who paid."""

    month: Month
    bill: Bill
    split: Split
    business: Business


def account(usage: Usage, economics: Economics, values: Values) -> Account:
    """The month of a usage, for one set of assumed values."""
    month = month_of(usage, values)
    bill = bill_of(usage, economics.purchase, values)
    price = price_of(economics.subscription, values)
    parts = split(bill, month, usage.input_share, values["cached_input_weight"])
    return Account(month, bill, parts, business_of(bill, month, price, values))


def money_figures(scenario: Scenario, summary: Mapping[str, Any]) -> Figures:
    """The keys `cost.*` of kinds of input, `bill.*`, `cost.full.*`, `business.*`, `bottleneck*`."""
    assumed = assumptions(scenario, summary)
    values = values_of(assumed)
    usage = usage_of(scenario, summary)
    found = pressures(summary, scenario.slo.ttft)
    whole = account(usage, scenario.economics, values)
    return {
        "bottleneck": bottleneck(summary, found, scenario.slo.ttft),
        **found,
        **gpu_only(scenario, usage, values, summary),
        **bill_figures(whole.bill),
        **full(scenario, whole, values),
        **bill_percentiles(usage, scenario.economics, assumed),
        **business_figures(whole.business, summary),
    }


def gpu_only(
    scenario: Scenario, usage: Usage, values: Values, summary: Mapping[str, Any]
) -> Figures:
    """GPUs alone, at the stated price: both kinds of input, and a subscriber's messages."""
    second = Month(
        usage.messages_per_s, usage.uncached_per_s, usage.cached_per_s, usage.output_per_s, 0, 0
    )
    usd = usage.stated_usd_per_hour / 3600.0
    parts = split_shared(usd, second, usage.input_share, values["cached_input_weight"])
    per_message = summary.get("cost.usd_per_message")
    stated = scenario.economics.messages_per_subscriber_month
    return {
        "cost.usd_per_million_uncached_input_tokens": per_million(parts.uncached, second.uncached),
        "cost.usd_per_million_cached_input_tokens": per_million(parts.cached, second.cached),
        "cost.usd_per_subscriber_month": (
            None if stated is None or per_message is None else per_message * stated
        ),
    }


def bill_figures(bill: Bill) -> Figures:
    """The lines of the bill."""
    return {f"bill.{name}_usd_per_month": usd for name, usd in bill.lines().items()}


def bill_percentiles(usage: Usage, economics: Economics, assumed: Mapping[str, Assumed]) -> Figures:
    """The whole bill's percentiles over draws from all ranges."""
    drawn = [bill_of(usage, economics.purchase, values).total for values in draws(assumed)]
    found = spread(0.0, drawn)
    return {
        "cost.full.usd_per_month_p10": found.p10,
        "cost.full.usd_per_month_p50": found.p50,
        "cost.full.usd_per_month_p90": found.p90,
    }


def full(scenario: Scenario, whole: Account, values: Values) -> Figures:
    """Everything in the bill, per unit."""
    month, bill, parts = whole.month, whole.bill, whole.split
    per_message = per(bill.total, month.messages)
    stated = scenario.economics.messages_per_subscriber_month
    own = values["users.messages_per_user_day"] * DAYS_PER_MONTH if stated is None else stated
    return {
        "cost.full.usd_per_month": bill.total,
        "cost.full.usd_per_hour": bill.total / HOURS_PER_MONTH,
        "cost.full.usd_per_message": per_message,
        "cost.full.usd_per_million_uncached_input_tokens": per_million(
            parts.uncached, month.uncached
        ),
        "cost.full.usd_per_million_cached_input_tokens": per_million(parts.cached, month.cached),
        "cost.full.usd_per_million_output_tokens": per_million(parts.output, month.output),
        "cost.full.usd_per_conversation_hour": per(bill.total, month.conversation_hours),
        "cost.full.usd_per_subscriber_month": None if per_message is None else per_message * own,
    }


def business_figures(business: Business, summary: Mapping[str, Any]) -> Figures:
    """Revenue and break-even; no margin where answers do not come."""
    served = summary.get("verdict") != "overloaded"
    return {
        "business.daily_users": business.daily_users,
        "business.subscribers": business.subscribers,
        "business.revenue_usd_per_month": business.subscription_usd + business.ads_usd,
        "business.gross_margin": business.gross_margin if served else None,
        "business.burn_usd_per_month": business.burn_usd,
        "business.break_even_price_usd": business.break_even_price_usd,
        "business.break_even_daily_users": business.break_even_daily_users,
    }
