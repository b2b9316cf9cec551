"""The comparison in tables, for a terminal or for a page."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from calibrate.report.show.tables import Table, figure, markdown, percent, plain

Document = Mapping[str, Any]
Row = Mapping[str, Any]
RATES = ("throughput", "capacity_messages_per_s", "capacity_tokens_per_s")


def tables_of(found: Document) -> Iterator[Table]:
    """All tables."""
    yield _workloads(found["workloads"])
    yield _errors(found["rows"])
    if found["bands"]:
        yield _bands(found["bands"])
    if found["other_cards"]:
        yield _others(found["other_cards"])
    yield _paired(found["paired"])
    yield _steps(found["steps"])
    yield _causes(found["causes"])


def text(found: Document) -> str:
    """For people."""
    parts = [*tables_of(found), glance(found["rows"])]
    return f"{head(found)}\n" + "".join(map(plain, parts)) + worst_line(found)


def markdown_all(found: Document) -> str:
    """For a page."""
    return f"{head(found)}\n" + "".join(map(markdown_of, tables_of(found))) + worst_line(found)


def markdown_of(table: Table) -> str:
    """A table under its title."""
    return f"#### {table.title}\n\n{markdown(table)}"


def glance(rows: Sequence[Row]) -> Table:
    """The errors of the figures that count, a line for each workload, each with the repeats' spread
    behind it."""
    wanted = [(m, q) for m in ("ttft", "tpot") for q in ("p50", "p90", "p99")]
    wanted.append(("throughput", "mean"))
    heads = ["workload", "load", *(f"{m.upper()} {q}" for m, q in wanted[:-1]), "throughput"]
    known = {(row["workload"], row["metric"], row["statistic"]): row for row in rows}
    names = dict.fromkeys(row["workload"] for row in rows if row["metric"] == "ttft")
    loads = {row["workload"]: row["load"] for row in rows}
    lines = [
        [name, percent(loads[name], ".0f"), *(_short(known.get((name, *key))) for key in wanted)]
        for name in names
    ]
    capacity = [_short(row) for row in rows if row["metric"] in RATES[1:]]
    note = "Error (spread of repeated runs); bold: more than it may be."
    if capacity:
        note += f" Capacity: {capacity[0]} in messages/s, {capacity[-1]} in tokens/s."
    return Table("Errors at a glance", heads, lines, 1, note)


def _short(row: Row | None) -> str:
    if row is None:
        return "-"
    error = percent(row["rel_error"], "+.1f")
    shown = f"**{error}**" if row["ok"] is False else error
    return shown if row["repeat_spread"] is None else f"{shown} ({percent(row['repeat_spread'])})"


def short_causes(rows: Sequence[Row]) -> Table:
    """The causes of the errors of means."""
    return _causes([row for row in rows if row["statistic"] == "mean"])


def head(found: Document) -> str:
    """What was compared, on what."""
    known, profile = found["provenance"], found["profile"]
    where = (
        "on one card in one sitting" if known["one_sitting"]
        else "on the profile's card, another day" if known["same_card"]
        else "on another card than the profile's"
    )  # fmt: skip
    return (
        f"{found['id']}: {known['gpu_name']}, driver {known['driver']}, "
        f"{', '.join(known['dates'])}; profile of {profile['date']}, {where}.\n"
    )


def worst_line(found: Document) -> str:
    """The worst case, and how many figures keep to what they must."""
    verdict, row = found["verdict"], found["worst"]
    kept = f"{verdict['kept']} of {verdict['judged']} figures within what they may differ by."
    if row is None:
        return f"{kept}\n"
    what = f"{row['workload']}, {row['metric']} {row['statistic']}"
    return f"Worst case: {what}: {percent(row['rel_error'], '+.1f')}. {kept}\n"


def seconds(row: Row, key: str) -> str:
    """A latency in ms, or a rate."""
    value = row[key]
    return figure(value, ".5g") if row["metric"] in RATES else figure(value * 1e3, ".4g")


def _workloads(rows: Sequence[Row]) -> Table:
    heads = ["workload", "messages", "runs", "seconds", "messages/s", "load", "tokens in",
             "out", "hit rate", "left out", "late p99 ms"]  # fmt: skip
    return Table("Workloads", heads, [
        [
            row["workload"], str(row["messages"]), str(row["runs"]), figure(row["seconds"]),
            figure(row["rate"], ".2f"), percent(row["load"], ".0f"),
            figure(row["prompt_mean"], ".0f"), figure(row["output_mean"], ".0f"),
            percent(row["hit_rate"]), str(row["left_out"]),
            figure(row["late_s"]["p99"] * 1e3, ".2f"),
        ]
        for row in rows
    ])  # fmt: skip


def _errors(rows: Sequence[Row]) -> Table:
    heads = ["workload", "figure", "measured", "simulated", "error", "repeats' spread", "may be",
             "kept"]  # fmt: skip
    kept = {None: "", True: "yes", False: "**no**"}
    note = "Latencies in ms, throughput in tokens/s, capacity in messages/s and tokens/s."
    return Table("Errors", heads, [
        [
            row["workload"], f"{row['metric']} {row['statistic']}", seconds(row, "measured"),
            seconds(row, "simulated"), percent(row["rel_error"], "+.1f"),
            percent(row["repeat_spread"]), percent(row["allowed"]), kept[row["ok"]],
        ]
        for row in rows
    ], 2, note)  # fmt: skip


def _others(rows: Sequence[Row]) -> Table:
    heads = ["workload", "figure", "card", "measured", "simulated", "error"]
    return Table("On other cards of the type", heads, [
        [row["workload"], f"{row['metric']} {row['statistic']}", row["card"][:12],
         seconds(row, "measured"), seconds(row, "simulated"), percent(row["rel_error"], "+.1f")]
        for row in rows
    ], 3)  # fmt: skip


def _bands(rows: Sequence[Row]) -> Table:
    heads = ["workload", "figure", "measured ms", "from", "to", "inside"]
    note = "Simulated with all steps 1 % shorter and 1 % longer."
    return Table("Near the capacity: a band", heads, [
        [row["workload"], f"{row['metric']} {row['statistic']}",
         *(figure(row[key] * 1e3, ".4g") for key in ("measured", "low", "high")),
         "yes" if row["inside"] else "**no**"]
        for row in rows
    ], 2, note)  # fmt: skip


def _paired(rows: Sequence[Row]) -> Table:
    heads = ["workload", "latency", "pairs", "p5", "median", "p95", "mean", "mean size",
             "correlation"]  # fmt: skip
    return Table("Message by message", heads, [
        [row["workload"], row["metric"], str(row["n"]),
         *(percent(row[key], "+.1f") for key in ("p5", "p50", "p95", "mean")),
         percent(row["mean_abs"]), figure(row["correlation"], ".3f")]
        for row in rows
    ], 2)  # fmt: skip


def _steps(rows: Sequence[Row]) -> Table:
    heads = ["workload", "step", "n", "measured ms", "predicted ms", "bias", "median", "p95",
             "before ms", "p99", "predicted", "after ms", "p99", "predicted"]  # fmt: skip
    ms: Callable[[float | None], str] = lambda s: figure(None if s is None else s * 1e3, ".3f")  # noqa: E731
    return Table("Steps, and the engine's own time beside them", heads, [
        [row["workload"], row["kind"], str(row["n"]), ms(row["measured_s"]),
         ms(row["predicted_s"]), percent(row["bias"], "+.2f"),
         percent(row["median_abs_rel_error"], ".2f"), percent(row["p95_abs_rel_error"], ".2f"),
         ms(row["host_s"]), ms(row["host_p99_s"]), ms(row["predicted_host_s"]),
         ms(row["after_s"]), ms(row["after_p99_s"]), ms(row["predicted_after_s"])]
        for row in rows
    ], 2)  # fmt: skip


def _causes(rows: Sequence[Row]) -> Table:
    heads = ["workload", "figure", "error", "arrival jitter", "step time", "engine's host", "rest"]
    keys = ("rel_error", "arrival_jitter", "step_time", "engine_host", "rest")
    return Table("Where it comes from (the first run)", heads, [
        [row["workload"], f"{row['metric']} {row['statistic']}",
         *(percent(row[key], "+.1f") for key in keys)]
        for row in rows
    ], 2)  # fmt: skip
