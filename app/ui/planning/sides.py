"""Two scenarios or runs side by side: what differs in the input first, then in the figures."""

from pathlib import Path
from typing import Any

import streamlit as st

from app.charts.planning import changes
from app.figures import scenarios
from app.figures.planning import compare
from app.jobs.folder import BASE, RUN
from app.ui import export, job_view
from app.ui.scenario import chosen

HINT = (
    "Press the button: both sides are simulated with the same users, several times over, and laid"
    " side by side."
)
PLACE = "fleet.replicas=48"


def draw() -> None:
    """Both sides, the button, what differs."""
    left, right = st.columns(2, gap="large")
    with left:
        a = side("A", "a")
    with right:
        b = side("B", "b")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        length = st.selectbox("Simulated", list(compare.LENGTHS), key="length", bind="query-params")
        many = st.slider("Replications of each", 2, 8, 3, key="replications", bind="query-params")
    window = compare.LENGTHS[length or next(iter(compare.LENGTHS))]
    sides = {BASE: _whole(a, window), RUN: _whole(b, window)}
    task = {"kind": RUN, "sides": sides, "replications": many}
    says = "The sides have changed since: press the button to compare these."
    folder = job_view.asked(task, says, "Compare", HINT)
    if folder is not None and (folder / BASE).is_dir():
        compared(folder)


def side(label: str, key: str) -> dict[str, Any]:
    """A run by its link, or a scenario with overrides and settings."""
    link = st.text_input(
        f"{label}: a run of this dashboard, by its link (or leave it empty)",
        key=f"{key}-run",
        max_chars=400,
        bind="query-params",
    )
    job = compare.job_in(link)
    if job is not None:
        return {"job": job}
    source = chosen(scenarios.SHIPPED, key, f"{label}: scenario")
    names = scenarios.overrides_of(source)
    overrides = st.multiselect("With overrides", names, key=f"{key}-with", bind="query-params")
    text = st.text_area(
        "With settings, one a line",
        key=f"{key}-set",
        height=80,
        max_chars=2000,
        placeholder=PLACE,
        bind="query-params",
    )
    made = compare.side_of(source, overrides, compare.settings_of(text or ""))
    scenarios.of_source(made)
    return made


def _whole(side: dict[str, Any], window: Any) -> dict[str, Any]:
    """The side with how long it is simulated; what it says itself comes later and wins."""
    return side if "job" in side else {**side, "sets": [*window, *side["sets"]]}


def compared(folder: Path) -> None:
    """Inputs, then figures."""
    found = compare.Compared(folder / BASE, folder / RUN)
    st.subheader("Inputs that differ", anchor=False)
    inputs = found.inputs()
    if inputs:
        export.table(inputs, "inputs")
    else:
        st.info("No input differs: both sides are the same scenario on the same simulator.")
    st.subheader("Figures", anchor=False)
    st.write(found.sentence())
    rows = found.changes()
    if rows:
        says = "The largest changes beyond noise, with their 95 % intervals"
        export.chart(changes(rows), rows, "changes", says)
    every = st.toggle("Figures within noise too", key="every", bind="query-params")
    figures = found.figures(every)
    if figures:
        export.table(figures, "figures")
    else:
        st.info("No difference: every figure is equal, or lies within noise.")
    job_view.downloads(folder)
