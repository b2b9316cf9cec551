"""A run over time, with what happened marked."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from app.charts.palette import BLUE, GREY, ORANGE, SERIES

Rows = Sequence[Mapping[str, Any]]
HEIGHT = 250
"""Pixels, axis and legend included."""
ROOM = 44
"""Pixels for the figures of an axis, so that the times of charts below each other are in line."""


def panel(rows: Rows, marks: Rows, title: str, names: Sequence[str]) -> alt.LayerChart:
    """`value` over `minutes`, a line for each `series`; rules at the marks' `minutes`."""
    time = alt.X("minutes:Q", title="time (min)", scale=alt.Scale(zero=False, nice=False))
    lines = (
        alt.Chart(alt.Data(values=list(rows)))
        .mark_line(color=BLUE)
        .encode(
            x=time,
            y=alt.Y("value:Q", title=title, axis=alt.Axis(minExtent=ROOM)),
            color=alt.Color(
                "series:N",
                title=None,
                scale=alt.Scale(domain=list(names), range=list(SERIES[: len(names)])),
                legend=alt.Legend(orient="bottom") if len(names) > 1 else None,
            ),
            tooltip=["minutes:Q", "series:N", "value:Q"],
        )
    )
    rules = (
        alt.Chart(alt.Data(values=list(marks)))
        .mark_rule(strokeDash=[4, 3], strokeWidth=2)
        .encode(
            x=time,
            color=alt.condition(alt.datum.kind == "fault", alt.value(ORANGE), alt.value(GREY)),
            tooltip=["minutes:Q", "what:N"],
        )
    )
    return alt.layer(lines, rules).properties(height=HEIGHT)
