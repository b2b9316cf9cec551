"""Incidents: one played on a timeline, with other delays; the ledger is simulated anew."""

import streamlit as st

from app.charts.timeline import panel
from app.figures import incidents
from app.figures.incidents import Rows
from app.figures.scenarios import Source
from app.jobs.folder import RUN
from app.ui import export, job_view
from app.ui.frame import heading, page
from app.ui.scenario import chosen
from app.ui.sliders import whole
from kaiju_sim.report.rundir import RunDirectory, read_run


def draw() -> None:
    """The incident and its delays; then its run."""
    heading("Incidents", "What breaks when, who notices, and what does it cost until it is mended?")
    source = chosen(incidents.names(), "incident", "Incident", incidents.FOLDER)
    left, right = st.columns(2)
    with left:
        late = whole("The alarm reaches people later by (min)", (0, 20), 0, 1, "late")
    with right:
        mttr = whole("From the alarm to the remedy, median (min)", (1, 30), 15, 1, "mttr")
    play(source, incidents.settings(late, mttr))


def play(source: Source, sets: list[str]) -> None:
    """Simulate it, with the same run without it beside; show it."""
    task = {**source, "sets": sets, "replications": 1}
    says = "This is another incident, or other delays: press Play for these."
    hint = "Press Play: fifty minutes of the peak with the incident, and without it."
    folder = job_view.asked(task, says, "Play", hint)
    if folder is None:
        return
    run = read_run(folder / RUN)
    timeline(run)
    cost(run)
    job_view.downloads(folder)


def timeline(run: RunDirectory) -> None:
    """The charts of the minutes chosen, the fault and the runbook's steps marked."""
    low, high = st.slider(
        "Minutes shown", *incidents.MINUTES, incidents.MINUTES, key="minutes", bind="query-params"
    )
    marks = incidents.events(run)
    shown = incidents.between(marks, (low, high))
    one("TTFT (s)", incidents.ttft(run), shown, (low, high))
    for each in incidents.PANELS:
        one(each.title, incidents.of_panel(run, each), shown, (low, high))
    st.subheader("What happened", anchor=False)
    export.table(marks, "events")


def one(title: str, rows: Rows, marks: Rows, ends: tuple[int, int]) -> None:
    """One chart."""
    rows = incidents.between(rows, ends)
    names = list(dict.fromkeys(row["series"] for row in rows))
    export.chart(panel(rows, marks, title, names), rows, f"timeline-{title}", title)


def cost(run: RunDirectory) -> None:
    """The ledger."""
    st.subheader("What it cost", anchor=False)
    st.caption("The run less the same run without the incident, with the same users.")
    export.table(incidents.ledger(run), "ledger")


page(draw)
