"""Lines and points: curves by name, measured against simulated."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import altair as alt

from app.charts.palette import BLUE, GREY, colours

Rows = Sequence[Mapping[str, Any]]
Scale = Literal["linear", "log"]


def curves(
    rows: Rows, x: str, y: str, x_title: str, y_title: str, *, by: str, x_scale: Scale = "linear",
    y_scale: Scale = "linear", points: bool = True,
) -> alt.Chart:  # fmt: skip
    """A line for each name in the column *by*; titles carry the units."""
    names = list(dict.fromkeys(str(row[by]) for row in rows))
    chart = alt.Chart(alt.Data(values=list(rows)))
    return chart.mark_line(point=points).encode(
        x=alt.X(f"{x}:Q", title=x_title, scale=alt.Scale(type=x_scale)),
        y=alt.Y(f"{y}:Q", title=y_title, scale=alt.Scale(type=y_scale)),
        color=alt.Color(
            f"{by}:N",
            title=None,
            scale=alt.Scale(domain=names, range=colours(len(names))),
            legend=alt.Legend(orient="bottom", columns=3),
        ),
        strokeDash=alt.StrokeDash(f"{by}:N", legend=None),
        tooltip=[f"{by}:N", f"{x}:Q", f"{y}:Q"],
    )


def against(rows: Rows, title: str) -> alt.LayerChart:
    """`simulated` over `measured` on logarithmic axes, with the line where both agree."""
    data = alt.Data(values=list(rows))
    values = [row[key] for row in rows for key in ("measured", "simulated")] or [1.0]
    ends = [{"at": min(values)}, {"at": max(values)}]
    x, y = _log_axis(alt.X, f"measured {title}"), _log_axis(alt.Y, f"simulated {title}")
    line = alt.Chart(alt.Data(values=ends)).mark_line(color=GREY, strokeDash=[4, 4])
    dots = alt.Chart(data).mark_point(filled=True, size=60, color=BLUE)
    shape = alt.Shape("statistic:N", title=None, legend=alt.Legend(orient="bottom"))
    tips = ["workload:N", "statistic:N", "measured:Q", "simulated:Q", "rel_error:Q"]
    return alt.layer(
        line.encode(x=x("at:Q"), y=y("at:Q")),
        dots.encode(x=x("measured:Q"), y=y("simulated:Q"), shape=shape, tooltip=tips),
    )


def _log_axis(channel: Callable[..., Any], title: str) -> Callable[[str], Any]:
    """A logarithmic axis of that title, for a column."""
    return lambda column: channel(column, title=title, scale=alt.Scale(type="log"))
