"""Audit: every claim of the case study and of published figures, recomputed."""

import streamlit as st

from app.charts.bars import verdict_bars
from app.figures import audit
from app.ui import export
from app.ui.frame import heading, page


def draw() -> None:
    """The claims, filtered; below, one of them in full."""
    heading("Audit", "Which of the claims hold? Each is recomputed from inputs with a source.")
    found = filtered()
    counts = audit.counted(found)
    export.chart(verdict_bars(counts), counts, "verdicts", f"{len(found)} claims by verdict")
    export.table(audit.table(found), "claims", height=360)
    if found:
        detail([row["id"] for row in found])


def filtered() -> list[audit.Row]:
    """The rows that the filters leave."""
    words, verdict, who = st.columns([2, 3, 2])
    return audit.chosen(
        verdict.multiselect("Verdict", audit.names(), key="verdict", bind="query-params"),
        who.selectbox("Whose", ("all", "case study", "published"), key="who", bind="query-params")
        or "all",
        words.text_input("Words in the claim", key="words", max_chars=80, bind="query-params"),
    )


def detail(ids: list[str]) -> None:
    """One claim: how it is judged, what would be right, from what."""
    chosen = st.selectbox("One claim in full", ids, key="claim", bind="query-params")
    row = audit.of_id(chosen or ids[0])
    if row is None:
        return
    st.subheader(f"{row['id']}. {row['claim']}", anchor=False)
    st.table(audit.parts(row))
    right = audit.corrected(row)
    if right:
        st.table(right)
    with st.expander("From what it is recomputed"):
        export.table(audit.inputs(row), "inputs")
    st.caption(f"Source: {row['source']}")


page(draw)
