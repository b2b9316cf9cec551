"""A plan for the page: cards, sentences, candidates, how sure."""

from collections.abc import Mapping
from typing import Any

from kaiju_sim.report.format import MISSING, count, percent, significant, usd
from kaiju_sim.report.planning.plan import band, fleet, grey, lines_of, sure

Json = Mapping[str, Any]
Rows = list[dict[str, Any]]
Card = tuple[str, str, str]


def headline(found: Json) -> str:
    """The answer in a line."""
    return lines_of(found)[0]


def cards(found: Json) -> list[Card]:
    """The answer's figures."""
    if found["gpus"] is None:
        return [("GPUs", "none", "no fleet that was tried meets the objectives")]
    zone, known = found["grey_zone"], found["error_band"]
    least, most = _ends(known)
    return [
        ("Fewest GPUs", count(found["gpus"]), fleet(found)),
        ("USD an hour", usd(found["usd_per_hour"]), "all GPUs, at the scenario's price"),
        ("USD per 1,000 messages", significant(found["usd_per_message"] * 1000), "GPUs alone"),
        ("Windows passed", f"{found['passed']} of {found['trials']}", sure(found)),
        (
            "Grey zone (GPUs)",
            count(min(zone["gpus"])) + " and more" if zone["gpus"] else "none",
            grey(found),
        ),
        ("Error band (GPUs)", f"{least} to {most}" if known else "not known", band(found)),
    ]


def _ends(known: Json | None) -> tuple[str, str]:
    if known is None:
        return MISSING, MISSING
    most = known["gpus_high"]
    return count(known["gpus_low"]), MISSING if most is None else count(most)


def sentences(found: Json) -> list[str]:
    """What binds, the next cheaper fleet and why not it, how sure."""
    return [line[:1].upper() + line[1:] + "." for line in lines_of(found)[1:]]


def candidates(found: Json) -> Rows:
    """Fleets that were looked at, the cheapest first."""
    return [
        {
            "GPU": row["gpu_type"],
            "GPUs": row["gpus"],
            "replicas": row["replicas"],
            "GPUs a replica": row["tensor_parallel"],
            "token budget": row["token_budget"],
            "batch cap": row["max_seqs"],
            "router": row["router"],
            "USD/h": round(row["usd_per_hour"], 2),
            "windows passed": _passed(row),
            "pass probability": _interval(row["pass_probability_interval"]),
            "verdict": row["verdict"],
            "binds": row["binds"] or MISSING,
            "step times": row["step_times"],
        }
        for row in found["candidates"]
    ]


def _passed(row: Json) -> str:
    return MISSING if row["trials"] is None else f"{row['passed']} of {row['trials']}"


def _interval(ends: Any) -> str:
    return MISSING if ends is None else f"{percent(ends[0])} to {percent(ends[1])}"


def impossible(found: Json) -> Rows:
    """Kinds of fleets that cannot be built."""
    return [{"fleet": row["fleet"], "why not": row["why"]} for row in found["impossible"]]


def passes(found: Json) -> Rows:
    """Share of windows passed, with the test's bounds, of each fleet that was tested; percent."""
    return [
        {
            "fleet": f"{count(row['gpus'])} {row['gpu_type']}, {row['router']}",
            "passed": row["pass_probability"] * 100,
            "low": row["pass_probability_interval"][0] * 100,
            "high": row["pass_probability_interval"][1] * 100,
            "verdict": row["verdict"],
        }
        for row in found["candidates"]
        if row["pass_probability_interval"] is not None
    ]


def target(found: Json) -> float:
    """Pass probability that is asked for, percent."""
    return float(found["rule"]["target"]) * 100
