"""Verdicts of the eval gates on the console: what it says, why, and the tables behind it."""

from collections.abc import Iterator
from typing import IO, Any

from rich.text import Text

from kaiju_sim.evals.verdict import Verdict
from kaiju_sim.report.format import MISSING, count, percent
from kaiju_sim.report.money.tables import print_page
from kaiju_sim.report.money.words import Words


def print_verdict(verdict: Verdict, file: IO[str]) -> None:
    """Write the verdict and its tables; plain and 100 wide where it is no terminal."""
    print_page(head_of(verdict), tables_of(verdict), file)


def head_of(verdict: Verdict) -> Text:
    """Passed or blocked, the rule, the reasons."""
    said = "passed" if verdict.passed else "BLOCKED"
    lines = [f"{verdict.gate} gate, {verdict.subject}: {said}", f"rule: {verdict.rule}"]
    lines += [f"- {reason}" for reason in verdict.reasons]
    lines += [f"note: {note}" for note in verdict.notes]
    return Text("\n".join(lines))


def tables_of(verdict: Verdict) -> Iterator[Words]:
    """The tables of whichever gate."""
    figures = verdict.figures
    match verdict.gate:
        case "cache":
            yield hits(figures["tiers"])
            yield computed(figures["tiers"])
        case "persona":
            yield score(figures)
            yield plan(figures["plan"])
            yield curve(figures["plan"])
            yield chances(figures["chances"], figures["plan"])
            yield sensitivity(figures["sensitivity"], "evals.persona.", _PERSONA)
        case _:
            yield sets(figures["sets"])
            if "sensitivity" in figures:
                yield sensitivity(figures["sensitivity"], "evals.safety.", _SAFETY)


def share(value: float | None) -> str:
    """A share, or a dash."""
    return MISSING if value is None else percent(value)


def points(value: float | None, digits: int = 2) -> str:
    """Points of the scale, or a dash."""
    return MISSING if value is None else f"{value:.{digits}f}"


def hits(tiers: list[dict[str, Any]]) -> Words:
    """Hit rates by tier, beside those of today."""
    rows = [
        [
            row["tier"],
            count(row["requests"]),
            share(row["hit_rate"]),
            share(row["hit_rate_now"]),
            share(row["first_hit_rate"]),
            share(row["first_hit_rate_now"]),
        ]
        for row in tiers
    ]
    heads = ["characters", "requests", "hit", "hit now", "first messages", "now"]
    note = "Prompt tokens found in the prefix cache; first messages can hit only what users share."
    return Words("Cache hits", heads, rows, note)


def computed(tiers: list[dict[str, Any]]) -> Words:
    """Tokens computed by what was new in the prompt."""
    parts = dict.fromkeys(
        part
        for row in tiers
        for part in (*row["computed_tokens_by_part"], *(row["computed_tokens_by_part_now"] or ()))
    )
    rows = []
    for part in parts:
        cells = [part]
        for row in tiers:
            now = (row["computed_tokens_by_part_now"] or {}).get(part, 0.0)
            cells += [f"{row['computed_tokens_by_part'].get(part, 0.0):,.0f}", f"{now:,.0f}"]
        rows.append(cells)
    heads = ["first new part", *(h for row in tiers for h in (row["tier"], "now"))]
    note = "Tokens a request that had to be computed, by the first part of the prompt that was new."
    return Words("Where prompts break", heads, rows, note)


def score(figures: dict[str, Any]) -> Words:
    """The score and its errors."""
    low, high = figures["interval"]
    errors = figures["errors"]
    rows = [
        ["calibrated score", points(figures["score"]), f"{low:.2f} to {high:.2f}"],
        ["judge's own score", points(figures["judge_score"]), ""],
        ["judge's bias", points(figures["judge_bias"]), f"{figures['rated']} rated examples"],
        ["error: conversations", points(errors["sampling"], 3), words_of(figures)],
        ["error: calibration", points(errors["calibration"], 3), ""],
        ["error: drift since", points(errors["drift"], 3), ""],
        ["difference it can see", points(figures["detectable_against_bar"]), "80 % power"],
    ]
    return Words("Score", ["of 5 points", "value", ""], rows, "")


