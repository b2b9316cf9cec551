"""Charts and tables, each with its rows to take along."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import altair as alt
import streamlit as st

Rows = Sequence[Mapping[str, Any]]
Figure: TypeAlias = "alt.Chart | alt.LayerChart"
WIDTH, SCALE = 900, 2.0
"""Of a picture: pixels of the drawing's width, pixels of a PNG for each of them."""
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


def chart(figure: Figure, rows: Rows, name: str, says: str) -> None:
    """A chart under what it shows in words, its picture as PNG and SVG, and its rows."""
    if not rows:
        st.info(f"{says}: nothing to show here.", icon=":material/info:")
        return
    with st.container(
        horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"
    ):
        st.caption(says)
        with st.container(horizontal=True, width="content", gap="small"):
            _picture(figure, name, "PNG")
            _picture(figure, name, "SVG")
            _download(rows, name)
    st.altair_chart(figure, width="stretch", alt=says)


def _picture(figure: Figure, name: str, kind: str) -> None:
    """A picture of the chart, drawn when it is asked for."""
    st.download_button(
        kind,
        lambda: picture(figure, kind),
        f"{name}.{kind.lower()}",
        "image/png" if kind == "PNG" else "image/svg+xml",
        key=f"{kind}-{name}",
        icon=":material/image:",
        on_click="ignore",
    )


def picture(figure: Figure, kind: str) -> bytes:
    """The chart on white ground, as PNG or SVG; drawn here, asking nobody."""
    import vl_convert

    spec = figure.properties(width=WIDTH, background="white").to_json()
    if kind == "PNG":
        return bytes(vl_convert.vegalite_to_png(spec, scale=SCALE))
    return str(vl_convert.vegalite_to_svg(spec)).encode()


def table(rows: Rows, name: str, *, height: int | None = None, **config: Any) -> None:
    """A table, and its rows as CSV."""
    if not rows:
        st.info("No row matches: take a filter away.", icon=":material/info:")
        return
    sized: dict[str, Any] = {} if height is None else {"height": height}
    st.dataframe(list(rows), hide_index=True, column_config=config, **sized)
    _download(rows, name)


def words(rows: Rows, name: str) -> None:
    """A small table of texts, each in full, and its rows as CSV."""
    st.table([dict(row) for row in rows])
    _download(rows, name)


def _download(rows: Rows, name: str) -> None:
    st.download_button(
        "CSV",
        csv_of(rows),
        f"{name}.csv",
        "text/csv",
        key=f"csv-{name}",
        icon=":material/download:",
        on_click="ignore",
    )
