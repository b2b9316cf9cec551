"""Answer: how many GPUs, at what cost per message, and what binds; at once, then simulated."""

from typing import Any, Literal

import streamlit as st

from app.charts.bars import named_bars
from app.figures import answer, audit, closed_form, scenarios, sliders
from app.figures.sliders import Sliders
from app.ui import export, job_view
from app.ui.frame import cards, heading, page
from app.ui.sliders import around, number, whole
from kaiju_sim.scenario.loader import Loaded

BIND: Literal["query-params"] = "query-params"


def draw() -> None:
    """The sliders; the closed form, which moves at once; the simulated answer."""
    heading("Answer", "How many GPUs, at what cost per message, and what stops you from fewer?")
    left, right = st.columns([1, 2], gap="large")
    with left:
        name = chosen()
        start = sliders.start_of(scenarios.shipped(name))
        now = moved(start)
    sets = sliders.settings(start, now, scenarios.shipped(name).scenario)
    with right:
        found = scenarios.loaded(name, sets)
        closed = closed_form.answer_of(found)
        at_once(closed)
        simulated(name, sets, closed)
    typed(found)
    case_study()


def chosen() -> str:
    """The scenario, in a word or two about it."""
    name = st.selectbox("Scenario", scenarios.SHIPPED, key="scenario", bind=BIND)
    name = name or scenarios.SHIPPED[0]
    st.caption(scenarios.shipped(name).scenario.description)
    return name


def moved(start: Sliders) -> Sliders:
    """Where the sliders stand; they begin where the scenario does."""
    name = str(st.session_state.get("scenario", ""))
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


def simulated(name: str, sets: list[str], closed: closed_form.Answer) -> None:
    """The simulated answer to the same question; it says so when the sliders have moved since."""
    st.subheader("Simulated: every message, every step", anchor=False)
    task = {
        "scenario": name,
        "sets": [*sets, *sliders.WINDOW],
        "replications": sliders.REPLICATIONS,
    }
    if st.button("Simulate", type="primary", icon=":material/play_arrow:"):
        job_view.start(task)
    run = job_view.done()
    if run is None:
        if job_view.current() is None:
            st.info("Press Simulate: two minutes of this fleet, three times, in some seconds.")
        return
    if job_view.task() != task:
        st.warning("The sliders have moved since: this is the answer to an earlier question.")
    cards(answer.simulated_cards(run))
    st.write(answer.sentence(run))
    export.table(answer.beside(closed, run.summary), "beside")
    job_view.downloads(run)


def typed(found: Loaded) -> None:
    """The scenario as YAML, to be changed and simulated."""
    with st.expander("The same as YAML: change anything in it"):
        text = st.text_area("Scenario", found.to_yaml(), height=360, max_chars=40_000)
        if text and st.button("Check and simulate the text"):
            scenarios.check_text(text)
            job_view.start({"text": text, "sets": [], "replications": 1})
            st.rerun()


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
