"""Profiles and fidelity comparisons that the package ships, as rows."""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from kaiju_sim.report.format import duration, percent
from kaiju_sim.steptime.profile import Profile, load_profile, shipped_profiles

Rows = list[dict[str, Any]]
CURVES: Mapping[str, str] = {
    "rows": "linear layers, by token rows",
    "seqs": "head and sampler, by sequences",
    "decode_global": "decode attention of global layers, by context tokens",
    "decode_local": "decode attention of local layers, by context tokens",
    "prefill_global": "prefill attention of global layers, by query-key pairs",
    "prefill_local": "prefill attention of local layers, by query-key pairs",
    "decode_each": "decode attention, by sequences",
}
"""Operators of a profile, and what their time depends on."""
UNITS: Mapping[str, str] = {
    "throughput": "tokens/s",
    "capacity_tokens_per_s": "tokens/s",
    "capacity_messages_per_s": "messages/s",
}
"""Units of metrics that are no times."""


def names() -> list[str]:
    """Shipped profiles, those measured and compared with a real engine first."""
    return sorted(shipped_profiles(), key=lambda name: (not fidelity(name), name))


@cache
def profile(name: str) -> Profile:
    """A shipped profile."""
    return load_profile(name)


@cache
def fidelity(name: str) -> Mapping[str, Any]:
    """The comparison with the real engine; empty where there is none."""
    file = files("kaiju_sim.catalog").joinpath("measured", name, "fidelity.json")
    found: Mapping[str, Any] = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    return found


def origin(found: Profile) -> Rows:
    """Where, when and with what a profile was measured."""
    where = found.provenance
    if where is None:
        return [{"what": "source", "value": found.source}]
    pairs = {
        "source": found.source,
        "GPU": where.gpu_name,
        "driver": where.driver,
        "SM clock": f"{where.sm_clock_mhz:g} MHz",
        "memory clock": f"{where.memory_clock_mhz:g} MHz",
        "date": str(where.date),
        **{f"version of {name}": text for name, text in where.versions.items()},
    }
    return [{"what": what, "value": value} for what, value in pairs.items()]


def profiles() -> Rows:
    """All profiles: measured or derived, and how far off on steps that they had not seen."""
    return [_profile_row(name, profile(name)) for name in names()]


def _profile_row(name: str, found: Profile) -> dict[str, Any]:
    held = found.heldout
    compared = fidelity(name)
    verdict = compared["verdict"] if compared else None
    return {
        "profile": name,
        "source": found.source,
        "median error of a step": "–" if held is None else percent(held.median_abs_rel_error),
        "95 % of steps within": "–" if held is None else percent(held.p95_abs_rel_error),
        "steps held out": None if held is None else held.n,
        "whole runs against the real engine": (
            "not compared" if verdict is None else f"{verdict['kept']} of {verdict['judged']} kept"
        ),
    }


def operator_rows(found: Profile) -> Rows:
    """Points of every operator: what it depends on, and milliseconds of a step."""
    return [
        {"operator": says, "x": x, "ms": seconds * 1e3}
        for name, says in CURVES.items()
        if (points := getattr(found.curves, name, None)) is not None
        for x, seconds in zip(points.x, points.seconds, strict=True)
        if seconds > 0
    ]


def unit(metric: str) -> str:
    """A metric's unit in the comparison."""
    return UNITS.get(metric, "s")


def shown(metric: str, value: float) -> str:
    """A value of a metric for people."""
    return duration(value) if unit(metric) == "s" else f"{value:,.4g} {unit(metric)}"


def metrics(name: str) -> list[str]:
    """Metrics that were compared."""
    return list(dict.fromkeys(row["metric"] for row in fidelity(name).get("rows", ())))


def compared(name: str, metric: str) -> Rows:
    """Measured and simulated values of a metric, over workloads and statistics."""
    return [
        {key: row[key] for key in ("workload", "statistic", "measured", "simulated", "rel_error")}
        for row in fidelity(name)["rows"]
        if row["metric"] == metric and row["measured"] > 0 and row["simulated"] > 0
    ]


def judged(name: str) -> Rows:
    """Rows that have an allowed error: kept or missed, the worst first."""
    rows = [row for row in fidelity(name)["rows"] if row["allowed"] is not None]
    return [_judged_row(row) for row in sorted(rows, key=lambda row: -abs(row["rel_error"]))]


def _judged_row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "workload": row["workload"],
        "metric": f"{row['metric']} {row['statistic']}",
        "measured": shown(row["metric"], row["measured"]),
        "simulated": shown(row["metric"], row["simulated"]),
        "error": f"{row['rel_error'] * 100:+.1f} %",
        "allowed": f"{row['allowed'] * 100:g} %",
        "kept": "yes" if row["ok"] else "no",
    }


def verdict(name: str) -> str:
    """The comparison in a sentence."""
    found = fidelity(name)
    if not found:
        return "This profile has not been compared with whole runs of the real engine."
    said, worst = found["verdict"], found["worst"]
    return (
        f"{said['kept']} of {said['judged']} judged figures are within their allowed error. The"
        f" worst: {worst['metric']} {worst['statistic']} of {worst['workload']},"
        f" {worst['rel_error'] * 100:+.1f} % (allowed {worst['allowed'] * 100:g} %)."
    )


def quantile_rows(name: str, workload: str) -> Rows:
    """Single messages, simulated against measured: quantiles of the relative error."""
    return [
        {"metric": row["metric"], "share": share, "error": row[key] * 100}
        for row in fidelity(name).get("paired", ())
        if row["workload"] == workload
        for key, share in (("p5", 5), ("p50", 50), ("p95", 95))
    ]


def workloads(name: str) -> Sequence[str]:
    """Workloads that were compared."""
    return list(dict.fromkeys(row["workload"] for row in fidelity(name).get("paired", ())))
