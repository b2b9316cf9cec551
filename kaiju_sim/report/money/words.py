"""The sheet of a run's money as tables of words, for the console and for HTML alike."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kaiju_sim.report.format import MISSING, count, percent, rate, usd

Sheet = dict[str, Any]
MOST_BARS = 10
FIGURE_WORDS = {
    "usd_per_month": ("Bill", "USD/month"),
    "usd_per_message": ("Cost of a message", "USD"),
    "gross_margin": ("Gross margin", "of revenue"),
}
STAFF = "Staff, offices and taxes are not included."


@dataclass(frozen=True)
class Words:
    """A table: title, heads, rows, a note below; the first column is text, the others numbers."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


def tables_of(sheet: Sheet) -> list[Words]:
    """All tables, in the order in which they are read."""
    found = [
        bill(sheet),
        gpus(sheet),
        per_unit(sheet),
        business(sheet),
        planner(sheet),
        purchase(sheet),
    ]
    found += [spreads(sheet), forecast(sheet)]
    found += [tornado(sheet, name) for name in FIGURE_WORDS]
    if sheet.get("simulated_tornado"):
        found.append(simulated(sheet))
    found += [crossover(sheet), crossover_by_users(sheet)]
    return [*found, *([pretraining(sheet)] if "pretraining" in sheet else [])]


_PRESSURES = {
    "prefill_compute": "prefill",
    "decode_bandwidth": "decode",
    "kv_memory": "KV memory",
    "ttft_headroom": "TTFT",
}


def limit(sheet: Sheet) -> str:
    """What limits the fleet, and how near each limit is."""
    found = sheet["bottleneck"]["pressures"]
    words = [
        f"{word} {percent(found[name])}"
        for name, word in _PRESSURES.items()
        if found[name] is not None
    ]
    if found["router_imbalance"] is not None:
        words.append(f"most loaded replica {found['router_imbalance']:.2f} times the mean")
    return f"Nearest to a limit: {sheet['bottleneck']['name']} ({', '.join(words)})."


def shown(value: Any, how: Callable[[float], str]) -> str:
    """A number, or a dash for none."""
    return MISSING if value is None else how(float(value))


BILL_LINES = {
    "gpu": "GPUs",
    "host_memory": "Host memory",
    "storage": "Storage",
    "network": "Network",
    "cdn": "CDN",
    "safety": "Safety classifiers",
    "safety_servers": "Safety gate's servers",
    "training": "Training, written off",
    "total": "Whole bill",
}


def bill(sheet: Sheet) -> Words:
    """The monthly bill."""
    lines = sheet["bill_usd_per_month"]
    rows = [
        (label, usd(lines[name]), shown(_part(lines[name], lines["total"]), percent))
        for name, label in BILL_LINES.items()
    ]
    return Words("Bill", ("", "USD/month", "of the bill"), rows, STAFF)


