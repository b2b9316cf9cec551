"""Tables of a report, in Markdown or as plain text."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from calibrate.report.heldout import WORST
from calibrate.report.steps import words

Line = Mapping[str, Any]
DETAILED = ("b1", "b64", "b256", "b512", "n4096")
"""Steps whose operators are listed."""
WHAT = {
    "plan_decode": "launch plan, decode",
    "plan_prefill": "launch plan, prefill",
    "embedding": "embedding",
    "norm": "norm and quantise",
    "qkv": "q, k, v projection (owners of KV)",
    "q": "q projection (the others)",
    "rotary": "rotary embedding, K and V written",
    "decode_global": "decode attention, global",
    "decode_local": "decode attention, window",
    "prefill_global": "prefill attention, global",
    "prefill_local": "prefill attention, window",
    "o": "output projection, residual",
    "up": "FFN up, squared ReLU",
    "down": "FFN down, residual",
    "all_reduce": "sums over GPUs",
    "head": "final norm and logits",
    "sampling": "sampling",
}


class Table(NamedTuple):
    """A table; its first `left` columns are words."""

    title: str
    heads: Sequence[str]
    lines: Sequence[Sequence[str]]
    left: int = 1
    note: str = ""


def figure(value: float | None, form: str = ".3g") -> str:
    """A number, or a dash where there is none."""
    return "-" if value is None else format(value, form)


def ms(value: float | None) -> str:
    """Milliseconds."""
    return figure(value, ".3f")


def percent(value: float | None, form: str = ".1f") -> str:
    """A share."""
    return "-" if value is None else f"{value * 100:{form}} %"


def tables_of(profile: Line) -> Iterator[Table]:
    """All tables of one profile."""
    if profile["steps"]:
        yield floor_table(profile["steps"])
        for step in profile["steps"]:
            if step["step"] in DETAILED:
                yield operator_table(step)
    if profile["engine"] is not None:
        yield engine_table(profile["engine"])
    if profile["heldout"] is not None:
        yield error_table(profile["heldout"])
        yield worst_table(profile["heldout"]["steps"])
    if profile["worth"]:
        yield worth_table(profile["worth"])


def floor_table(steps: Iterable[Line]) -> Table:
    """Steps against their floors."""
    heads = [
        "step",
        "reached",
        "GPU ms",
        "with host ms",
        "floor ms",
        "GPU / floor",
        "ratio",
        "must",
    ]
    return Table("Steps against their floors", heads, [_floor(step) for step in steps], 2)


def _floor(step: Line) -> list[str]:
    reached = {None: "-", True: "yes", False: "no"}[step["reached"]]
    times = [ms(step[key]) for key in ("gpu_ms", "wall_ms", "floor_ms")]
    ratios = [figure(step[key], ".2f") for key in ("gpu_ratio", "ratio", "required")]
    return [words(step["step"]), reached, *times, *ratios]


def operator_table(step: Line) -> Table:
    """Where one step's time goes."""
    heads = ["operator", "calls", "one, us", "all, ms", "floor ms", "over, ms", "share of step"]
    lines = [_operator(line) for line in step["operators"]]
    lines += [
        _remainder("remainder on the GPU (launches, gaps)", step["gaps_ms"], step["gaps_share"]),
        _remainder("host, copies both ways", step["host_ms"], step["host_share"]),
        _total(step),
    ]
    missing = ", ".join(step["not_measured"])
    note = f"Not measured alone: {missing}; so there is no remainder." if missing else ""
    return Table(f"Where the time goes: {words(step['step'])}", heads, lines, 1, note)


def _remainder(name: str, value: float | None, share: float | None) -> list[str]:
    return [name, "", "", ms(value), "", ms(value), percent(share)]


def _total(step: Line) -> list[str]:
    over = step["wall_ms"] - step["floor_ms"]
    return ["**step**", "", "", ms(step["wall_ms"]), ms(step["floor_ms"]), ms(over), "100 %"]


def _operator(line: Line) -> list[str]:
    times = [ms(line[key]) for key in ("measured_ms", "floor_ms", "over_ms")]
    each = figure(line["each_us"], ".1f")
    return [WHAT[line["operator"]], str(line["count"]), each, *times, percent(line["share"])]


def error_table(heldout: Line) -> Table:
    """Errors of all held-out steps, and by kind."""
    heads = ["held-out steps", "n", "median", "p95", "bias"]
    kinds = [("all", heldout), *heldout["by_kind"].items()]
    note = f"{heldout['lent']} more such steps were given to the fit." if heldout["lent"] else ""
    return Table("Held-out errors", heads, [_errors(*kind) for kind in kinds], note=note)


def _errors(name: str, found: Line) -> list[str]:
    sizes = [percent(found[key], ".2f") for key in ("median_abs_rel_error", "p95_abs_rel_error")]
    return [name, str(found["n"]), *sizes, percent(found["bias"], "+.2f")]


