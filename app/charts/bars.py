"""Bars, one for each name."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from app.charts.palette import BLUE, of_verdicts

Rows = Sequence[Mapping[str, Any]]


def verdict_bars(rows: Rows) -> alt.Chart:
    """How many claims have which verdict (`verdict`, `claims`)."""
    names = [str(row["verdict"]) for row in rows]
    return (
        alt.Chart(alt.Data(values=list(rows)))
        .mark_bar()
        .encode(
            y=alt.Y("verdict:N", sort=names, title=None, axis=alt.Axis(labelLimit=220)),
            x=alt.X("claims:Q", title="claims (count)", axis=alt.Axis(tickMinStep=1)),
            color=alt.Color(
                "verdict:N", legend=None, scale=alt.Scale(domain=names, range=of_verdicts(names))
            ),
            tooltip=["verdict:N", "claims:Q"],
        )
    )


def named_bars(rows: Rows, name: str, value: str, title: str) -> alt.Chart:
    """A bar for each row, in their order; *title* is the axis's, with its unit."""
    order = [str(row[name]) for row in rows]
    return (
        alt.Chart(alt.Data(values=list(rows)))
        .mark_bar(color=BLUE)
        .encode(
            y=alt.Y(f"{name}:N", sort=order, title=None, axis=alt.Axis(labelLimit=220)),
            x=alt.X(f"{value}:Q", title=title),
            tooltip=[f"{name}:N", f"{value}:Q"],
        )
    )
