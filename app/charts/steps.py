"""A rate over time, as steps."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from app.charts.palette import BLUE

Rows = Sequence[Mapping[str, Any]]


def rate_over_time(rows: Rows) -> alt.Chart:
    """Arrivals a second (`per_s`) from each `minutes` on."""
    return (
        alt.Chart(alt.Data(values=list(rows)))
        .mark_area(color=BLUE, opacity=0.5, line={"color": BLUE}, interpolate="step-after")
        .encode(
            x=alt.X("minutes:Q", title="time (min)"),
            y=alt.Y("per_s:Q", title="arrivals (requests/s)"),
            tooltip=["minutes:Q", "per_s:Q"],
        )
    )
