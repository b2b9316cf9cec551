"""A job on a page: started, followed, cancelled; its name stands in the address."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import streamlit as st

from app.jobs.folder import BASE, REPORT, RESULT, RUN, State, folder_of, is_name, task_of
from app.ui.frame import desk, mistakes_told, session
from kaiju_sim.report.rundir import RunDirectory, read_run

KEY = "job"
"""The parameter of the address that has the job's name."""
FOLLOWED = "followed"
"""Where a session has the name of the job that goes with what its widgets ask for."""


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


def asked(
    now: Mapping[str, Any], says: str, button: str, hint: str, *, follows: bool = False
) -> Path | None:
    """A button that starts the task *now*; the folder of what there is of the address's job.

    *says* warns where that is the answer to another question; *hint* stands where there is none.
    *follows*: once the button was pressed, another question is a task of its own at once.
    """
    if st.button(button, type="primary", icon=":material/play_arrow:"):
        start(now)
        st.session_state[FOLLOWED] = current()
    elif follows and _is_followed() and task() != dict(now):
        desk().cancel(str(current()))
        start(now)
        st.session_state[FOLLOWED] = current()
    folder = followed(str(now.get("kind", RUN)))
    if folder is None:
        if current() is None:
            st.info(hint)
        return None
    if task() != dict(now):
        st.warning(says)
    return folder


def _is_followed() -> bool:
    """Whether the address's job is one that this session has started."""
    return current() is not None and st.session_state.get(FOLLOWED) == current()


def followed(kind: str) -> Path | None:
    """The folder of the address's job when there is something in it to look at.

    How far it is, and what became of it, is drawn here.
    """
    name = current()
    folder = None if name is None else folder_of(name)
    if name is None:
        return None
    state = desk().state(name)
    if folder is None or state is None:
        st.info("This link's run is no longer kept: start it again.", icon=":material/history:")
        return None
    if task_of(folder).get("kind", RUN) != kind:
        st.info("This link's run answers another question: start one here.")
        return None
    return _shown(name, folder, state)


def _shown(name: str, folder: Path, state: State) -> Path | None:
    if state.is_open:
        _follow(name, state.ready)
        return folder if state.ready else None
    if state.state == "failed":
        st.error(state.words, icon=":material/error:")
    elif state.state == "cancelled":
        st.info("The run was cancelled.", icon=":material/cancel:")
    return folder if state.state == "done" else None


def done() -> RunDirectory | None:
    """The run of the address's job once it is done."""
    folder = followed(RUN)
    return None if folder is None else read_run(folder / RUN)


@st.fragment(run_every="1s")
def _follow(name: str, ready: int) -> None:
    """The progress, told anew every second; the page is drawn again when there is more to see."""
    state = desk().state(name)
    if state is None or not state.is_open or state.ready != ready:
        st.rerun()
        return
    bar, stop = st.columns([5, 1], vertical_alignment="center")
    bar.progress(state.progress, state.words or "starting")
    if stop.button("Cancel", icon=":material/stop:", key="cancel-job"):
        desk().cancel(name)
        st.rerun()


def downloads(folder: Path) -> None:
    """The report and everything that the job left, to take along."""
    pages = [folder / part / REPORT for part in (RESULT, RUN)]
    page = next((file for file in pages if file.is_file()), None)
    with st.container(horizontal=True):
        if page is not None:
            st.download_button(
                "report.html",
                page.read_bytes,
                "report.html",
                "text/html",
                icon=":material/description:",
                on_click="ignore",
            )
        st.download_button(
            "Run directory (zip)",
            lambda: zipped(folder),
            "run.zip",
            "application/zip",
            icon=":material/folder_zip:",
            on_click="ignore",
        )


def zipped(folder: Path) -> bytes:
    """What a job left as a zip: run directories, and what is no run."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for part in (RUN, BASE, RESULT):
            for file in sorted((folder / part).glob("*")):
                archive.write(file, f"{part}/{file.name}")
    return out.getvalue()