def engine_table(engine: Line) -> Table:
    """What the serving engine takes on the host between two steps."""
    heads = ["requests", "steps", "with prompts", "decode only, us", "with prompts, us", "mean, us",
             "fitted, us", "share of the loop"]  # fmt: skip
    lines = [_engine(line) for line in engine["lines"]]
    note, fit = "The profile has none of it.", engine["fit"]
    if fit is not None:
        step, seq, prefill = (fit[name] * 1e6 for name in ("step_s", "seq_s", "prefill_s"))
        note = (
            f"In the profile: {step:.1f} us a step, {seq:.2f} a sequence, {prefill:.1f} more with "
            f"prompts ({fit['n']} steps, median error {percent(fit['median_abs_rel_error'])})."
        )
    return Table("The serving engine's own time", heads, lines, 1, note)


def _engine(line: Line) -> list[str]:
    counts = [str(line[key]) for key in ("requests", "steps", "with_prompts")]
    keys = ("decode_us", "prompts_us", "mean_us", "fitted_us")
    times = [figure(line[key], ".0f") for key in keys]
    return [*counts, *times, percent(line["share"], ".2f")]


def worst_table(steps: Sequence[Line]) -> Table:
    """Where the profile is most wrong."""
    heads = [
        "step",
        "kind",
        "decodes",
        "their keys",
        "new",
        "cached",
        "measured ms",
        "predicted",
        "error",
    ]
    return Table("Worst held-out steps", heads, [_worst(line) for line in steps[:WORST]], 2)


def _worst(line: Line) -> list[str]:
    sizes = [str(line[key]) for key in ("decodes", "context", "new", "cached")]
    times = [ms(line["measured_ms"]), ms(line["predicted_ms"])]
    return [line["id"], line["kind"], *sizes, *times, percent(line["error"], "+.1f")]


def worth_table(lines: Sequence[Line]) -> Table:
    """What each design choice is worth."""
    heads = ["model", "what it undoes", "batch", "step ms", "tokens/s/GPU", "the design's gain",
             "step ms at batch 64", "weights GB", "KV of a sequence at 4K, MB"]  # fmt: skip
    cards = {line["card"] for line in lines}
    note = "" if len(cards) == 1 else f"Measured on {len(cards)} cards of one type."
    title = "What each design choice is worth"
    return Table(title, heads, [_worth(line) for line in lines], 2, note)


def _worth(line: Line) -> list[str]:
    return [
        line["variant"] or "as designed",
        line["undoes"] or "-",
        str(line["batch"]),
        figure(line["step_ms"], ".2f"),
        figure(line["tokens_per_s_per_gpu"], ".0f"),
        f"{line['worth']:.2f}x",
        figure(line["step_ms_at_64"], ".2f"),
        figure(line["weights_gb"], ".1f"),
        figure(line["kv_mb_per_sequence"], ".1f"),
    ]


def markdown(table: Table) -> str:
    """The table and its note."""
    marks = ["---" if i < table.left else "--:" for i in range(len(table.heads))]
    lines = [f"| {' | '.join(line)} |\n" for line in (table.heads, marks, *table.lines)]
    note = f"{table.note}\n\n" if table.note else ""
    return f"{''.join(lines)}\n{note}"


def plain(table: Table) -> str:
    """The same in columns of one width."""
    rows = [[cell.replace("**", "") for cell in line] for line in (table.heads, *table.lines)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(table.heads))]
    lines = [
        "  ".join(
            cell.ljust(width) if i < table.left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    note = f"{table.note}\n" if table.note else ""
    return f"{table.title}\n" + "".join(f"  {line}\n" for line in lines) + note + "\n"


def head(profile: Line) -> str:
    """What was measured, on what."""
    known = profile["provenance"]
    where = (
        f"{known['gpu_name']}, driver {known['driver']}, {known['date']}, commit {known['commit']}"
    )
    lack = f" No profile: {profile['no_profile']}." if profile["no_profile"] else ""
    if profile["engine"] is None and profile["variant"] is None:
        lack += " The serving engine's own time was not measured: simulated steps have none of it."
    return f"{profile['id']}: measured on {where}.{lack}\n"


def text(report: Line) -> str:
    """All profiles, for people."""
    parts = [
        f"{head(profile)}\n" + "".join(map(plain, tables_of(profile)))
        for profile in report["profiles"]
    ]
    return "\n".join(parts)


def markdown_of(profile: Line) -> str:
    """One profile's tables in Markdown."""
    shown = (f"#### {table.title}\n\n{markdown(table)}" for table in tables_of(profile))
    return f"### {profile['id']}\n\n{head(profile)}\n" + "".join(shown)


def markdown_all(report: Line) -> str:
    """All profiles in Markdown."""
    return "".join(map(markdown_of, report["profiles"]))
