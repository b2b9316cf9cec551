"""Break it: one choice of the design taken back, beside the design as shipped."""

from pathlib import Path
from typing import Any

import streamlit as st

from app.charts.bars import named_bars, paired_bars
from app.figures import breaks
from app.figures.scenarios import Source
from app.jobs.folder import BASE, RUN, result_of
from app.ui import export, job_view
from app.ui.frame import heading, page, pairs
from app.ui.scenario import chosen
from kaiju_sim.report.rundir import read_run

ONE, ALL = "One of them", "All of them"


def draw() -> None:
    """The choice; both sides; or the whole table."""
    heading("Break it", "What is each choice of the design worth? Take one back and see.")
    left, right = st.columns([1, 2], gap="large")
    with left:
        source = chosen(breaks.SCENARIOS)
        view = st.segmented_control(
            "Take back", (ONE, ALL), default=ONE, key="view", bind="query-params", required=True
        )
        name = None if view == ALL else which(source)
        gpus = cluster() if name in breaks.TRAINING else breaks.CLUSTERS[0]
    with right:
        one(source, name, gpus) if name else everything(source)


def cluster() -> int:
    """GPUs that the model is trained on."""
    label = "GPUs that the model is trained on"
    found = st.select_slider(label, breaks.CLUSTERS, key="cluster", bind="query-params")
    return int(found)


def which(source: Source) -> str:
    """A break-it of the scenario's."""
    names = breaks.names(source)
    name = st.selectbox("Which", names, key="break", bind="query-params") or names[0]
    says = breaks.said(name)
    st.caption(f"{says[:1].upper()}{says[1:]}. Held against: {breaks.against(name)}.")
    return name


def one(source: Source, name: str, gpus: int) -> None:
    """A break-it: the same fleet with it and without, then the fewest GPUs of both."""
    task = {
        "kind": "break-it",
        **source,
        "sides": {
            BASE: breaks.base_of(source, name, gpus),
            RUN: breaks.side(source, name, gpus),
        },
        "replications": breaks.REPLICATIONS,
        "only": None if name in breaks.TRAINING else [name],
    }
    hint = (
        "Press the button: three minutes on the fleet as it ships, with the choice and without"
        " (some seconds), then the search for the fewest GPUs of each (a minute or two)."
    )
    says = "This is another break-it, or another scenario: press the button for this one."
    folder = job_view.asked(task, says, "Break it", hint)
    if folder is None:
        return
    broken = (job_view.task() or task)["only"] is None
    (trained if broken else compared)(folder)
    details(folder)


def compared(folder: Path) -> None:
    """Fleet, cost, latency and hit rate side by side, and why."""
    base, run = read_run(folder / BASE), read_run(folder / RUN)
    rows = result_of(folder)
    pairs(breaks.cards(base, run, rows))
    if rows is None:
        st.caption("How many GPUs each needs is being searched.")
    else:
        st.caption(breaks.searched(rows))
    st.subheader("Why", anchor=False)
    words = breaks.chain(base, run, rows)
    st.markdown("\n".join(f"{n}. {link}" for n, link in enumerate(words, 1)))
    if rows:
        gpus = breaks.fleets(rows)
        figure = named_bars(gpus, "break-it", "gpus", "fewest GPUs (count)")
        export.chart(figure.properties(height=150), gpus, "fleets", "The fewest GPUs that hold")
    shares = breaks.shares(base, run)
    export.chart(paired_bars(shares), shares, "shares", "The same fleet as shipped and broken")


def trained(folder: Path) -> None:
    """What a break-it of training costs."""
    rows = breaks.trained(folder / BASE, folder / RUN)
    pairs([row for row in rows if "USD" in row["figure"] or "Days" in row["figure"]])
    st.subheader("Why", anchor=False)
    words = breaks.training_chain(rows)
    st.markdown("\n".join(f"{n}. {link}" for n, link in enumerate(words, 1)))
    export.table(rows, "training")


def details(folder: Path) -> None:
    """Inputs and figures of both runs."""
    st.subheader("Inputs that differ", anchor=False)
    export.table(breaks.inputs(folder / BASE, folder / RUN), "inputs")
    st.subheader("Figures on the same fleet, with the verdict on each difference", anchor=False)
    export.table(breaks.figures(folder / BASE, folder / RUN), "figures")
    job_view.downloads(folder)


def everything(source: Source) -> None:
    """The fewest GPUs with each break-it."""
    task: dict[str, Any] = {"kind": "break-it", **source, "only": []}
    hint = (
        "Press the button: a search for the fewest GPUs with each choice taken back. Minutes for"
        " `baseline`, half an hour for the larger ones; what was searched before is kept."
    )
    says = "This is another scenario's table: press the button for this one."
    folder = job_view.asked(task, says, "Break all of it", hint)
    rows = None if folder is None else result_of(folder)
    if folder is None or rows is None:
        return
    gpus = breaks.fleets(rows)
    figure = named_bars(gpus, "break-it", "gpus", "fewest GPUs (count)")
    export.chart(figure, gpus, "fleets", "The fewest GPUs that hold the objectives")
    export.table(breaks.table(rows), "break-its")
    st.caption(f"{breaks.searched(rows)} Those of training change no fleet: look at one.")
    job_view.downloads(folder)


page(draw)
