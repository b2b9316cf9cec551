"""Answer: how many GPUs, at what cost per message, and what binds; at once, then simulated."""

from typing import Any, Literal

import streamlit as st

from app.charts.bars import named_bars
from app.figures import answer, audit, closed_form, scenarios, sliders
from app.figures.scenarios import Source
from app.figures.sliders import Sliders
from app.jobs.folder import RUN
from app.ui import export, job_view
from app.ui.frame import cards, heading, page
from app.ui.scenario import chosen, suffix
from app.ui.sliders import around, number, whole
from kaiju_sim.report.rundir import read_run

BIND: Literal["query-params"] = "query-params"


def draw() -> None:
    """The sliders; the closed form, which moves at once; the simulated answer."""
    heading("Answer", "How many GPUs, at what cost per message, and what stops you from fewer?")
    left, right = st.columns([1, 2], gap="large")
    with left:
        source = chosen(scenarios.SHIPPED)
        shipped = scenarios.of_source(source)
        start = sliders.start_of(shipped)
        now = moved(start, suffix(source))
    sets = sliders.settings(start, now, shipped.scenario)
    with right:
        closed = closed_form.answer_of(scenarios.of_source(source, sets))
        at_once(closed)
        simulated(source, sets, closed)
    case_study()


def moved(start: Sliders, name: str) -> Sliders:
    """Where the sliders stand; they begin where the scenario does."""
    load = around("Load (messages/s)", start.load, f"load-{name}")
    ttft = number("TTFT objective, p99 (s)", (0.2, 10.0), start.ttft, 0.1, f"ttft-{name}")
    return Sliders(load=load, ttft=ttft, **hit_rate(start, name), **money(start, name))


def hit_rate(start: Sliders, name: str) -> dict[str, Any]:
    """What the hit rate comes from."""
    with st.expander("What drives the hit rate", expanded=False):
        return {
            "turns": around("Messages of a dialogue", start.turns, f"turns-{name}"),
            "definition": around(
                "Tokens of a character's definition", start.definition, f"definition-{name}"
            ),
            "step": whole(
                "Tokens cut at a time when a prompt is too long",
                *((250, 4000), start.step, 250, f"step-{name}"),
            ),
        }


def money(start: Sliders, name: str) -> dict[str, Any]:
    """GPU, prices, fleet."""
    with st.expander("GPU, price and fleet", expanded=True):
        at = sliders.GPUS.index(start.gpu) if start.gpu in sliders.GPUS else 0
        gpu = st.selectbox("GPU", sliders.GPUS, at, key=f"gpu-{name}", bind=BIND) or start.gpu
        price = start.price if gpu == start.gpu else sliders.catalog_price(gpu)
        most = max(8, start.replicas * 2)
        return {
            "gpu": gpu,
            "price": number("USD per GPU hour", (0.5, 8.0), price, 0.05, f"usd-{name}-{gpu}"),
            "replicas": whole(
                "Replicas to simulate", (1, most), start.replicas, 1, f"replicas-{name}"
            ),
            "subscription": number(
                "Subscription (USD a month)",
                *((1.0, 30.0), start.subscription, 0.5, f"subscription-{name}"),
            ),
            "messages": whole(
                "Messages of a subscriber a month",
                *((100, 6000), start.messages, 100, f"messages-{name}"),
            ),
        }


def at_once(closed: closed_form.Answer) -> None:
    """The closed form."""
    st.subheader("In closed form, at once", anchor=False)
    cards(answer.closed_cards(closed))
    rows = closed_form.rows_of(closed)
    figure = named_bars(rows, "part", "gpus", "GPUs (count)").properties(height=150)
    export.chart(figure, rows, "closed-form", f"What asks for GPUs; step times {closed.step_times}")


def simulated(source: Source, sets: list[str], closed: closed_form.Answer) -> None:
    """The simulated answer to the same question; it says so when the sliders have moved since."""
    st.subheader("Simulated: every message, every step", anchor=False)
    task = {
        **source,
        "sets": [*sets, *sliders.WINDOW],
        "replications": sliders.REPLICATIONS,
    }
    says = "The sliders have moved since: this is the answer to an earlier question."
    hint = (
        "Press Simulate: two minutes of this fleet, three times, in some seconds. From then on it"
        " follows the sliders."
    )
    folder = job_view.asked(task, says, "Simulate", hint, follows=True)
    if folder is None:
        return
    run = read_run(folder / RUN)
    cards(answer.simulated_cards(run))
    st.write(answer.sentence(run))
    export.table(answer.beside(closed, run.summary), "beside")
    job_view.downloads(folder)


def case_study() -> None:
    """The case study's widget with its own numbers, and what is wrong with them."""
    with st.expander("The case study's widget, with its own numbers"):
        sessions = number(
            "Its 'QPS' (the text elsewhere: live sessions)",
            *((1000.0, 100_000.0), 50_000.0, 1000.0, "their-qps"),
        )
        hit = number("Its cache hit rate (share)", (0.0, 0.99), 0.6, 0.01, "their-hit")
        ttft = number("Its TTFT objective (s)", (0.2, 2.5), 0.8, 0.1, "their-ttft")
        cards(answer.widget(sessions, hit, ttft))
        st.write("What is wrong with it, claim by claim (all of them: page Audit):")
        rows = [row for row in audit.rows() if row["id"] in answer.WIDGET_CLAIMS]
        export.table(audit.table(rows), "widget-claims")


page(draw)
