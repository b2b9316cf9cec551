"""Everything about a run's money on one sheet: plain data, for tables and for JSON."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from kaiju_sim.catalog.gpus import find_gpu
from kaiju_sim.catalog.models import find_model
from kaiju_sim.economics import sensitivity, training
from kaiju_sim.economics.bottleneck import bottleneck, pressures
from kaiju_sim.economics.cost.bill import blend, spot_price
from kaiju_sim.economics.cost.gpus import kinds_of
from kaiju_sim.economics.cost.incidents import churn_assumptions, incident_sheet
from kaiju_sim.economics.cost.usage import Usage, usage_of
from kaiju_sim.economics.figures import Account, account, full
from kaiju_sim.economics.gate.tornado import gate_assumptions, gate_sheet
from kaiju_sim.economics.others import others_sheet
from kaiju_sim.economics.plan import crossover
from kaiju_sim.economics.plan.beside import answers
from kaiju_sim.economics.plan.demand import demand_by_hour
from kaiju_sim.economics.plan.forecast import PERCENTILES, Today, draws, forecast, spread
from kaiju_sim.economics.plan.mix import Mix, Prices, best_mix, mix_with
from kaiju_sim.economics.plan.planner import HOURS_PER_MONTH
from kaiju_sim.economics.ranges import service_figures
from kaiju_sim.economics.values import GPU_PRICE, Values, assumptions, values_of
from kaiju_sim.errors import UserError
from kaiju_sim.scenario.assumed import Assumed
from kaiju_sim.scenario.schema import Scenario

FIGURES = ("usd_per_month", "usd_per_message", "gross_margin")
"""What the sensitivity analysis looks at."""
LEAST_MARGIN = -10.0
"""A margin below this is shown as this: without revenue it has no end."""
FORECAST_DRAWS = 300
USERS = tuple(10.0**exponent for exponent in range(3, 10))
"""Daily users at which the ways to a model are compared."""

Sheet = dict[str, Any]


@dataclass(frozen=True)
class Ledger:
    """A run with all that its money depends on."""

    scenario: Scenario
    summary: Mapping[str, Any]
    usage: Usage
    assumed: Mapping[str, Assumed]

    def account(self, values: Values) -> Account:
        """The month, for these values."""
        return account(self.usage, self.scenario.economics, values)

    def figures(self, values: Values) -> tuple[float, ...]:
        """`FIGURES`, for these values."""
        found = self.account(values)
        total, margin = found.bill.total, found.business.gross_margin
        per_message = total / found.month.messages
        return total, per_message, LEAST_MARGIN if margin is None else max(margin, LEAST_MARGIN)

    def today(self, values: Values) -> Today:
        """Where a forecast starts from, for these values."""
        return today(self, values)

    @property
    def base(self) -> crossover.Base:
        """What the comparison of ways to a model starts from."""
        gpu_name, model = crossover.measured_on()
        gpu = find_gpu(gpu_name)
        flops = 6.0 * find_model(model).params
        return crossover.Base(flops, gpu.bf16_ops_per_s, gpu.price.usd_per_hour)


def ledger_of(scenario: Scenario, summary: Mapping[str, Any]) -> Ledger:
    """The ledger of a run; UserError where nothing was served that a bill could be divided by."""
    usage = usage_of(scenario, summary)
    if not usage.messages_per_s:
        raise UserError("no message was completed in the measured time: nothing has a price")
    return Ledger(scenario, summary, usage, assumptions(scenario, summary))


def sheet_of(scenario: Scenario, summary: Mapping[str, Any], *, indices: bool = True) -> Sheet:
    """The whole sheet; `indices`: with Sobol's, which take a second."""
    ledger = ledger_of(scenario, summary)
    stated = values_of(ledger.assumed)
    found = pressures(summary, scenario.slo.ttft)
    whole = ledger.account(stated)
    return {
        "scenario": scenario.name,
        "seed": scenario.seed,
        "verdict": summary.get("verdict"),
        "source": summary.get("profile.source"),
        "bottleneck": {
            "name": bottleneck(summary, found, scenario.slo.ttft),
            "pressures": {key.removeprefix("bottleneck."): v for key, v in found.items()},
        },
        "gpus": [
            asdict(kind) | {"usd_per_month": kind.gpus * kind.usd_per_gpu_hour * HOURS_PER_MONTH}
            for kind in kinds_of(scenario, summary)
        ],
        "bill_usd_per_month": whole.bill.lines() | {"total": whole.bill.total},
        "per_unit": full(scenario, whole, stated),
        "business": asdict(whole.business),
        "planner": [asdict(answer) for answer in answers(scenario, summary, stated)],
        "purchase": purchase(ledger, stated),
        **uncertain(ledger, stated),
        "sensitivity": sensitivities(ledger, indices),
        "assumed_besides": {name: item.model_dump() for name, item in besides(ledger).items()},
        "other_figures": others_sheet(ledger),
        "gate": gate_sheet(scenario, summary),
        "incidents": incident_sheet(scenario, summary, ledger.assumed),
        "service": service_figures(summary),
        "crossover": crossover_sheet(ledger, stated),
        **pretraining_sheet(ledger, stated),
        "assumptions": {name: item.model_dump() for name, item in ledger.assumed.items()},
    }


