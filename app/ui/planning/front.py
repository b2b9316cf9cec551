"""Cost against the first token: a grid of fleets, and which of them nobody beats."""

from pathlib import Path
from typing import Any

import streamlit as st

from app.charts.planning import pareto as drawn
from app.figures import scenarios
from app.figures.planning import asked, pareto
from app.jobs.folder import result_of
from app.ui import export, job_view
from app.ui.scenario import chosen, suffix

HINT = (
    "Press the button: each fleet of the grid is simulated for two minutes, a few seconds each."
    " Fleets that were simulated before are not simulated again."
)


def draw() -> None:
    """The grid, the button, the front."""
    left, right = st.columns([1, 2], gap="large")
    with left:
        source = chosen(scenarios.SHIPPED)
        s = scenarios.of_source(source).scenario
        task = {
            "kind": "sweep",
            **source,
            "sets": list(pareto.WINDOW),
            "grid": axes(s, suffix(source)),
        }
    with right:
        says = "This is another grid's front: press the button for this one."
        folder = job_view.asked(task, says, "Simulate the grid", HINT)
        if folder is not None and (found := result_of(folder)):
            front(found, folder, s.slo.ttft)


def axes(s: Any, name: str) -> list[str]:
    """What varies."""
    around = pareto.replicas_of(s)
    replicas = _several("Replicas", around, around, f"grid-replicas-{name}")
    return pareto.grid(
        replicas,
        routers=_several("Routers", asked.ROUTERS, (s.router.policy,), f"grid-routers-{name}"),
        budgets=_several("Token budget of a step", pareto.BUDGETS, (), f"grid-budgets-{name}"),
        batches=_several("Batch cap (sequences)", pareto.BATCHES, (), f"grid-batches-{name}"),
    )


def _several(label: str, offered: Any, start: Any, key: str) -> list[Any]:
    return list(st.multiselect(label, list(offered), list(start), key=key, bind="query-params"))


def front(found: dict[str, Any], folder: Path, objective: float | None) -> None:
    """The chart, then every point."""
    st.subheader(found["best"], anchor=False)
    rows = pareto.points(found)
    figure = drawn(rows, pareto.front(rows), pareto.KINDS, objective)
    out = pareto.left_out(found)
    more = f"; {out} points cannot be drawn (see the table)" if out else ""
    says = f"Cost against the first token; dashed: the objective{more}"
    export.chart(figure.properties(height=380), rows, "pareto", says)
    st.caption(found["headline"])
    export.table(pareto.table(found), "points")
    job_view.downloads(folder)