def words_of(figures: dict[str, Any]) -> str:
    """How much was judged."""
    r = figures["intra_conversation_correlation"]
    return (
        f"{count(figures['conversations'])} conversations, {count(figures['turns'])} turns,"
        f" correlation {points(r)}"
    )


def plan(planned: dict[str, Any]) -> Words:
    """What the sizes can tell apart under the assumed spreads."""
    rows = [
        ["turns that count as independent", count(planned["effective_turns"])],
        ["design effect", points(planned["design_effect"])],
        ["difference seen against the bar", points(planned["detectable_against_bar"])],
        ["between two candidates, one judge", points(planned["detectable_between_candidates"])],
        [
            "if people's ratings had no error",
            points(planned["detectable_without_human_ratings_error"]),
        ],
        ["judge's error if never calibrated, a year", points(planned["error_if_never_calibrated"])],
    ]
    note = "One-sided test at 95 %, power 80 %; from the assumed spreads of evals.persona."
    return Words("Planned", ["planned", "points"], rows, note)


def curve(planned: dict[str, Any]) -> Words:
    """The operating characteristic."""
    rows = [[points(p["quality"], 1), share(p["promoted"])] for p in planned["operating_curve"]]
    return Words("Operating curve", ["true score", "promoted"], rows, "")


def chances(found: dict[str, Any], planned: dict[str, Any]) -> Words:
    """What the gate does to good and bad candidates, as assumed."""
    bad = points(found["bad_score"])
    rows = [
        [f"promotes a candidate of {bad} in truth", share(found["promotes_bad"])],
        ["blocks one at the objective", share(1.0 - planned["promoted_at_objective"])],
        [f"sees a fall from the objective to {bad}", share(found["sees_drop"])],
    ]
    note = "The last: two evaluations, each with a calibration of its own, one-sided at 95 %."
    return Words("Chances", ["the gate", "chance"], rows, note)


_PERSONA = {"detectable": "seen", "promotes_bad": "promotes bad", "blocks_good": "blocks good"}
_PERSONA |= {"sees_drop": "sees a fall", "promotes_assumed": "the assumed"}
_SAFETY = {"blocked": "blocked", "refused": "wrongly refused", "passes": "tier passes"}


def sensitivity(rows: list[dict[str, Any]], prefix: str, heads: dict[str, str]) -> Words:
    """Figures at both ends of what they rest on."""
    found = [
        [
            row["assumed"].removeprefix(prefix),
            row["grade"],
            f"{row['low']:g}-{row['high']:g}",
            *(_ends(row, figure) for figure in heads),
        ]
        for row in rows
    ]
    note = f"Of {prefix[:-1]}; one at a time, at the low and at the high end of its range."
    return Words("What that rests on", ["assumed", "grade", "range", *heads.values()], found, note)


def _ends(row: dict[str, Any], figure: str) -> str:
    """A figure at the low and at the high end; a difference in points, all else in percent."""
    low, high = (row[f"{figure}_at_{end}"] for end in ("low", "high"))
    if figure == "detectable":
        return f"{low:.2f}-{high:.2f}"
    return f"{low * 100:.1f}-{high * 100:.1f} %"


def sets(rows: list[dict[str, Any]]) -> Words:
    """Rates and bounds by set and tier."""
    found = [
        [
            f"{row['age_tier']}, {row['set'].replace('_', ' but ')}",
            count(row["examples"]),
            count(row["blocked"]),
            share(row["rate"]),
            f"{share(row['low'])} to {share(row['high'])}",
            f"{row['limit_is']} {share(row['limit'])}",
            MISSING if row["blocked_to_pass"] is None else count(row["blocked_to_pass"]),
        ]
        for row in rows
    ]
    heads = ["set", "examples", "blocked", "rate", "bounds", "limit", "needed"]
    note = "needed: fewest adversarial examples, or most benign ones, that may be blocked."
    return Words("Rates", heads, found, note)