def besides(ledger: Ledger) -> dict[str, Assumed]:
    """What else the sheet assumes: of the safety gate (`safety.`), of users hit by incidents."""
    gate = gate_assumptions(ledger.scenario) if ledger.scenario.safety.on else {}
    own = {f"safety.{path}": item for path, item in gate.items() if path not in ledger.assumed}
    churn = churn_assumptions(ledger.scenario, ledger.assumed) if ledger.scenario.incidents else {}
    return own | {path: item for path, item in churn.items() if path not in ledger.assumed}


def purchase(ledger: Ledger, values: Values) -> Sheet:
    """The best mix for the week's demand, beside the plain ones."""
    on_demand = ledger.usage.on_demand_usd_per_hour / ledger.usage.gpus * values[GPU_PRICE]
    prices = Prices(
        reserved=on_demand * (1.0 - values["purchase.reserved_discount"]),
        on_demand=on_demand,
        spot=on_demand * spot_price(values),
        spot_limit=ledger.scenario.economics.purchase.spot_limit,
    )
    demand = demand_by_hour(ledger.scenario, ledger.summary)
    peak = int(max(demand))
    plain = Prices(prices.reserved, prices.on_demand, prices.spot, 0.0)
    mixes = {
        "best": best_mix(demand, prices),
        "without_spot": best_mix(demand, plain),
        "all_reserved": mix_with(peak, demand, plain),
        "all_on_demand": mix_with(0, demand, plain),
    }
    return {
        "usd_per_gpu_hour": asdict(prices),
        "demand_gpus": {"hours": len(demand), "least": min(demand), "most": peak}
        | {"mean": sum(demand) / len(demand)},
        "mixes": {name: _mix(mix) for name, mix in mixes.items()},
        "stated": _stated_mix(ledger, values, on_demand),
    }


def _mix(mix: Mix) -> Sheet:
    return asdict(mix) | {"usd_per_month": mix.usd_per_hour * HOURS_PER_MONTH}


def _stated_mix(ledger: Ledger, values: Values, on_demand: float) -> Sheet | None:
    """What the scenario's own shares come to, all GPUs all the time."""
    shares = ledger.scenario.economics.purchase
    if shares.reserved_share is None:
        return None
    factor = blend(shares.reserved_share, shares.spot_share, values)
    per_hour = ledger.usage.gpus * on_demand * factor
    return {"usd_per_hour": per_hour, "usd_per_month": per_hour * HOURS_PER_MONTH}


