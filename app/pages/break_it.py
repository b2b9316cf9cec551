"""Break it: one choice of the design taken back, beside the fleet as shipped."""

import streamlit as st

from app.charts.bars import paired_bars
from app.figures import breaks, scenarios
from app.jobs.folder import BASE
from app.ui import export, job_view
from app.ui.frame import heading, page
from kaiju_sim.report.rundir import RunDirectory, read_run

AT_FIRST = scenarios.SHIPPED[0]


def draw() -> None:
    """The choice; both runs side by side."""
    heading("Break it", "What is each choice of the design worth? Take one back and see.")
    name = st.selectbox("Take back", list(breaks.SETS), key="break", bind="query-params")
    name = name or next(iter(breaks.SETS))
    st.caption(
        f"{breaks.said(name).capitalize()}. On the fleet of `{AT_FIRST}`, as large as it ships:"
        f" `{' '.join(breaks.SETS[name])}`."
        " How many GPUs each break-it needs instead: `kaiju-sim break-it`."
    )
    task = {
        "scenario": AT_FIRST,
        "sets": [*breaks.WINDOW, *breaks.SETS[name]],
        BASE: list(breaks.WINDOW),
        "replications": breaks.REPLICATIONS,
    }
    if st.button("Simulate both", type="primary"):
        job_view.start(task)
    run = job_view.done()
    if run is None:
        if job_view.current() is None:
            st.info("Press the button: three minutes of the peak, with the choice and without.")
        return
    if job_view.task() != task:
        st.warning("This is another break-it: press the button for this one.")
    compared(run)


def compared(run: RunDirectory) -> None:
    """What differs, why, and by how much."""
    base = read_run(run.path.parent / BASE)
    st.subheader("Why", anchor=False)
    st.markdown("\n".join(f"{n}. {words}" for n, words in enumerate(breaks.chain(base, run), 1)))
    rows = breaks.shares(base, run)
    export.chart(paired_bars(rows), rows, "shares", "The same fleet as shipped and broken")
    st.subheader("Inputs that differ", anchor=False)
    export.table(breaks.inputs(base.path, run.path), "inputs")
    st.subheader("Figures, with the verdict on each difference", anchor=False)
    export.table(breaks.figures(base.path, run.path), "figures")
    job_view.downloads(run)


page(draw)
