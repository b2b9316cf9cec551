"""Charts and tables, each with its rows to take along."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import streamlit as st

Rows = Sequence[Mapping[str, Any]]
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def csv_of(rows: Rows) -> str:
    """Rows as CSV; a text that a spreadsheet would run as a formula is kept from it."""
    names = list(dict.fromkeys(key for row in rows for key in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _harmless(value) for key, value in row.items()} for row in rows)
    return out.getvalue()


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def chart(figure: "alt.Chart | alt.LayerChart", rows: Rows, name: str, says: str) -> None:
    """A chart (its own menu saves PNG and SVG) under what it shows in words, and its rows."""
    if not rows:
        st.info(f"{says}: nothing to show here.", icon=":material/info:")
        return
    with st.container(
        horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"
    ):
        st.caption(says)
        _download(st, rows, name)
    st.altair_chart(figure, width="stretch", alt=says)


def table(rows: Rows, name: str, *, height: int | None = None, **config: Any) -> None:
    """A table, and its rows as CSV."""
    if not rows:
        st.info("No row matches: take a filter away.", icon=":material/info:")
        return
    sized: dict[str, Any] = {} if height is None else {"height": height}
    st.dataframe(list(rows), hide_index=True, column_config=config, **sized)
    _download(st, rows, name)


def words(rows: Rows, name: str) -> None:
    """A small table of texts, each in full, and its rows as CSV."""
    st.table([dict(row) for row in rows])
    _download(st, rows, name)


def _download(where: Any, rows: Rows, name: str) -> None:
    where.download_button(
        "CSV",
        csv_of(rows),
        f"{name}.csv",
        "text/csv",
        key=f"csv-{name}",
        icon=":material/download:",
        on_click="ignore",
    )
