"""A job on a page: started, followed, cancelled; its name stands in the address."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import streamlit as st

from app.jobs.folder import folder_of, is_name, task_of
from app.ui.frame import desk, mistakes_told, session
from kaiju_sim.report.rundir import RunDirectory, read_run

KEY = "job"
"""The parameter of the address that has the job's name."""


def start(task: Mapping[str, Any], files: Mapping[str, bytes] | None = None) -> None:
    """Start a job for this session and put its name into the address."""
    with mistakes_told():
        st.query_params[KEY] = desk().start(session(), task, files)


def current() -> str | None:
    """The job that the address names."""
    name = st.query_params.get(KEY)
    return name if name and is_name(name) else None


def task() -> dict[str, Any] | None:
    """What the address's job was asked for."""
    name = current()
    folder = None if name is None else folder_of(name)
    return None if folder is None else task_of(folder)


def done() -> RunDirectory | None:
    """The run of the address's job once it is done; until then how far it is, drawn here."""
    name = current()
    if name is None:
        return None
    state = desk().state(name)
    if state is None:
        st.info("This link's run is no longer kept: start it again.", icon=":material/history:")
    elif state.state == "done":
        folder = folder_of(name)
        return None if folder is None else read_run(folder / "run")
    elif state.is_open:
        _follow(name)
    elif state.state == "failed":
        st.error(state.words, icon=":material/error:")
    else:
        st.info("The run was cancelled.", icon=":material/cancel:")
    return None


@st.fragment(run_every="1s")
def _follow(name: str) -> None:
    """The progress, told anew every second; the page is drawn again when the job has ended."""
    state = desk().state(name)
    if state is None or not state.is_open:
        st.rerun()
        return
    bar, stop = st.columns([5, 1], vertical_alignment="center")
    bar.progress(state.progress, state.words or "starting")
    if stop.button("Cancel", icon=":material/stop:", key="cancel-job"):
        desk().cancel(name)
        st.rerun()


def downloads(run: RunDirectory) -> None:
    """The report and the whole run directory, to take along."""
    report = run.path / "report.html"
    with st.container(horizontal=True):
        st.download_button(
            "report.html",
            report.read_bytes,
            "report.html",
            "text/html",
            icon=":material/description:",
            on_click="ignore",
        )
        st.download_button(
            "Run directory (zip)",
            lambda: zipped(run.path),
            "run.zip",
            "application/zip",
            icon=":material/folder_zip:",
            on_click="ignore",
        )


def zipped(folder: Path) -> bytes:
    """The files of a run directory as a zip."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, f"run/{file.name}")
    return out.getvalue()
