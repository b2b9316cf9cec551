"""One choice of the design taken back: what is changed, and what comes of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from app.figures.scenarios import Source, overrides_of
from kaiju_sim.diff.figures import Delta, deltas
from kaiju_sim.diff.sides import differing, of_directory
from kaiju_sim.economics.sheet import ledger_of, pretraining_sheet
from kaiju_sim.economics.training import NO_INT8, NO_SQUINCH, STATED
from kaiju_sim.economics.values import values_of
from kaiju_sim.planner.breakits.names import BASELINE, BREAK_ITS
from kaiju_sim.report.format import count, duration, percent, show, significant, usd
from kaiju_sim.report.planning.break_its import binds, figure, gpus, times
from kaiju_sim.report.rundir import SCENARIO, RunDirectory, read_run
from kaiju_sim.scenario.loader import load_scenario

Rows = list[dict[str, Any]]
Row = Mapping[str, Any]
SCENARIOS = ("baseline", "published", "case_study")
"""Scenarios that have the break-its."""
TRAINING: Mapping[str, tuple[str, str]] = {
    NO_SQUINCH: ("gradients travel in bf16, not in 6 bits", "gradients: bf16"),
    NO_INT8: ("the model is trained in bf16, not in int8", "forward: bf16"),
}
"""Break-its of training: what they do, and the setting; they change what a message bears of it."""
CLUSTER = "economics.pretraining={{gpus: {gpus}{more}}}"
CLUSTERS = (512, 1024, 2048, 4096)
"""GPUs that a model is trained on, to choose from."""
WINDOW = ("run.warm_up=1min", "run.horizon=4min", "run.drain=1min")
REPLICATIONS = 2
SHOWN = (
    *("prefix_hit_rate", "ttft_s.p50", "ttft_s.p99", "tpot_s.p50", "gpu_busy_fraction"),
    *("kv_utilisation.global", "bottleneck.prefill_compute", "bottleneck.decode_bandwidth"),
    *("slo.attainment", "throughput.messages_per_s", "cost.usd_per_message", "verdict"),
)
"""Figures that are compared first."""
LINKS = (
    ("Prompt tokens found in caches", "prefix_hit_rate"),
    ("KV memory held", "kv_utilisation.global"),
    ("Prefill, of what the GPUs could do", "bottleneck.prefill_compute"),
    ("Decode, of what the GPUs could do", "bottleneck.decode_bandwidth"),
    ("Messages that meet their objectives", "slo.attainment"),
)
"""Links of the causal chain, in its order."""
MOVED = 0.005
"""Half a point: less is no link of the chain."""


def names(source: Source) -> list[str]:
    """Break-its that a scenario has, then those of training, which need no override."""
    known = overrides_of(source)
    return [*(one.name for one in BREAK_ITS if one.name in known), *TRAINING]


def said(name: str) -> str:
    """What a break-it does, in words."""
    if name in TRAINING:
        return TRAINING[name][0]
    return next(one.says for one in BREAK_ITS if one.name == name)


def against(name: str) -> str:
    """What it is held against: as shipped, or another override."""
    return next((one.against for one in BREAK_ITS if one.name == name), BASELINE)


def side(source: Source, name: str, cluster: int = CLUSTERS[0]) -> dict[str, Any]:
    """The scenario with a break-it (or what one is held against), to be simulated."""
    if name in TRAINING:
        return _side(source, (), (CLUSTER.format(gpus=cluster, more=f", {TRAINING[name][1]}"),))
    return _side(source, () if name == BASELINE else (name,), ())


def base_of(source: Source, name: str, cluster: int = CLUSTERS[0]) -> dict[str, Any]:
    """What a break-it is held against, to be simulated."""
    if name in TRAINING:
        return _side(source, (), (CLUSTER.format(gpus=cluster, more=""),))
    return side(source, against(name))


def _side(source: Source, overrides: Sequence[str], sets: Sequence[str]) -> dict[str, Any]:
    return {**source, "with": list(overrides), "sets": [*WINDOW, *sets]}


def inputs(base: Path, other: Path) -> Rows:
    """Inputs that differ."""
    found = differing(of_directory(base), of_directory(other))
    return [
        {"input": one.path, "as shipped": one.a or "–", "broken": one.b or "–"} for one in found
    ]


def figures(base: Path, other: Path) -> Rows:
    """Figures side by side, with the library's verdict on their difference."""
    found = {one.metric.key: one for one in deltas(of_directory(base), of_directory(other))}
    return [_figure(found[key]) for key in SHOWN if key in found]


def _figure(one: Delta) -> dict[str, Any]:
    return {
        "figure": one.metric.label,
        "as shipped": show(one.a, one.metric.kind),
        "broken": show(one.b, one.metric.kind),
        "verdict": str(one.verdict),
    }


def cards(base: RunDirectory, other: RunDirectory, rows: Sequence[Row] | None) -> Rows:
    """Fleet, cost, latency and hit rate: as shipped, and broken."""
    found = [
        _card("Fewest GPUs that hold", *(_pair(rows, gpus))),
        _card("Cost there (USD per 1,000 messages)", *_pair(rows, _cost)),
        _card("TTFT p99, same fleet", *(_late(run) for run in (base, other))),
        _card("Hit rate, same fleet", *(_share(run, "prefix_hit_rate") for run in (base, other))),
    ]
    return [card for card in found if card["as shipped"] is not None]


