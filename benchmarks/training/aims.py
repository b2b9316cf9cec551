"""What the training side must reach, and whether it has: from the files alone."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

Row = Mapping[str, Any]
COPY = "Triton copy"
REACHED, MISSED, UNKNOWN = "reached", "not reached", "not measured"


class Verdict(NamedTuple):
    """One aim: what must be, what is."""

    what: str
    must: str
    measured: str
    verdict: str


def judged(what: str, must: float, figure: float | None, sign: str = ">=") -> Verdict:
    """A figure beside what it must be."""
    if figure is None:
        return Verdict(what, f"{sign} {must:g}", "-", UNKNOWN)
    holds = figure >= must if sign == ">=" else figure <= must
    return Verdict(what, f"{sign} {must:g}", f"{figure:.4g}", REACHED if holds else MISSED)


def median_us(rows: Sequence[Row], operator: str, shape: str, impl: str) -> float | None:
    """Of one implementation of one case."""
    for row in rows:
        if (row["operator"], row["shape"], row["impl"]) == (operator, shape, impl):
            return float(row["us_median"])
    return None


def speed(rows: Sequence[Row], case: tuple[str, str], ours: str, other: str) -> float | None:
    """Of ours, with the other's as 1."""
    mine, theirs = (median_us(rows, *case, impl) for impl in (ours, other))
    return None if mine is None or theirs is None else theirs / mine


def of_kernels(rows: Sequence[Row]) -> Iterator[Verdict]:
    """Aims about times."""
    for operator, shapes in (
        ("squinch_pack", ("bf16 nearest", "fp32 nearest", "bf16 stochastic", "fp32 stochastic")),
        ("squinch_unpack", ("bf16 1 rank", "fp32 1 rank")),
    ):
        for shape in shapes:
            found = speed(rows, (operator, shape), "ours", COPY)
            yield judged(f"{operator}, {shape}: of a copy's speed", 0.8, found)
    case = ("linear_step", "13B all four, 8192 tokens")
    both = speed(rows, case, "int8 forward, input gradient", "bf16")
    yield judged("13B layers, int8 forward and input gradient: x bf16 step", 1.2, both)
    alone = speed(rows, case, "int8 forward", "bf16")
    yield judged("13B layers, int8 forward alone: x bf16 step", 1.08, alone)


def of_demo(demo: Mapping[str, Any]) -> Iterator[Verdict]:
    """Aims about losses."""
    arms = demo.get("arms", {})
    gap = abs(arms["int8"]["loss_gap"]) if "int8" in arms and "bf16" in arms else None
    steps = f", {demo['options']['steps']} steps" if "options" in demo else ""
    what = f"demo{steps}, int8 QAT: |loss gap| to bf16"
    yield _seeds(judged(what, 0.01, gap, "<="), arms, "int8")
    agreed = [a["top_1"] for a in demo.get("agreement", []) if "top_1" in a]
    least = min(agreed) if agreed else None
    what = (
        f"demo{steps}: top-1 of inference kernels and training graph, worst of {len(agreed)} runs"
    )
    yield judged(what, 0.995, least)
    if not arms or "bf16, squinch" in arms:
        yield _noise(arms, "two rehearsed ranks")


def of_ranks(found: Mapping[str, Mapping[str, Any]]) -> Iterator[Verdict]:
    """Aims about real ranks; `found` by GPU."""
    for gpu, demo in found.items():
        yield _noise(demo["arms"], f"{demo['run']['ranks']} real ranks, {gpu}")


def _seeds(verdict: Verdict, arms: Mapping[str, Any], arm: str) -> Verdict:
    count = len(arms[arm]["losses"]) if arm in arms else 0
    return verdict._replace(what=f"{verdict.what}, {count} seeds")


def _noise(arms: Mapping[str, Any], where: str) -> Verdict:
    """Squinch beside bf16 gradients, both on two ranks: the mean difference against the spread of
    either's seeds."""
    what = f"demo, Squinch: |mean loss - bf16 gradients'| within the seeds' spread, {where}"
    names = ("bf16, squinch", "bf16, bf16 gradients")
    if any(name not in arms or len(arms[name]["losses"]) < 3 for name in names):
        return Verdict(what, "<= spread", "-", UNKNOWN)
    ours, theirs = (arms[name]["losses"] for name in names)
    gap = abs(statistics.mean(ours) - statistics.mean(theirs))
    spread = max(statistics.stdev(ours), statistics.stdev(theirs))
    verdict = REACHED if gap <= spread else MISSED
    return Verdict(what, f"<= {spread:.4g}", f"{gap:.4g}", verdict)


def text(verdicts: Sequence[Verdict]) -> str:
    """The table."""
    widths = [max(len(v[i]) for v in verdicts) for i in range(4)]
    lines = ("  ".join(cell.ljust(w) for cell, w in zip(v, widths, strict=True)) for v in verdicts)
    return "".join(f"{line.rstrip()}\n" for line in lines)
