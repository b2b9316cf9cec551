"""Two runs side by side: what differs in the input, then in the figures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from app.figures.scenarios import Source, check_setting
from kaiju_sim.diff.figures import Delta, deltas, pairing
from kaiju_sim.diff.page import answer
from kaiju_sim.diff.sides import Side, differing, of_directory
from kaiju_sim.report.format import show

Rows = list[dict[str, Any]]
WINDOW = ("run.warm_up=1min", "run.horizon=3min", "run.drain=1min")
"""Two minutes of the scenario's beginning."""
LENGTHS: Mapping[str, Sequence[str]] = {
    "two minutes": WINDOW,
    "ten minutes": ("run.warm_up=2min", "run.horizon=12min", "run.drain=1min"),
    "as stated": (),
}
NOISE = ("equal", "no difference")
"""Verdicts of figures that do not differ."""
_HOW = {
    "paired": "{n} replications a side with the same users, taken pair by pair.",
    "independent": "{n} replications a side with different seeds, taken as independent.",
    "single": "One replication on a side: noise is not known, so nothing is called a difference.",
}


def settings_of(text: str) -> list[str]:
    """Settings, one a line; UserError for a line that is none, or that names a file."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for line in lines:
        check_setting(line)
    return lines


def side_of(source: Source, overrides: Sequence[str], sets: Sequence[str]) -> dict[str, Any]:
    """One side, to be simulated."""
    return {**source, "with": list(overrides), "sets": list(sets)}


def job_in(text: str) -> str | None:
    """The run that a link, or its name alone, means; None where nothing is typed."""
    name = text.strip().rpartition("job=")[2].partition("&")[0]
    return name or None


class Compared:
    """Two run directories."""

    def __init__(self, a: Path, b: Path) -> None:
        self.a, self.b = of_directory(a), of_directory(b)
        self.found = deltas(self.a, self.b)

    def inputs(self) -> Rows:
        """Inputs that differ."""
        return [
            {"input": i.path, "A": i.a or "–", "B": i.b or "–"} for i in differing(self.a, self.b)
        ]

    def sentence(self) -> str:
        """How many figures differ, and how that is known."""
        count = min(len(self.a.seeds), len(self.b.seeds))
        return f"{answer(self.found)} {_HOW[pairing(self.a, self.b)].format(n=count)}"

    def figures(self, every: bool) -> Rows:
        """Figures that differ; all of them if *every*."""
        return [
            row_of(one, self.a, self.b) for one in self.found if every or one.verdict not in NOISE
        ]

    def changes(self, most: int = 12) -> Rows:
        """The largest relative changes that are called one, with intervals; percent."""
        known = [one for one in self.found if one.verdict in ("higher", "lower") and one.a]
        ranked = sorted(known, key=lambda one: -abs((one.delta or 0.0) / one.a))[:most]
        return [
            {
                "figure": one.metric.key,
                "change": 100 * (one.delta or 0.0) / abs(one.a),
                "low": 100 * ((one.delta or 0.0) - (one.half_width or 0.0)) / abs(one.a),
                "high": 100 * ((one.delta or 0.0) + (one.half_width or 0.0)) / abs(one.a),
                "verdict": str(one.verdict),
            }
            for one in ranked
        ]


def row_of(one: Delta, a: Side, b: Side) -> dict[str, Any]:
    """A figure on both sides."""
    kind = one.metric.kind
    return {
        "figure": one.metric.label,
        "key": one.metric.key,
        "unit": one.metric.unit,
        "A": show(a.summary.get(one.metric.key), kind),
        "B": show(b.summary.get(one.metric.key), kind),
        "B - A": _change(one),
        "95 % interval": _interval(one),
        "verdict": str(one.verdict),
    }


def _change(one: Delta) -> str:
    if one.delta is None:
        return ""
    sign = "+" if one.delta > 0 else "−" if one.delta < 0 else ""
    return f"{sign}{show(abs(one.delta), one.metric.kind)}"


def _interval(one: Delta) -> str:
    if one.half_width is None:
        return "not known"
    return f"± {show(one.half_width, one.metric.kind)}"
