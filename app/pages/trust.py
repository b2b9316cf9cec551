"""Trust: what is measured, what is assumed, and how far simulated runs are from real ones."""

from collections.abc import Callable, Mapping

import streamlit as st

from app.charts.bars import grouped_bars, named_bars
from app.charts.lines import against, curves
from app.figures import scenarios, trust
from app.figures.measured import distributions, grades, kernels, steps
from app.ui import export
from app.ui.frame import heading, page

USUAL = "poisson-85"
"""The workload that is shown first: traffic as published, near the capacity."""
RUNS, STEPS, KERNELS, GRADES = "Whole runs", "Steps", "Kernels", "Measured or assumed"


def draw() -> None:
    """One of the views."""
    heading("Trust", "How far off may an answer be? What was measured, on what, and what was not.")
    view = st.segmented_control(
        "What to look at",
        list(VIEWS),
        default=RUNS,
        key="view",
        bind="query-params",
        required=True,
    )
    VIEWS[view or RUNS]()


def runs() -> None:
    """All profiles; then one of them against the real engine."""
    export.table(trust.profiles(), "profiles")
    name = profile()
    st.subheader("Whole runs against the real engine", anchor=False)
    st.write(trust.verdict(name))
    if not trust.metrics(name):
        st.info("Profiles without a comparison: the first one of the list has one.")
        return
    distribution(name)
    errors(name)
    export.table(trust.judged(name), "judged", height=300)


def profile() -> str:
    """The profile that is looked at."""
    names = trust.names()
    return st.selectbox("Profile", names, key="profile", bind="query-params") or names[0]


def distribution(name: str) -> None:
    """The same messages, on the engine and simulated: how many were no later than that."""
    if not distributions.workloads(name):
        st.info(
            "No distributions ship beside this profile: `python -m calibrate fidelity --recompute`"
            " writes them."
        )
        return
    left, right = st.columns(2)
    names = distributions.workloads(name)
    usual = names.index(USUAL) if USUAL in names else 0
    workload = left.selectbox("Workload", names, usual, key="load", bind="query-params")
    metric = right.selectbox(
        "Distribution of",
        distributions.metrics(name),
        format_func=lambda key: distributions.NAMES.get(key, key),
        key="cdf",
        bind="query-params",
    )
    rows = distributions.curves(name, workload or "", metric or "")
    title = f"{distributions.NAMES.get(metric or '', '')} (ms)"
    figure = curves(
        *(rows, "ms", "share", title, "messages that are no later (%)"),
        by="line",
        x_scale="log",
        points=False,
    )
    says = f"{workload}: the GPU engine's runs and the simulation of the same messages"
    export.chart(figure, rows, "distribution", says)


def errors(name: str) -> None:
    """Figures against figures, and single messages."""
    metric = st.selectbox("Metric", trust.metrics(name), key="metric", bind="query-params")
    left, right = st.columns(2)
    with left:
        points = trust.compared(name, metric or "ttft")
        title = f"{metric} ({trust.unit(metric or 'ttft')})"
        says = f"{metric}: simulated against measured, all workloads"
        export.chart(against(points, title), points, "fidelity", says)
    with right:
        workload = st.session_state.get("load") or (trust.workloads(name) or [""])[0]
        rows = trust.quantile_rows(name, workload)
        figure = curves(
            rows, "error", "share", "simulated / measured - 1 (%)", "messages (%)", by="metric"
        )
        says = f"Single messages of {workload}: 5, 50, 95 % of errors"
        export.chart(figure, rows, "messages", says)


def whole_steps() -> None:
    """Steps beside their floors, and the operators that the profile is made of."""
    name = profile()
    rows = steps.times(name)
    st.subheader("Steps beside the roofline", anchor=False)
    if rows:
        figure = grouped_bars(rows, "step", "ms", "time", "time of a step (ms)")
        export.chart(figure, rows, "steps", steps.sentence(name))
        export.table(steps.table(name), "steps-table")
    else:
        st.info(
            "No measured steps ship beside this profile (it is derived, or a roofline):"
            " `python -m calibrate run` on a GPU measures them."
        )
    operators(name)


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


def beside_peers() -> None:
    """Kernels beside others' and the card's limits."""
    files = kernels.files()
    if not files:
        st.info(
            "No kernel measurements are here: `python -m benchmarks.kernels` on a GPU writes them"
            " to benchmarks/results of the checkout."
        )
        return
    name = st.selectbox("Measurement", files, key="measurement", bind="query-params") or files[0]
    st.caption(kernels.sentence(name))
    names = kernels.operators(name)
    left, right = st.columns([1, 2])
    operator = left.selectbox("Operator", names, key="operator", bind="query-params") or names[0]
    shapes = kernels.shapes(name, operator)
    chosen = right.multiselect(
        "Shapes", shapes, shapes[:4], key=f"shapes-{operator}", max_selections=kernels.MOST,
        bind="query-params",
    )  # fmt: skip
    rows = kernels.beside(name, operator, chosen)
    figure = grouped_bars(rows, "shape", "floor_percent", "kernel", "of the roofline (%)")
    says = "The data sheet's time over the kernel's: 100 % is the roofline ; above it, caches serve"
    export.chart(figure.properties(height=90 + 24 * len(rows)), rows, "kernels", says)
    export.table(rows, "kernels-table")
    with st.expander("When and with what it was measured"):
        export.table(kernels.runs(name), "kernels-runs")


def rests_on() -> None:
    """Every value that an answer rests on, by how sure it is."""
    name = st.selectbox("Scenario", scenarios.SHIPPED, key="scenario", bind="query-params")
    found = grades.rows(name or scenarios.SHIPPED[0])
    known = grades.counted(found)
    figure = named_bars(known, "how sure", "values", "values (count)")
    export.chart(figure, known, "grades", f"{len(found)} values that the answer rests on")
    names = [row["how sure"] for row in known]
    sure = st.multiselect("How sure", names, key="sure", bind="query-params")
    export.table(grades.chosen(found, sure), "assumptions", height=460)


VIEWS: Mapping[str, Callable[[], None]] = {
    RUNS: runs,
    STEPS: whole_steps,
    KERNELS: beside_peers,
    GRADES: rests_on,
}

page(draw)