def uncertain(ledger: Ledger, stated: Values) -> Sheet:
    """Percentiles of the bill, now and ahead."""
    columns = zip(*(ledger.figures(values) for values in draws(ledger.assumed)), strict=True)
    spreads = {
        name: asdict(spread(own, column))
        for name, own, column in zip(FIGURES, ledger.figures(stated), columns, strict=True)
    }
    some = [today(ledger, values) for values in draws(ledger.assumed, FORECAST_DRAWS, seed=2)]
    months = forecast(today(ledger, stated), some, ledger.scenario.economics.growth.months)
    return {"spread": spreads, "forecast": [asdict(month) for month in months]}


def today(ledger: Ledger, values: Values) -> Today:
    """Where a forecast starts, for these values."""
    bill = ledger.account(values).bill
    scale = values["demand"] * values["step_time"]
    return Today(
        messages_per_s=ledger.usage.messages_per_s * values["demand"],
        gpus=ledger.usage.gpus * scale,
        gpu_usd=bill.gpu,
        fixed_usd=bill.training,
        other_usd=bill.total - bill.training - bill.gpu,
        growth=values["growth.per_month"],
        decline=values["growth.gpu_price_decline_per_month"],
    )


def sensitivities(ledger: Ledger, indices: bool) -> Sheet:
    """Tornado and Sobol's indices of each figure; what moves nothing is left out."""
    bars = [bars_of(ledger, place) for place in range(len(FIGURES))]
    vary = list(dict.fromkeys(bar.name for of_one in bars for bar in of_one))
    found = sensitivity.sobol(ledger.figures, ledger.assumed, vary) if indices else [[]] * len(bars)
    return {
        name: {
            "stated": ledger.figures(values_of(ledger.assumed))[place],
            "tornado": [asdict(bar) for bar in bars[place]],
            "sobol": [asdict(index) for index in found[place]],
        }
        for place, name in enumerate(FIGURES)
    }


def bars_of(ledger: Ledger, place: int) -> list[sensitivity.Bar]:
    """The tornado of one of `FIGURES`."""
    bars = sensitivity.tornado(lambda values: ledger.figures(values)[place], ledger.assumed)
    return [bar for bar in bars if bar.swing > 0]


def crossover_sheet(ledger: Ledger, values: Values) -> Sheet:
    """Own model or open model, by daily users."""
    gpu_name, model = crossover.measured_on()
    base = ledger.base
    found = crossover.ways(base, values)
    spreads = crossing_spreads(ledger, base)
    monthly = [[crossover.monthly_usd(way, users, values) for way in found] for users in USERS]
    return {
        "measured_on": {"gpu": gpu_name, "model": model},
        "ways": [asdict(way) for way in found],
        "crossings": [asdict(one) | spreads[one.way] for one in crossover.crossings(found, values)],
        "by_daily_users": [
            {
                "daily_users": users,
                "usd_per_month": row,
                "cheapest": found[row.index(min(row))].name,
            }
            for users, row in zip(USERS, monthly, strict=True)
        ],
        "designs": [asdict(design) for design in crossover.measured_designs().values()],
    }


def pretraining_sheet(ledger: Ledger, values: Values) -> Sheet:
    """The training run, where the scenario describes one, beside itself without each trick."""
    described = ledger.scenario.economics.pretraining
    if described is None:
        return {}
    messages = ledger.account(values).month.messages
    variants = training.variants(training.run_of(ledger.usage, described, values))
    return {
        "pretraining": {
            name: asdict(training.priced(run, values, messages)) for name, run in variants.items()
        }
    }


def crossing_spreads(ledger: Ledger, base: crossover.Base) -> dict[str, Sheet]:
    """Percentiles of each crossing over the draws; none where that many draws never cross."""
    users: dict[str, list[float]] = {}
    for values in draws(ledger.assumed, FORECAST_DRAWS, seed=3):
        for one in crossover.crossings(crossover.ways(base, values), values):
            never = one.daily_users is None
            users.setdefault(one.way, []).append(float("inf") if never else one.daily_users or 0.0)
    return {way: _ranked(sorted(found)) for way, found in users.items()}


def _ranked(users: list[float]) -> Sheet:
    at = {f"p{p}": users[(len(users) - 1) * p // 100] for p in PERCENTILES}
    return {name: value if value < float("inf") else None for name, value in at.items()}
