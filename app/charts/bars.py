"""Bars, one for each name."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from app.charts.palette import BLUE, ORANGE, colours, of_verdicts

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


def grouped_bars(rows: Rows, name: str, value: str, by: str, title: str) -> alt.Chart:
    """A group for each *name*, in it a bar for each *by*; *title* is the axis's, with its unit."""
    groups = list(dict.fromkeys(str(row[name]) for row in rows))
    kinds = list(dict.fromkeys(str(row[by]) for row in rows))
    return (
        alt.Chart(alt.Data(values=list(rows)))
        .mark_bar()
        .encode(
            y=alt.Y(f"{name}:N", sort=groups, title=None, axis=alt.Axis(labelLimit=320)),
            yOffset=alt.YOffset(f"{by}:N", sort=kinds),
            x=alt.X(f"{value}:Q", title=title),
            color=alt.Color(
                f"{by}:N",
                title=None,
                scale=alt.Scale(domain=kinds, range=colours(len(kinds))),
                legend=alt.Legend(orient="bottom", columns=2, labelLimit=320),
            ),
            tooltip=[f"{name}:N", f"{by}:N", f"{value}:Q"],
        )
    )


def paired_bars(rows: Rows) -> alt.Chart:
    """`percent` of each `share`, a bar for each `side`."""
    shares = list(dict.fromkeys(str(row["share"]) for row in rows))
    sides = list(dict.fromkeys(str(row["side"]) for row in rows))
    return (
        alt.Chart(alt.Data(values=list(rows)))
        .mark_bar()
        .encode(
            y=alt.Y("share:N", sort=shares, title=None, axis=alt.Axis(labelLimit=320)),
            yOffset=alt.YOffset("side:N", sort=sides),
            x=alt.X("percent:Q", title="share (%)"),
            color=alt.Color(
                "side:N",
                title=None,
                scale=alt.Scale(domain=sides, range=[BLUE, ORANGE]),
                legend=alt.Legend(orient="bottom"),
            ),
            tooltip=["share:N", "side:N", "percent:Q"],
        )
    )
