"""The web server: Streamlit's, with our own first document.

Streamlit's document looks for its server below the page's own address first, so that a link to a
page puts two 404 into the browser's console. Ours says where the server is.
"""

from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from urllib.parse import urlunsplit

import streamlit as st
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route
from streamlit import file_util
from streamlit.runtime.pages_manager import PagesManager

from app.charts.bars import named_bars
from app.figures import audit, closed_form, scenarios
from kaiju_sim.errors import UserError

ENTRY = Path(__file__).with_name("streamlit_app.py")
FIRST = "answer"
"""The page at `/`."""
TITLE = "Kaiju fleet planner"
HEAD = """
    <script>window.__streamlit = {BACKEND_BASE_URL: location.origin + "/"}</script>
    <style>
      [data-testid="stMainBlockContainer"] {padding-top: 4rem !important}
      [data-testid="stSliderThumbValue"] *, button[data-selected="true"] p {
        color: CanvasText !important;
      }
    </style>"""
"""A slider's figure and a chosen segment have the text's colour: no primary colour is readable on
dark ground and carries white text as well."""

LOADED = ("pandas", "app.ui.export", "app.ui.job_view", "app.ui.scenario")
"""Modules that pages import, half a second's worth."""


def serve(options: Sequence[str]) -> None:
    """Serve until Ctrl-C.

    A folder named pages/ makes Streamlit guess a navigation of its own until the entry has run
    once, so that a link to a page that is the server's first visit would show that one.
    """
    PagesManager.uses_pages_directory = False
    _prepare()
    st.App(ENTRY, routes=routes()).run(config=config_of(options))


def _prepare() -> None:
    """Load what the first page needs, so that the first visitor waits no longer than the second."""
    for module in LOADED:
        import_module(module)
    with suppress(UserError):
        closed = closed_form.answer_of(scenarios.of_source({"scenario": scenarios.SHIPPED[0]}))
        named_bars(closed_form.rows_of(closed), "part", "gpus", "GPUs (count)").to_dict()
    audit.rows()


def config_of(options: Sequence[str]) -> dict[str, str | int | bool]:
    """`--server.port 8600` or `--server.port=8600` as Streamlit's configuration."""
    words = [word for option in options for word in option.split("=", 1)]
    names, values = words[::2], words[1::2]
    if len(names) != len(values) or not all(name.startswith("--") for name in names):
        raise UserError("options are pairs, as in --server.port 8600")
    return {name[2:]: _typed(value) for name, value in zip(names, values, strict=True)}


def _typed(value: str) -> str | int | bool:
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    return int(value) if value.isdecimal() else value


def routes() -> list[Route]:
    """Every page's address; the first page has one only."""
    names = sorted(file.stem for file in ENTRY.with_name("pages").glob("[a-z]*.py"))
    return [
        Route("/", _document),
        Route(f"/{FIRST}", _to_first),
        *(Route(f"/{name}", _document) for name in names if name != FIRST),
    ]


def _document(_: Request) -> Response:
    return HTMLResponse(document(), headers={"Cache-Control": "no-cache"})


def _to_first(request: Request) -> Response:
    return RedirectResponse(urlunsplit(("", "", "/", request.url.query, "")))


def document() -> str:
    """Streamlit's document with our title, where the server is, and a colour."""
    text = Path(file_util.get_static_dir(), "index.html").read_text(encoding="utf-8")
    titled = text.replace("<title>Streamlit</title>", f"<title>{TITLE}</title>")
    return titled.replace("<head>", f"<head>{HEAD}", 1)
