"""The table of break-its: on the console, and as Markdown for a page."""

from collections.abc import Mapping, Sequence
from typing import IO, Any

from rich.text import Text

from kaiju_sim.report.format import INFINITE, MISSING, count, duration, percent, significant
from kaiju_sim.report.money.tables import print_page
from kaiju_sim.report.money.words import Words

Row = Mapping[str, Any]
_SAME = ("no difference", None)


def print_break_its(title: str, rows: Sequence[Row], file: IO[str]) -> None:
    """Write both tables; plain and 100 wide where it is no terminal."""
    print_page(Text(title), tables_of(rows), file)


def tables_of(rows: Sequence[Row]) -> list[Words]:
    """What each break-it asks for, and how sure that is."""
    return [needs(rows), sureness(rows), as_shipped(rows)]


def needs(rows: Sequence[Row]) -> Words:
    """The fewest GPUs and what they are like."""
    heads = ["break-it", "GPUs", "times", "USD/1,000", "hit rate", "TTFT p99", "binds"]
    body = [
        [
            row["name"],
            gpus(row),
            times(row),
            figure(row, "cost.usd_per_message", lambda usd: significant(usd * 1000)),
            figure(row, "prefix_hit_rate", percent),
            figure(row, "ttft_s.p99", duration),
            binds(row),
        ]
        for row in rows
    ]
    notes = [
        "USD per 1,000 messages, hit rate and TTFT p99 are those of the fewest GPUs; binds: the"
        " objective that the next smaller fleet misses, and what limits that fleet.",
        *(f"{r['name']} is held against {r['against']}." for r in rows if odd(r)),
        *(no_effect(row) for row in rows if row["difference"] == "no difference"),
    ]
    return Words("the fewest GPUs", heads, body, "\n".join(notes))


def sureness(rows: Sequence[Row]) -> Words:
    """What the answer rests on."""
    heads = ["break-it", "too few", "grey from", "enough", "passed", "runs", "part", "step times"]
    body = [
        [
            row["name"],
            whole(row["gpus_fail"]),
            whole(row["gpus_least"]) if row["gpus_least"] != row["gpus"] else MISSING,
            whole(row["gpus"]),
            MISSING if row["pass_probability"] is None else percent(row["pass_probability"]),
            count(row["simulated"]),
            f"{row['part']:.3g}",
            row["step_times"].split(":")[0],
        ]
        for row in rows
    ]
    note = (
        "too few: the largest fleet tried that did not pass; grey from: the smallest that could not"
        " be told from passing;\npassed: of the replications on fresh seeds at the answer (95 %"
        " sure that it passes more often than not);\nruns: replications simulated in all; part: the"
        " share of the fleet that each simulates."
    )
    return Words("how sure", heads, body, note)


def as_shipped(rows: Sequence[Row]) -> Words:
    """What happens on the fleet that the scenario states."""
    heads = ["break-it", "GPUs", "objectives", "within them", "TTFT p99", "hit rate"]
    body = [
        [
            row["name"],
            count(row["as_shipped"]["gpus"]),
            "met" if row["as_shipped"]["passes"] else "missed",
            MISSING if (share := row["as_shipped"]["slo.attainment"]) is None else percent(share),
            late(row["as_shipped"]["ttft_s.p99"]),
            optional(row["as_shipped"]["prefix_hit_rate"]),
        ]
        for row in rows
    ]
    return Words("on the fleet as shipped (one replication)", heads, body)


def gpus(row: Row) -> str:
    """The fewest GPUs, or that no number tried was enough."""
    found = row["gpus"]
    return f"none (to {count(row['largest_tried'])})" if found is None else count(found)


def times(row: Row) -> str:
    """How many times the GPUs of what it is held against."""
    if row["difference"] is None:
        return MISSING
    return "more" if row["times"] is None else f"{row['times']:.2f}"


def binds(row: Row) -> str:
    """The objective that the next smaller fleet misses, and its bottleneck."""
    return f"{row['binds']}, {row['limited_by']}"


def odd(row: Row) -> bool:
    """Whether a row is not held against the scenario as shipped."""
    return bool(row["against"] != "baseline")


def no_effect(row: Row) -> str:
    """That a break-it changes no GPU count, said in the table."""
    return f"{row['name']}: no difference in GPUs beyond what these runs can tell."


def figure(row: Row, key: str, shown: Any) -> str:
    """A mean over the replications; what was never reached is infinite."""
    known = row["figures"].get(key)
    if known is None:
        return MISSING
    return INFINITE if known["mean"] is None else str(shown(known["mean"]))


def late(value: float | None) -> str:
    """A latency, infinite where it was never reached."""
    return INFINITE if value is None else duration(value)


def optional(value: float | None) -> str:
    """A share, or a dash."""
    return MISSING if value is None else percent(value)


def whole(value: int | None) -> str:
    """A count, or a dash."""
    return MISSING if value is None else count(value)


def markdown(tables: Sequence[Words]) -> str:
    """The tables as Markdown, each with its note."""
    return "\n".join(_table(words) for words in tables)


def _table(words: Words) -> str:
    lines = [f"**{words.title[:1].upper()}{words.title[1:]}**", ""]
    lines += [_line(words.heads), _line(["---", *["--:"] * (len(words.heads) - 1)])]
    lines += [_line(row) for row in words.rows]
    return "\n".join([*lines, "", *words.note.splitlines(), ""])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
