"""A plan on the console: the answer in the first line, then what it rests on."""

from collections.abc import Mapping
from typing import IO, Any

from rich.text import Text

from kaiju_sim.report.format import MISSING, count, duration, percent, significant, usd
from kaiju_sim.report.money.tables import print_page
from kaiju_sim.report.money.words import Words

Json = Mapping[str, Any]


def print_plan(found: Json, file: IO[str]) -> None:
    """Write the answer, then all candidates; plain and 100 wide where it is no terminal."""
    print_page(Text("\n".join(lines_of(found))), [candidates(found)], file)


def lines_of(found: Json) -> list[str]:
    """The answer, what binds, the next cheaper fleet, how sure."""
    if found["gpus"] is None:
        most = count(max((row["gpus"] for row in found["candidates"]), default=0))
        return [
            f"{found['scenario']}: no fleet of up to {most} GPUs meets the objectives",
            *([f"the largest misses: {found['binds']}"] if found["binds"] else []),
        ]
    lines = [
        f"{found['scenario']}: {fleet(found)}, {usd(found['usd_per_hour'])} USD/h, "
        f"{significant(found['usd_per_message'] * 1000)} USD per 1,000 messages",
        f"binds: {found['binds']}; that fleet is limited by {found['limited_by']}",
        sure(found),
    ]
    other = found["next_cheaper"]
    if other is not None:
        which = f"{count(other['gpus'])} {other['gpu_type']}"
        lines.append(f"next cheaper: {which}: {other['why_not']}")
    return [*lines, grey(found), band(found)]


def check_line(found: Json) -> str:
    """What a check of the stated fleet says."""
    low, high = found["pass_probability_interval"]
    return (
        f"{found['scenario']}: {fleet(found)}: {found['verdict']}; {found['passed']} of"
        f" {found['trials']} windows, pass probability {percent(low)} to {percent(high)}, asked for"
        f" {percent(found['target'])}; binds: {found['binds']}"
    )


def fleet(found: Json) -> str:
    """46 H100-80GB = 46 replicas x TP 1."""
    return (
        f"{count(found['gpus'])} {found['gpu_type']} = {count(found['replicas'])} replicas x TP"
        f" {found['tensor_parallel']}"
    )


def sure(found: Json) -> str:
    """How often it passed, and what that shows."""
    low, high = found["pass_probability_interval"]
    window = found["window"]
    return (
        f"how sure: passed {found['passed']} of {found['trials']} windows of"
        f" {duration(window['length_s'])} on fresh seeds; pass probability {percent(low)} to"
        f" {percent(high)}"
    )


def grey(found: Json) -> str:
    """Fleets that could not be told."""
    zone = found["grey_zone"]
    if not zone["gpus"]:
        return "grey zone: none; the next smaller fleet surely fails"
    least, share = count(min(zone["gpus"])), percent(zone["share"])
    return f"grey zone: {least} GPUs and more, {share} of the fleet"


def band(found: Json) -> str:
    """What the step time's error makes of the answer."""
    known = found["error_band"]
    if known is None:
        return f"step times: {found['step_times']}, error not known"
    low, high = known["step_time_error"]
    most = MISSING if known["gpus_high"] is None else count(known["gpus_high"])
    return (
        f"step times: {found['step_times']}; off by {low:+.1%} to {high:+.1%} they ask for"
        f" {count(known['gpus_low'])} to {most} GPUs"
    )


def candidates(found: Json) -> Words:
    """All fleets that were looked at."""
    heads = ["fleet", "GPUs", "USD/h", "passed", "verdict", "binds"]
    body = [
        [
            f"{row['gpu_type']} TP {row['tensor_parallel']}, {row['token_budget']},"
            f" {row['max_seqs']}, {row['router']}",
            count(row["gpus"]),
            usd(row["usd_per_hour"]),
            MISSING if row["trials"] is None else f"{row['passed']} of {row['trials']}",
            row["verdict"],
            row["binds"] or MISSING,
        ]
        for row in found["candidates"]
    ]
    notes = [f"impossible: {x['fleet']}: {x['why']}" for x in found["impossible"]]
    title = "fleets looked at (GPU, ranks, budget, batch, router)"
    return Words(title, heads, body, "\n".join(notes))
