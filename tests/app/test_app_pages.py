"""Every page opens, and does what it is for, in Streamlit's own test frame (no browser)."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip(
    "streamlit", reason="the dashboard's extra is not installed: pip install .[app]"
)

from streamlit.testing.v1 import AppTest

from app.jobs import folder as jobs
from app.jobs.worker import work
from app.ui.frame import desk

SHORT = [
    *("run.warm_up=0s", "run.horizon=8min", "run.drain=1s", "fleet.replicas=2"),
    *("traffic.messages_per_s=20", "traffic.sessions.live=100", "incidents[0].delays=[]"),
    *("incidents[0].at=60s", "incidents[0].fault.replicas=1"),
]

FEW: dict[str, Any] = {
    "scenario": "baseline",
    "sets": [
        *("run.warm_up=0s", "run.horizon=20s", "run.drain=10s", "fleet.replicas=2"),
        *("traffic.messages_per_s=10", "traffic.sessions.live=50"),
    ],
}
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


@pytest.mark.parametrize("view", ["Fewest GPUs", "Pareto front", "Compare two"])
def test_each_view_of_planning_opens(view: str) -> None:
    test = opened("plan", view=view)
    assert not test.error
    assert any("Press the button" in info.value for info in test.info)


@pytest.mark.parametrize("view", ["Whole runs", "Steps", "Kernels", "Measured or assumed"])
def test_each_view_of_trust_opens(view: str) -> None:
    test = opened("trust", view=view)
    assert not test.error
    assert test.get("vega_lite_chart")
    assert test.dataframe


def test_a_link_to_one_kind_of_result_is_not_drawn_as_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAIJU_APP_DIR", str(tmp_path))
    name = jobs.new({"kind": "audit", "only": ["20"], "replications": 2}, {})
    folder = jobs.folder_of(name)
    assert folder is not None
    jobs.tell(folder, jobs.State("done", 1.0))
    for page in ("answer", "plan", "break_it", "incidents", "traffic"):
        assert any("another question" in info.value for info in opened(page, job=name).info), page


def test_a_typed_scenario_with_a_mistake_is_told_at_its_line_and_stands_in_the_address() -> None:
    test = opened("answer")
    key = "scenario-text-baseline"
    wrong = str(test.text_area(key=key).value).replace("fleet: {", "flet: {")
    test.text_area(key=key).set_value(wrong).run()
    assert not test.exception
    line = next(n for n, text in enumerate(wrong.splitlines(), 1) if text.startswith("flet:"))
    assert any(f"Line {line}:" in error.value and "fleet" in error.value for error in test.error)
    assert ">" in test.code[0].value
    link = test.query_params["scenario-yaml"]
    again = opened("answer", **{"scenario-yaml": link[0] if isinstance(link, list) else link})
    assert again.text_area(key=key).value == wrong


def test_a_sweep_is_drawn_with_its_front(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = worked(
        *("plan", tmp_path, monkeypatch),
        {"kind": "sweep", **FEW, "grid": ["fleet.replicas=[1, 2]"]},
        view="Pareto front",
    )
    assert any("keeps all objectives" in head.value for head in test.subheader)
    assert any("fleet.replicas" in frame.value.columns for frame in test.dataframe)


def test_two_sides_are_drawn_inputs_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sides = {"base": FEW, "run": {**FEW, "sets": [*FEW["sets"], "fleet.replicas=1"]}}
    test = worked(
        *("plan", tmp_path, monkeypatch),
        {"kind": "run", "sides": sides, "replications": 2},
        view="Compare two",
    )
    heads = [head.value for head in test.subheader]
    assert heads.index("Inputs that differ") < heads.index("Figures")
    assert list(test.dataframe[0].value["input"]) == ["fleet.replicas"]


def test_a_break_it_of_training_prices_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = "economics.pretraining={gpus: 512"
    sides = {
        "base": {**FEW, "sets": [*FEW["sets"], f"{cluster}}}"]},
        "run": {**FEW, "sets": [*FEW["sets"], f"{cluster}, forward: bf16}}"]},
    }
    test = worked(
        *("break_it", tmp_path, monkeypatch),
        {"kind": "break-it", **FEW, "sides": sides, "replications": 1, "only": None},
    )
    days = next(metric for metric in test.metric if metric.label.startswith("Days"))
    before, after = (float(text) for text in days.value.split(" → "))
    assert after > before


def worked(
    page: str, folder: Path, monkeypatch: pytest.MonkeyPatch, task: dict[str, Any], **params: str
) -> AppTest:
    """The page with a link to the task's result."""
    monkeypatch.setenv("KAIJU_APP_DIR", str(folder))
    name = jobs.new(task, {})
    made = jobs.folder_of(name)
    assert made is not None
    work(made)
    return opened(page, job=name, **params)


def test_a_simulated_answer_follows_the_sliders_once_it_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAIJU_APP_DIR", str(tmp_path))
    test = opened("answer")
    test.slider(key="ttft-baseline").set_value(2.0).run()
    assert not list(tmp_path.glob("*/task.json"))  # nobody has asked yet
    next(b for b in test.button if b.label == "Simulate").click().run()
    try:
        first = job_of(test)
        test.slider(key="ttft-baseline").set_value(3.0).run()
        second = job_of(test)
        assert first != second
        assert state_of(first) == "cancelled"
        assert "slo.ttft=3s" in jobs.task_of(tmp_path / second)["sets"]
    finally:
        desk().close()


def job_of(test: AppTest) -> str:
    """The job that the page's address names."""
    found = test.query_params["job"]
    return str(found[0] if isinstance(found, list) else found)


def state_of(name: str) -> str:
    """What became of a job."""
    folder = jobs.folder_of(name)
    assert folder is not None
    return jobs.state_of(folder).state
