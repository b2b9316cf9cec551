"""What every page has: a heading that says what it answers, mistakes told to people, a session."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import streamlit as st

from app.figures.scenarios import said
from app.jobs.desk import Desk
from kaiju_sim.errors import UserError


def heading(title: str, says: str) -> None:
    """The page's title and, in a line, what it answers."""
    st.title(title, anchor=False)
    st.caption(says)


@contextmanager
def mistakes_told() -> Iterator[None]:
    """What is wrong with the input stands on the page, in place of what it would have shown."""
    try:
        yield
    except UserError as error:
        st.error(said(error), icon=":material/error:")


def session() -> str:
    """This session's name; another user, and another tab, has another."""
    if "session" not in st.session_state:
        st.session_state["session"] = secrets.token_hex(16)
    return str(st.session_state["session"])


@st.cache_resource
def desk() -> Desk:
    """The server's desk for jobs."""
    return Desk()


def cards(items: list[tuple[str, str, str]]) -> None:
    """Figures side by side (below each other on a phone): name, figure, what it means."""
    with st.container(horizontal=True):
        for name, figure, says in items:
            st.metric(name, figure, help=says or None, border=True)


def pairs(rows: list[dict[str, Any]]) -> None:
    """Figures side by side, as shipped and broken."""
    with st.container(horizontal=True):
        for row in rows:
            a, b = row["as shipped"], row["broken"]
            st.metric(row["figure"], f"{a} → {b}", border=True)


def page(draw: Callable[[], None]) -> None:
    """Run a page's function with mistakes told."""
    with mistakes_told():
        draw()
