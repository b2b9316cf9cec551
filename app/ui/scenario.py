"""The choice of a scenario, and its YAML to be edited; both stand in the address."""

from collections.abc import Sequence

import streamlit as st

from app.figures import scenarios
from app.figures.scenarios import Source
from app.ui.links import packed, short, unpacked
from kaiju_sim.errors import UserError


def chosen(
    names: Sequence[str], key: str = "scenario", label: str = "Scenario", folder: str = ""
) -> Source:
    """A shipped scenario, or the text that it was edited to; the page stops at a mistake in it.

    *folder* is that of the names, which stand without it.
    """
    name = folder + (st.selectbox(label, names, key=key, bind="query-params") or names[0])
    text = _edited(name, key)
    source: Source = {"scenario": name} if text is None else {"text": text}
    st.caption(scenarios.of_source(source).scenario.description)
    return source


def suffix(source: Source) -> str:
    """What keys of widgets end in whose values begin where the scenario does."""
    return short(str(source["text"])) if "text" in source else str(source["scenario"])


def _edited(name: str, key: str) -> str | None:
    """The edited text; None where it is as shipped."""
    shipped, area, link = scenarios.text_of(name), f"{key}-text-{name}", f"{key}-yaml"
    if area not in st.session_state:
        known = unpacked(st.query_params.get(link, ""), scenarios.MOST_CHARACTERS)
        st.session_state[area] = known or shipped
    with st.expander("Edit it as YAML", expanded=st.session_state[area] != shipped):
        text = st.text_area(
            f"{key.capitalize()} as YAML (Ctrl+Enter checks it)",
            key=area,
            height=360,
            max_chars=scenarios.MOST_CHARACTERS,
        )
        st.button(
            "As shipped",
            key=f"{area}-back",
            icon=":material/undo:",
            on_click=_reset,
            args=(area, shipped),
            disabled=text == shipped,
        )
    _remember(link, None if text == shipped else text)
    if text == shipped:
        return None
    checked(text)
    return text


def _reset(area: str, text: str) -> None:
    st.session_state[area] = text


def _remember(link: str, text: str | None) -> None:
    """The text in the address, if it fits there."""
    short_enough = None if text is None else packed(text)
    if short_enough is not None:
        st.query_params[link] = short_enough
    elif link in st.query_params:
        del st.query_params[link]
    if text is not None and short_enough is None:
        st.caption("The text is too long for a link: send the YAML along with it.")


def checked(text: str) -> None:
    """Say what is wrong with a text, at its line, and stop the page there."""
    try:
        scenarios.of_source({"text": text})
    except UserError as error:
        where = "" if error.line is None else f"Line {error.line}: "
        st.error(f"{where}{error.message}", icon=":material/error:")
        if error.line is not None:
            st.code(scenarios.around(text, error.line), language=None)
        st.stop()
