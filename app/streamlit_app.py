"""The dashboard's entry: `make app`, or `python -m streamlit run app/streamlit_app.py`."""

import streamlit as st

PAGES = (
    ("answer", "Answer"),
    ("break_it", "Break it"),
    ("incidents", "Incidents"),
    ("plan", "Plan and compare"),
    ("traffic", "Traffic"),
    ("trust", "Trust"),
    ("audit", "Audit"),
)
"""File in `pages/` and address, title; the first one opens."""


def main() -> None:
    """Draw the navigation and the page that was asked for."""
    st.set_page_config(page_title="Kaiju fleet planner", layout="wide")
    pages = [
        st.Page(f"pages/{name}.py", title=title, url_path=name, default=not place)
        for place, (name, title) in enumerate(PAGES)
    ]
    st.navigation(pages, position="top").run()


main()
