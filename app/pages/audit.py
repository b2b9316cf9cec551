"""Audit: every claim of the case study and of published figures, recomputed and simulated."""

from typing import Any

import streamlit as st

from app.charts.bars import verdict_bars
from app.figures import audit
from app.jobs.folder import result_of
from app.ui import export, job_view
from app.ui.frame import heading, page

KIND = "audit"


def draw() -> None:
    """The claims, filtered; below, one of them in full."""
    heading("Audit", "Which of the claims hold? Each is recomputed from inputs with a source.")
    folder = job_view.followed(KIND)
    claims = audit.with_simulated(None if folder is None else result_of(folder))
    found = filtered(claims)
    counts = audit.counted(found)
    export.chart(verdict_bars(counts), counts, "verdicts", f"{len(found)} claims by verdict")
    narrow = st.column_config.TextColumn(width="medium")
    export.table(audit.table(found), "claims", height=360, claim=narrow, verdict=narrow)
    st.caption(
        "Simulated: what claims about behaviour come to in shipped scenarios, mean and 95 %"
        " interval; `documented`: as in docs/audit.md, else made here."
    )
    if st.button("Simulate all that can be (minutes)", icon=":material/play_arrow:"):
        start(list(audit.studied()))
    if folder is not None:
        job_view.downloads(folder)
    if found:
        detail([row["id"] for row in found], claims)


def start(ids: list[str]) -> None:
    """Simulate these claims."""
    task: dict[str, Any] = {"kind": KIND, "only": ids, "replications": audit.REPLICATIONS}
    job_view.start(task)
    st.rerun()


def filtered(claims: list[audit.Row]) -> list[audit.Row]:
    """The rows that the filters leave."""
    words, verdict, who = st.columns([2, 3, 2])
    with st.container():
        behaviour = st.toggle("Only what can be simulated", key="behaviour", bind="query-params")
    return audit.chosen(
        verdict.multiselect("Verdict", audit.names(), key="verdict", bind="query-params"),
        who.selectbox("Whose", ("all", "case study", "published"), key="who", bind="query-params")
        or "all",
        words.text_input("Words in the claim", key="words", max_chars=80, bind="query-params"),
        behaviour,
        claims,
    )


def detail(ids: list[str], claims: list[audit.Row]) -> None:
    """One claim: how it is judged, what would be right, from what; what comes of it simulated."""
    chosen = st.selectbox("One claim in full", ids, key="claim", bind="query-params")
    row = audit.of_id(chosen or ids[0], claims)
    if row is None:
        return
    st.subheader(f"{row['id']}. {row['claim']}", anchor=False)
    export.words(audit.parts(row), "parts")
    right = audit.corrected(row)
    if right:
        export.words(right, "corrected")
    simulated(row)
    with st.expander("From what it is recomputed"):
        export.table(audit.inputs(row), "inputs")
    st.caption(f"Source: {row['source']}")


def simulated(row: audit.Row) -> None:
    """What was simulated for a claim, or would be."""
    if row["id"] not in audit.studied():
        return
    st.subheader("Simulated", anchor=False)
    made = audit.studies(row)
    if made:
        export.words(made, "studies")
        return
    export.words(audit.planned(row["id"]), "studies")
    if st.button("Simulate this claim", icon=":material/play_arrow:", key="simulate-claim"):
        start([row["id"]])


page(draw)