def _card(name: str, a: str | None, b: str | None) -> dict[str, Any]:
    return {"figure": name, "as shipped": a, "broken": b}


def _pair(rows: Sequence[Row] | None, shown: Any) -> tuple[str | None, str | None]:
    """A figure of the searched rows: the broken one stands last, held against its own."""
    if not rows:
        return None, None
    broken = rows[-1]
    shipped = next(row for row in rows if row["name"] == broken["against"])
    return shown(shipped), shown(broken)


def _cost(row: Row) -> str:
    return figure(row, "cost.usd_per_message", lambda value: significant(value * 1000))


def chain(base: RunDirectory, other: RunDirectory, rows: Sequence[Row] | None) -> list[str]:
    """The causal chain in words, from both runs' figures; a link that did not move is left out.

    Misses make prefill; prefill and decode keep GPUs busy; then messages wait; so GPUs are added.
    """
    told = [_link(words, base.summary.get(key), other.summary.get(key)) for words, key in LINKS]
    last = f"TTFT p99: {_late(base)} → {_late(other)}; the fleet is {other.summary['verdict']}."
    return [*(link for link in told if link), last, *([needed(rows)] if rows else [])]


def _link(words: str, a: float | None, b: float | None) -> str:
    if a is None or b is None or abs(b - a) < MOVED:
        return ""
    return f"{words}: {percent(a)} → {percent(b)}."


def needed(rows: Sequence[Row]) -> str:
    """What it takes in GPUs, in a sentence."""
    one, (shipped, broken) = rows[-1], _pair(rows, gpus)
    cost, dearer = _pair(rows, _cost)
    if one["gpus"] is None:
        return f"No fleet that was tried holds ({broken}); as shipped {shipped} GPUs do."
    if one["difference"] == "no difference":
        return f"GPUs: {shipped} → {broken}: no difference beyond what these runs can tell."
    return (
        f"So the fewest GPUs go from {shipped} to {broken} ({times(one)} times), and 1,000 messages"
        f" from {cost} to {dearer} USD. With fewer: {binds(one)}."
    )


def _late(run: RunDirectory) -> str:
    value = run.summary.get("ttft_s.p99")
    return "∞" if value is None else duration(value)


def _share(run: RunDirectory, key: str) -> str:
    value = run.summary.get(key)
    return "–" if value is None else percent(value)


def shares(base: RunDirectory, other: RunDirectory) -> Rows:
    """The chain's shares on both sides, percent."""
    return [
        {"share": words, "side": side, "percent": run.summary[key] * 100}
        for words, key in LINKS
        for side, run in (("as shipped", base), ("broken", other))
        if run.summary.get(key) is not None
    ]


def fleets(rows: Sequence[Row]) -> Rows:
    """The fewest GPUs of each row that has any."""
    return [
        {"break-it": row["name"], "gpus": row["gpus"]} for row in rows if row["gpus"] is not None
    ]


def table(rows: Sequence[Row]) -> Rows:
    """All rows for people: the fewest GPUs and what they are like."""
    return [
        {
            "break-it": row["name"],
            "what it does": row["says"],
            "held against": row["against"],
            "GPUs": gpus(row),
            "times": times(row),
            "USD/1,000 messages": _cost(row),
            "hit rate": figure(row, "prefix_hit_rate", percent),
            "TTFT p99": figure(row, "ttft_s.p99", duration),
            "binds": binds(row),
            "difference": row["difference"] or "–",
            "step times": row["step_times"].split(":")[0],
        }
        for row in rows
    ]


TRAINED: Mapping[str, tuple[str, Any]] = {
    "gradient_bytes": ("Gradients that a GPU sends in a step (GB)", lambda v: significant(v / 1e9)),
    "step_s": ("Time of a step", duration),
    "waiting": ("Of a step, waiting for the network", percent),
    "flops_utilisation": ("Of the bf16 peak", percent),
    "days": ("Days of the final run", lambda v: f"{v:.1f}"),
    "usd": ("All training (USD)", usd),
    "usd_per_message": ("Training in a message (USD)", usd),
}


def trained(base: Path, other: Path) -> Rows:
    """What training costs on both sides."""
    a, b = (_priced(path) for path in (base, other))
    return [
        {"figure": words, "as shipped": shown(a[key]), "broken": shown(b[key])}
        for key, (words, shown) in TRAINED.items()
    ]


def _priced(path: Path) -> Mapping[str, Any]:
    ledger = ledger_of(load_scenario(path / SCENARIO).scenario, read_run(path).summary)
    found: Mapping[str, Any] = pretraining_sheet(ledger, values_of(ledger.assumed))
    priced: Mapping[str, Any] = found["pretraining"][STATED]
    return priced


def training_chain(rows: Rows) -> list[str]:
    """The chain in words, from the priced runs."""
    moved = [row for row in rows if row["as shipped"] != row["broken"]]
    told = [f"{row['figure']}: {row['as shipped']} → {row['broken']}." for row in moved]
    if all("USD" not in row["figure"] for row in moved):
        told.append("All of it hides under computing on this cluster, so it costs nothing.")
    return [*told, "Serving is as it was: the fleet, its latency and its hit rate."]


def searched(rows: Sequence[Row]) -> str:
    """How many simulations the search took."""
    return f"{count(sum(row['simulated'] for row in rows))} simulations, each with fresh users."