def _part(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def gpus(sheet: Sheet) -> Words:
    """GPUs by kind and price."""
    rows = [
        (
            kind["gpu"],
            rate(kind["gpus"]),
            usd(kind["usd_per_gpu_hour"]),
            usd(kind["on_demand_usd_per_gpu_hour"]),
            usd(kind["usd_per_month"]),
            kind["source"],
        )
        for kind in sheet["gpus"]
    ]
    heads = ("kind", "GPUs", "USD/h", "on demand", "USD/month", "price from")
    note = "At the scenario's prices, before economics.purchase."
    return Words("GPUs", heads, rows, note)


_UNITS = {
    "usd_per_message": "Message",
    "usd_per_million_uncached_input_tokens": "Million input tokens, uncached",
    "usd_per_million_cached_input_tokens": "Million input tokens, cached",
    "usd_per_million_output_tokens": "Million output tokens",
    "usd_per_conversation_hour": "Hour of conversation",
    "usd_per_subscriber_month": "User, month",
}


def per_unit(sheet: Sheet) -> Words:
    """The bill per unit."""
    units = sheet["per_unit"]
    rows = [(label, shown(units[f"cost.full.{key}"], usd)) for key, label in _UNITS.items()]
    note = (
        "Split: host memory to cached input, network to output, all else as the GPUs' time; a"
        " cached token bears economics.cached_input_weight of an uncached one."
    )
    return Words("Whole bill per unit", ("", "USD"), rows, note)


def business(sheet: Sheet) -> Words:
    """Revenue and break-even points."""
    money = sheet["business"]
    rows = [
        ("Daily users (implied)", shown(money["daily_users"], count)),
        ("Subscribers (implied)", shown(money["subscribers"], count)),
        ("Subscriptions less fees, USD/month", shown(money["subscription_usd"], usd)),
        ("Advertising, USD/month", shown(money["ads_usd"], usd)),
        ("Gross margin", shown(money["gross_margin"], percent)),
        ("Burn, USD/month", shown(money["burn_usd"], usd)),
        ("Break-even subscription, USD/month", shown(money["break_even_price_usd"], usd)),
        ("Break-even daily users", shown(money["break_even_daily_users"], count)),
        (
            "Messages a month that a subscription pays for",
            shown(money["break_even_subscriber_messages"], count),
        ),
    ]
    return Words("Who pays", ("", ""), rows, STAFF)


def planner(sheet: Sheet) -> Words:
    """The closed form beside the simulation."""
    rows = [
        (
            row["by"],
            shown(row["hit_rate"], percent),
            shown(row["effective_messages_per_s"], rate),
            shown(row["batch_factor"], rate),
            shown(row["gpus"], count),
            shown(row["usd_per_month"], usd),
            shown(row["usd_per_message"], usd),
            row["bottleneck"],
        )
        for row in sheet["planner"]
    ]
    heads = ("planner with the", "hit rate", "effective/s", "batch x", "GPUs")
    note = (
        "GPUs alone. The planner has the run's step times, and neither queues nor a router. The"
        " simulation's GPUs are those provisioned, not the fewest that would do."
    )
    title = "Closed-form planner and simulation"
    return Words(title, (*heads, "USD/month", "USD/message", "limited by"), rows, note)


_MIXES = {
    "best": "best mix",
    "without_spot": "best mix without spot",
    "all_reserved": "all reserved",
    "all_on_demand": "all on demand",
}


def purchase(sheet: Sheet) -> Words:
    """Ways to buy the GPUs."""
    bought = sheet["purchase"]
    rows = []
    for name, label in _MIXES.items():
        mix = bought["mixes"][name]
        gpus = [rate(mix[f"{kind}_gpus"]) for kind in ("reserved", "on_demand", "spot")]
        rows.append((label, *gpus, usd(mix["usd_per_month"])))
    if bought["stated"] is not None:
        dashes = (MISSING,) * 3
        label = "as the scenario buys, all hours"
        rows.append((label, *dashes, usd(bought["stated"]["usd_per_month"])))
    demand, prices = bought["demand_gpus"], bought["usd_per_gpu_hour"]
    note = (
        f"{_demand(demand)} A GPU hour: reserved {usd(prices['reserved'])}, on demand"
        f" {usd(prices['on_demand'])}, spot {usd(prices['spot'])} (less what is lost), spot at most"
        f" {percent(prices['spot_limit'])} of an hour's GPUs."
    )
    return Words("Buying GPUs", ("", "reserved", "on demand", "spot", "USD/month"), rows, note)


def _demand(demand: Sheet) -> str:
    if demand["hours"] == 1:
        return f"The demand is {count(demand['most'])} GPUs in every hour (no traffic.diurnal)."
    return (
        f"The demand in a week of hours: {count(demand['least'])} to {count(demand['most'])} GPUs,"
        f" {rate(demand['mean'])} on average, in proportion to the messages."
    )


def spreads(sheet: Sheet) -> Words:
    """The percentiles of the figures."""
    rows = []
    for name, (label, unit) in FIGURE_WORDS.items():
        how = percent if name == "gross_margin" else usd
        found = sheet["spread"][name]
        cells = (shown(found[key], how) for key in ("stated", "p10", "p50", "p90"))
        rows.append((f"{label}, {unit}", *cells))
    note = (
        "Draws from all ranges at once, each a triangle from low over its value to high. Some"
        " values stand at an end of their range, so what is stated need not be in the middle."
        " A margin below -1,000 % is shown as that."
    )
    return Words("How sure", ("", "as stated", "p10", "p50", "p90"), rows, note)


def forecast(sheet: Sheet) -> Words:
    """The forecast, a few of its months."""
    months = sheet["forecast"]
    step = max(1, (len(months) - 1) // 6)
    rows = []
    for row in [*months[::step]]:
        bill_ = row["usd_per_month"]
        rows.append(
            (
                str(row["month"]),
                rate(row["messages_per_s"]["stated"]),
                count(row["gpus"]["stated"]),
                usd(bill_["stated"]),
                *(usd(bill_[key]) for key in ("p10", "p50", "p90")),
            )
        )
    heads = ("month", "messages/s", "GPUs", "USD/month", "p10", "p50", "p90")
    return Words("Growth", heads, rows, "0 is now; the fleet grows with the messages.")


def tornado(sheet: Sheet, figure: str) -> Words:
    """The longest bars of a figure, with its indices."""
    found = sheet["sensitivity"][figure]
    indices = {row["name"]: row for row in found["sobol"]}
    how = percent if figure == "gross_margin" else usd
    rows = []
    for bar in found["tornado"][:MOST_BARS]:
        index = indices.get(bar["name"], {})
        ends = (f"{bar['low']:.4g}", f"{bar['high']:.4g}")
        cells = (how(bar["at_low"]), how(bar["at_high"]))
        shares = (shown(index.get(key), _share) for key in ("first", "total"))
        rows.append((bar["name"], *ends, *cells, *shares))
    label, unit = FIGURE_WORDS[figure]
    note = (
        f"As stated: {how(found['stated'])}. One value at a time at the ends of its range; then its"
        " share of the variance when all move, alone and with interactions (Sobol)."
    )
    heads = ("assumption", "low", "high", "at low", "at high", "alone", "with others")
    return Words(f"What moves it: {label.lower()} ({unit})", heads, rows, note)


def _share(estimate: float) -> str:
    """A share of variance: its estimate may lie a little below 0."""
    return percent(max(0.0, estimate))


def simulated(sheet: Sheet) -> Words:
    """Ranges that were simulated."""
    rows = [
        (
            bar["name"],
            bar["low"],
            bar["high"],
            *(usd(bar[end]["usd_per_message"]) for end in ("at_low", "at_high")),
            *(percent(bar[end]["gross_margin"]) for end in ("at_low", "at_high")),
        )
        for bar in sheet["simulated_tornado"]
    ]
    heads = ("value", "low", "high", "USD/message at low", "at high", "margin at low", "at high")
    return Words("What moves it: simulated ranges", heads, rows, "One run at each end.")


def crossover(sheet: Sheet) -> Words:
    """Own model or open model."""
    found = sheet["crossover"]
    crossings = {row["way"]: row for row in found["crossings"]}
    rows = []
    for way in found["ways"]:
        cells = (way["name"], usd(way["one_off_usd"]), usd(way["usd_per_message"]))
        one = crossings.get(way["name"])
        ends = [_users(one[key]) for key in ("daily_users", "p10", "p90")] if one else [""] * 3
        rows.append((*cells, *ends))
    on = found["measured_on"]
    note = (
        f"Step times measured on {on['gpu']} with {on['model']} and its variants (same sizes,"
        " windows and shared KV). The own model is the cheaper one from so many daily users on, p10"
        " and p90 over all ranges. One-off: training, without the people who do it; equal quality"
        " is assumed."
    )
    heads = ("", "one-off USD", "USD/message", "own cheaper from", "p10", "p90")
    return Words("Train from scratch or fine-tune an open model", heads, rows, note)


def _users(value: float | None) -> str:
    return "never" if value is None else count(float(f"{value:.3g}"))


def crossover_by_users(sheet: Sheet) -> Words:
    """The cheapest way by daily users."""
    rows = [
        (count(row["daily_users"]), usd(min(row["usd_per_month"])), row["cheapest"])
        for row in sheet["crossover"]["by_daily_users"]
    ]
    return Words("Cheapest way to a model", ("daily users", "USD/month", "way"), rows)


def pretraining(sheet: Sheet) -> Words:
    """The training run, beside itself without each trick."""
    rows = []
    for name, row in sheet["pretraining"].items():
        shares = (percent(row["waiting"]), percent(row["flops_utilisation"]))
        sizes = (f"{row['gradient_bytes'] / 1e9:.2f}", f"{row['days']:.1f}")
        money = (usd(row["usd"]), usd(row["usd_per_message"]))
        rows.append((name, f"{row['step_s']:.2f}", *shares, *sizes, *money))
    heads = ("", "step s", "waiting", "of bf16 peak", "gradients GB", "days", "USD", "USD/message")
    note = (
        "One training run and what is run beside it, with checkpoints and a teacher's targets,"
        " written off over economics.training.months. Waiting: for the network, of a step."
        " Gradients: what a GPU sends in a step. The bill's line of training does without these."
    )
    return Words("What training costs, and without its tricks", heads, rows, note)
