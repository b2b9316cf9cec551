"""Charts of plans: how sure a fleet passes, who is beaten, what a change changes."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from app.charts.palette import BLUE, GREY, ORANGE, SKY

Rows = Sequence[Mapping[str, Any]]
_VERDICTS: Mapping[str, str] = {"passes": BLUE, "fails": ORANGE, "open": GREY}
_SHAPES = ("circle", "square", "triangle-up", "cross")


def passed(rows: Rows, target: float) -> alt.LayerChart:
    """`passed` percent of the windows of each `fleet`, from `low` to `high`; the target as a line.

    The verdict is told by shape as well as by colour.
    """
    order = [str(row["fleet"]) for row in rows]
    y = alt.Y("fleet:N", sort=order, title=None, axis=alt.Axis(labelLimit=240))
    scale = alt.Scale(domain=[0, 100])
    base = alt.Chart(alt.Data(values=list(rows)))
    names = list(dict.fromkeys(str(row["verdict"]) for row in rows))
    colour = alt.Color(
        "verdict:N",
        title=None,
        scale=alt.Scale(domain=names, range=[_VERDICTS.get(name, SKY) for name in names]),
        legend=alt.Legend(orient="bottom"),
    )
    shape = alt.Shape("verdict:N", title=None, scale=alt.Scale(domain=names, range=_SHAPES))
    bars = base.mark_rule(strokeWidth=3).encode(
        y=y, x=alt.X("low:Q", scale=scale, title="windows passed (%)"), x2="high:Q", color=colour
    )
    dots = base.mark_point(filled=True, size=90, opacity=1).encode(
        y=y,
        x=alt.X("passed:Q", scale=scale),
        color=colour,
        shape=shape,
        tooltip=["fleet:N", "verdict:N", "passed:Q", "low:Q", "high:Q"],
    )
    line = alt.Chart(alt.Data(values=[{"target": target}])).mark_rule(
        strokeDash=[4, 4], color=GREY, strokeWidth=2
    )
    return alt.layer(bars, dots, line.encode(x=alt.X("target:Q", scale=scale)))


def pareto(
    rows: Rows, front: Rows, kinds: Sequence[str], objective: float | None
) -> alt.LayerChart:
    """`ttft` over `usd` of each point, by its `kind`; the front as a line, the objective dashed."""
    scale = alt.Scale(zero=False)
    x = alt.X("usd:Q", title="cost (USD per 1,000 messages)", scale=scale)
    log = alt.Scale(type="log", nice=False, padding=20)
    y = alt.Y("ttft:Q", title="time to first token, p99 (s)", scale=log)
    base = alt.Chart(alt.Data(values=list(rows)))
    colours = alt.Scale(domain=list(kinds), range=[BLUE, GREY, ORANGE, ORANGE])
    shapes = alt.Scale(domain=list(kinds), range=["circle", "circle", "cross", "cross"])
    legend = alt.Legend(orient="bottom", columns=2, labelLimit=260)
    dots = base.mark_point(filled=True, size=90, opacity=0.9).encode(
        x=x,
        y=y,
        color=alt.Color("kind:N", title=None, scale=colours, legend=legend),
        shape=alt.Shape("kind:N", title=None, scale=shapes, legend=legend),
        tooltip=["set:N", "kind:N", "usd:Q", "ttft:Q", "tokens:Q"],
    )
    line = alt.Chart(alt.Data(values=list(front))).mark_line(color=BLUE, strokeWidth=1)
    layers = [line.encode(x=x, y=y), dots]
    if objective is not None:
        asked = alt.Chart(alt.Data(values=[{"objective": objective}]))
        layers.insert(0, asked.mark_rule(strokeDash=[4, 4], color=GREY).encode(y="objective:Q"))
    return alt.layer(*layers)


def changes(rows: Rows) -> alt.LayerChart:
    """`change` percent of each `figure`, with its interval from `low` to `high`."""
    order = [str(row["figure"]) for row in rows]
    y = alt.Y("figure:N", sort=order, title=None, axis=alt.Axis(labelLimit=320))
    title = "B against A (% of A; 95 % interval)"
    base = alt.Chart(alt.Data(values=list(rows)))
    bars = base.mark_bar().encode(
        y=y,
        x=alt.X("change:Q", title=title),
        color=alt.condition(alt.datum.change > 0, alt.value(BLUE), alt.value(ORANGE)),
        tooltip=["figure:N", "change:Q", "low:Q", "high:Q"],
    )
    return alt.layer(
        bars, base.mark_rule(strokeWidth=2, color=GREY).encode(y=y, x=alt.X("low:Q"), x2="high:Q")
    )
