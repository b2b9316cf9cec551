"""Every page opens, and does what it is for, in Streamlit's own test frame (no browser)."""

from pathlib import Path

import pytest

pytest.importorskip(
    "streamlit", reason="the dashboard's extra is not installed: pip install .[app]"
)

from streamlit.testing.v1 import AppTest

from app.jobs import folder as jobs
from app.jobs.worker import work

SHORT = [
    *("run.warm_up=0s", "run.horizon=8min", "run.drain=1s", "fleet.replicas=2"),
    *("traffic.messages_per_s=20", "traffic.sessions.live=100", "incidents[0].delays=[]"),
    *("incidents[0].at=60s", "incidents[0].fault.replicas=1"),
]

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(p.stem for p in (ROOT / "app" / "pages").glob("[a-z]*.py"))


def opened(page: str, **params: str) -> AppTest:
    """A page as its address with these parameters opens it."""
    test = AppTest.from_file(str(ROOT / "app" / "pages" / f"{page}.py"), default_timeout=60)
    for name, value in params.items():
        test.query_params[name] = value
    test.run()
    assert not test.exception, [e.message for e in test.exception]
    return test


@pytest.mark.parametrize("page", PAGES)
def test_a_page_opens_without_an_error_and_says_what_it_answers(page: str) -> None:
    test = opened(page)
    assert len(test.title) == 1
    assert "?" in test.caption[0].value
    assert not test.error


def test_the_router_opens_the_first_page() -> None:
    test = AppTest.from_file(str(ROOT / "app" / "streamlit_app.py"), default_timeout=60).run()
    assert not test.exception
    assert len(test.title) == 1


def test_a_link_filters_the_audit() -> None:
    everything = opened("audit").dataframe[0].value
    linked = opened("audit", who="published").dataframe[0].value
    assert 0 < len(linked) < len(everything)
    assert all(name.startswith("P") for name in linked["id"])


def test_words_that_no_claim_has_leave_an_empty_state_for_people() -> None:
    test = opened("audit")
    test.text_input(key="words").set_value("zebra").run()
    assert not test.exception
    assert any("filter" in info.value for info in test.info)


def test_a_link_to_a_run_shows_it_and_says_when_it_is_of_another_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unknown name is an empty state; a done run is drawn, with its downloads."""
    monkeypatch.setenv("KAIJU_APP_DIR", str(tmp_path))
    assert any("no longer kept" in info.value for info in opened("answer", job="0" * 32).info)
    task = {"scenario": "incidents/replica_loss", "sets": SHORT, "replications": 1}
    name = jobs.new(task, {})
    folder = jobs.folder_of(name)
    assert folder is not None
    work(folder)
    test = opened("incidents", job=name)
    assert any("other delays" in warning.value for warning in test.warning)
    assert [e for e in test.dataframe if "what" in e.value.columns]
    assert len(test.get("vega_lite_chart")) == 6


def test_the_trust_page_says_which_figures_missed() -> None:
    test = opened("trust")
    table = next(f.value for f in test.dataframe if "kept" in f.value.columns)
    assert {"yes", "no"} >= set(table["kept"])
    assert len(table) > 10
