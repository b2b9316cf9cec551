"""Traffic: what is in a trace, and how a fleet stands up to it."""

import hashlib

import streamlit as st

from app.charts.lines import curves
from app.charts.steps import rate_over_time
from app.figures import answer, scenarios, traffic
from app.jobs.folder import RUN
from app.ui import export, job_view
from app.ui.frame import cards, heading, page
from kaiju_sim.report.rundir import read_run
from kaiju_sim.workload.traces import Trace


def draw() -> None:
    """A trace chosen or brought; its figures; its replay."""
    heading("Traffic", "What do these requests look like: how bursty, how long, how much reuse?")
    content, ending = brought()
    trace = traffic.read(content, ending)
    found = traffic.figures(trace)
    cards(traffic.cards(found))
    over_time(trace)
    left, right = st.columns(2)
    with left:
        reuse(found)
    with right:
        st.subheader("Lengths and burstiness", anchor=False)
        export.table(traffic.lengths(found), "lengths")
        export.table(traffic.dispersion(found), "dispersion")
    replay(content, ending)


def brought() -> tuple[bytes, str]:
    """The user's file, or the example that ships."""
    file = st.file_uploader(
        f"A trace of yours: at most {traffic.MOST_BYTES >> 20} MB, of which the first"
        f" {traffic.MOST_ROWS:,} rows are read (Mooncake, Azure, or plain columns)",
        type=list(traffic.ENDINGS),
        key="trace",
    )
    if file is None:
        st.caption("Shown here: the small example that ships, made by a script, no recording.")
        return traffic.example(), "jsonl"
    return file.getvalue(), traffic.ending_of(file.name)


def over_time(trace: Trace) -> None:
    """The rate."""
    rows = traffic.rate(trace)
    export.chart(rate_over_time(rows), rows, "rate", "Arrivals a second over the trace's time")


def reuse(found: dict[str, object]) -> None:
    """The reuse curve."""
    st.subheader("Hit rate by cache size", anchor=False)
    rows = traffic.reuse(found)
    figure = curves(rows, "tokens", "hit", "cache (tokens)", "hit rate (%)", by="of", x_scale="log")
    export.chart(figure, rows, "reuse", "One LRU cache for all requests: share found in it")


def replay(content: bytes, ending: str) -> None:
    """The trace on a fleet of Kaiju 13B."""
    st.subheader("Replay it on H100", anchor=False)
    replicas = st.slider("Replicas", 1, 64, 4, key="replicas", bind="query-params")
    task = {
        "scenario": scenarios.REPLAY,
        "sets": [f"fleet.replicas={replicas}"],
        "replications": 1,
        "trace": ending,
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    if st.button("Replay", type="primary", icon=":material/play_arrow:"):
        job_view.start(task, {traffic.trace_name(ending): content})
    folder = job_view.followed(RUN)
    if folder is None:
        return
    if job_view.task() != task:
        st.warning("This is the replay of another trace or fleet: press Replay for this one.")
    run = read_run(folder / RUN)
    cards(answer.simulated_cards(run))
    st.write(answer.sentence(run))
    job_view.downloads(folder)


page(draw)
