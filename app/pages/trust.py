"""Trust: what is measured, what is assumed, and how far simulated runs are from real ones."""

import streamlit as st

from app.charts.lines import against, curves
from app.figures import trust
from app.ui import export
from app.ui.frame import heading, page


def draw() -> None:
    """All profiles, then one: against the real engine, its operators, its origin."""
    heading("Trust", "How far off may an answer be? What was measured, on what, and what was not.")
    export.table(trust.profiles(), "profiles")
    name = st.selectbox("Profile", trust.names(), key="profile", bind="query-params")
    if name is None:
        return
    against_engine(name)
    operators(name)


def against_engine(name: str) -> None:
    """Whole runs, simulated and on the GPU engine with the same requests."""
    st.subheader("Whole runs against the real engine", anchor=False)
    st.write(trust.verdict(name))
    if not trust.metrics(name):
        return
    metric = st.selectbox("Metric", trust.metrics(name), key="metric", bind="query-params")
    left, right = st.columns(2)
    with left:
        points = trust.compared(name, metric or "ttft")
        title = f"{metric} ({trust.unit(metric or 'ttft')})"
        export.chart(
            against(points, title), points, "fidelity", f"{metric}: simulated against measured"
        )
    with right:
        messages(name)
    export.table(trust.judged(name), "judged", height=300)


def messages(name: str) -> None:
    """Single messages: the spread of their errors."""
    workload = st.selectbox("Workload", trust.workloads(name), key="load", bind="query-params")
    rows = trust.quantile_rows(name, workload or "")
    figure = curves(
        rows, "error", "share", "simulated / measured - 1 (%)", "messages (%)", by="metric"
    )
    export.chart(figure, rows, "messages", f"Single messages of {workload}: 5, 50, 95 % of errors")


def operators(name: str) -> None:
    """Step times by operator, and where they come from."""
    st.subheader("Operators of a step", anchor=False)
    found = trust.profile(name)
    rows = trust.operator_rows(found)
    figure = curves(
        *(rows, "x", "ms", "rows, sequences, tokens or pairs (count)", "time in a step (ms)"),
        by="operator",
        x_scale="log",
        y_scale="log",
        points=False,
    )
    export.chart(figure, rows, "operators", "Time of each operator, summed over all layers")
    with st.expander("Where and with what it was measured"):
        export.table(trust.origin(found), "origin")


page(draw)
