"""Plan and compare: the fewest GPUs, which fleets nobody beats, two runs side by side."""

from collections.abc import Callable, Mapping

import streamlit as st

from app.ui.frame import heading, page
from app.ui.planning import fewest, front, sides

VIEWS: Mapping[str, Callable[[], None]] = {
    "Fewest GPUs": fewest.draw,
    "Pareto front": front.draw,
    "Compare two": sides.draw,
}


def draw() -> None:
    """One of the views."""
    heading("Plan and compare", "What is the cheapest fleet that holds, and what does it trade?")
    first = next(iter(VIEWS))
    view = st.segmented_control(
        "View", list(VIEWS), default=first, key="view", bind="query-params", required=True
    )
    VIEWS[view or first]()


page(draw)
