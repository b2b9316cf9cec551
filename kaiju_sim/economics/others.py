"""Figures beside bill and margin that rest on assumptions: tokens, forecast, planner, crossover.

The tornado of `sheet` looks at the bill, a message and the margin; what is assumed of growth, of
the closed-form planner and of the crossover moves none of them. Here it moves what it is for.
"""

from typing import TYPE_CHECKING, Any

from kaiju_sim.economics.ends import tornados
from kaiju_sim.economics.plan import crossover
from kaiju_sim.economics.plan.beside import answers
from kaiju_sim.economics.plan.forecast import ahead
from kaiju_sim.economics.values import Values

if TYPE_CHECKING:
    from kaiju_sim.economics.sheet import Ledger

OTHERS = (
    *("usd_per_million_uncached_input_tokens", "usd_per_month_ahead", "case_study_planner_gpus"),
    *("planner_gpus", "crossover_daily_users", "open_model_usd_per_month"),
)
CROSSED = "open model, grouped heads, bf16, fine-tuned"
"""The way that `crossover_daily_users` compares with."""


def other_figures(ledger: "Ledger", values: Values) -> dict[str, float | None]:
    """`OTHERS` for these values; None where there is none (never crossed, nothing served)."""
    whole, summary = ledger.account(values), ledger.summary
    by = {answer.by: answer.gpus for answer in answers(ledger.scenario, summary, values)}
    months = ledger.scenario.economics.growth.months
    uncached = whole.month.uncached
    return {
        "usd_per_million_uncached_input_tokens": (
            1e6 * whole.split.uncached / uncached if uncached else None
        ),
        "usd_per_month_ahead": ahead(ledger.today(values), months)[2],
        "case_study_planner_gpus": by.get("case study"),
        "planner_gpus": by.get("assumed hit rate"),
        **models(ledger, values, whole.business.daily_users),
    }


def models(ledger: "Ledger", values: Values, users: float) -> dict[str, float | None]:
    """Where the own model becomes the cheaper one; the cheapest open one's month at these users."""
    ways = crossover.ways(ledger.base, values)
    crossed = {one.way: one.daily_users for one in crossover.crossings(ways, values)}
    return {
        "crossover_daily_users": crossed[CROSSED],
        "open_model_usd_per_month": min(
            crossover.monthly_usd(way, users, values) for way in ways[1:]
        ),
    }


def others_sheet(ledger: "Ledger") -> dict[str, Any]:
    """`OTHERS` as stated, and for each the assumptions that move it, the widest first."""

    return tornados(ledger.assumed, lambda values: other_figures(ledger, values), OTHERS)
