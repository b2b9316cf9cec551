"""The fewest GPUs: what is asked for, the search, its answer."""

from pathlib import Path
from typing import Any

import streamlit as st

from app.charts.planning import passed
from app.figures import scenarios, sliders
from app.figures.planning import asked, plan
from app.figures.planning.asked import Wishes
from app.jobs.folder import result_of
from app.ui import export, job_view
from app.ui.frame import cards
from app.ui.scenario import chosen, suffix
from app.ui.sliders import around, number, whole

HINT = (
    "Press the button: the planner looks for the cheapest fleet that holds the objectives over the"
    " busiest window, and tests it and the next smaller one: minutes, less with a shorter window."
    " It goes on while you are away, and the link finds it again."
)


def draw() -> None:
    """The wishes, the button, the plan."""
    left, right = st.columns([1, 2], gap="large")
    with left:
        source = chosen(scenarios.SHIPPED)
        found = scenarios.of_source(source)
        start = asked.start_of(found)
        now = wishes(start, suffix(source))
    task = {
        "kind": "plan",
        **source,
        "sets": asked.settings(start, now, found.scenario),
    }
    with right:
        says = "This is the plan of an earlier question: press the button for this one."
        folder = job_view.asked(task, says, "Find the fewest GPUs", HINT)
        if folder is not None and (figures := result_of(folder)):
            answer(figures, folder)


def wishes(start: Wishes, name: str) -> Wishes:
    """What may be chosen from, and what must hold."""
    load = around("Load (messages/s)", start.load, f"load-{name}")
    ttft = number("TTFT objective, p99 (s)", (0.2, 10.0), start.ttft or 2.5, 0.1, f"ttft-{name}")
    return Wishes(
        load=load,
        ttft=ttft,
        gpus=several("GPU types", sliders.GPUS, start.gpus, f"gpus-{name}"),
        ranks=several("GPUs of a replica", asked.RANKS, start.ranks, f"ranks-{name}"),
        routers=several("Routers", asked.ROUTERS, start.routers, f"routers-{name}"),
        nodes=int(
            st.number_input(
                "Nodes of 8 GPUs that may be lost, of each cell",
                *(0, 8, start.nodes),
                key=f"nodes-{name}",
                bind="query-params",
            )
        ),
        window=whole(
            "Window in which they must hold (min)", (3, 60), start.window, 1, f"window-{name}"
        ),
    )


def several(label: str, offered: Any, start: Any, key: str) -> Any:
    """One or more of what is offered; none means the scenario's own."""
    names = list(dict.fromkeys((*offered, *start)))
    found = st.multiselect(label, names, list(start), key=key, bind="query-params")
    return tuple(found) or tuple(start)


def answer(found: dict[str, Any], folder: Path) -> None:
    """The plan."""
    st.subheader(plan.headline(found), anchor=False)
    cards(plan.cards(found))
    st.markdown("\n".join(f"- {line}" for line in plan.sentences(found)))
    rows = plan.passes(found)
    says = "Windows that each fleet passed, with the test's bounds; the line is what is asked for"
    export.chart(passed(rows, plan.target(found)), rows, "passes", says)
    st.subheader("Fleets that were looked at, the cheapest first", anchor=False)
    export.table(plan.candidates(found), "candidates")
    if found["impossible"]:
        st.subheader("Fleets that cannot be built", anchor=False)
        export.table(plan.impossible(found), "impossible")
    job_view.downloads(folder)
