"""Figures of Plan and compare and of Trust; texts and settings that are typed."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip(
    "streamlit", reason="the dashboard's extra is not installed: pip install .[app]"
)

from app.charts.planning import changes, passed
from app.charts.planning import pareto as drawn
from app.figures import scenarios
from app.figures.measured import distributions, grades, kernels, steps
from app.figures.planning import asked, compare, pareto
from app.figures.planning.asked import Wishes
from app.ui.export import picture
from app.ui.links import MOST_LINK, packed, unpacked
from kaiju_sim.errors import UserError
from kaiju_sim.report.rundir import write_run
from kaiju_sim.simulation import replicate

TINY = ["run.warm_up=0s", "run.horizon=10s", "run.drain=5s", "fleet.replicas=1"]


def test_wishes_that_were_not_changed_ask_for_nothing() -> None:
    found = scenarios.shipped("baseline")
    start = asked.start_of(found)
    assert asked.settings(start, start, found.scenario) == []


def test_wishes_become_settings_that_load() -> None:
    found = scenarios.shipped("baseline")
    start = asked.start_of(found)
    changed = {"load": start.load * 2, "gpus": ("H200",), "routers": ("sticky", "affinity")}
    now = Wishes(**{**vars(start), **changed, "nodes": 1, "window": 5, "ttft": 1.5})
    s = scenarios.loaded("baseline", asked.settings(start, now, found.scenario)).scenario
    assert s.plan.gpus == ("H200",)
    assert s.plan.routers == ("sticky", "affinity")
    assert (s.plan.survive_nodes, s.plan.window, s.slo.ttft) == (1, 300.0, 1.5)
    assert s.traffic.sessions.live == 2 * found.scenario.traffic.sessions.live


@pytest.mark.parametrize("name", ["baseline", "teen_peak", "unit_economics"])
def test_an_answer_can_be_run_at_the_peak(name: str) -> None:
    found = scenarios.shipped(name).scenario
    answer = {
        "gpu_type": "H200",
        "replicas": 40,
        "tensor_parallel": 1,
        "token_budget": 1024,
        "max_seqs": 128,
        "router": "sticky",
    }
    s = scenarios.loaded(name, asked.fleet_sets(found, answer)).scenario
    assert (s.gpu, s.fleet.replicas, s.router.policy) == ("H200", 40, "sticky")
    assert s.run.horizon - s.run.warm_up <= asked.MOST_RUN_S


POINTS = [
    {"usd": 1.0, "ttft": 3.0, "kind": pareto.KINDS[0]},
    {"usd": 2.0, "ttft": 1.0, "kind": pareto.KINDS[0]},
    {"usd": 3.0, "ttft": 2.0, "kind": pareto.KINDS[1]},
    {"usd": 0.5, "ttft": 9.0, "kind": pareto.KINDS[3]},
]


def test_the_front_has_who_is_not_beaten_and_keeps_the_objectives() -> None:
    assert [row["usd"] for row in pareto.front(POINTS)] == [1.0, 2.0]


def test_a_grid_is_around_the_fleet_in_whole_shards() -> None:
    s = scenarios.shipped("case_study").scenario
    found = pareto.replicas_of(s)
    assert s.fleet.replicas in found
    assert all(count % 300 == 0 for count in found)
    assert pareto.grid([1, 2], routers=[], budgets=[512], batches=[]) == [
        "fleet.replicas=[1, 2]",
        "engine.token_budget=[512]",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "steptime.profile=/etc/passwd",
        "traffic.trace={file: /etc/passwd}",
        "fleet.groups=[{profile: ../x.json}]",
        "traffic.trace.file=x",
        "no equals sign",
        "=1",
    ],
)
def test_settings_that_name_a_file_or_are_none_are_refused(text: str) -> None:
    with pytest.raises(UserError):
        compare.settings_of(f"fleet.replicas=48\n{text}")


def test_settings_are_one_a_line() -> None:
    assert compare.settings_of("\n a.b=1 \n\nc=[1, 2]\n") == ["a.b=1", "c=[1, 2]"]


@pytest.mark.parametrize("text", ["", "  "])
def test_no_link_means_a_scenario(text: str) -> None:
    assert compare.job_in(text) is None


def test_a_link_or_a_name_alone_means_a_run() -> None:
    name = "0" * 32
    link = f"http://127.0.0.1:8501/answer?load-baseline=9&job={name}&x=1"
    assert compare.job_in(name) == compare.job_in(link) == name


def test_two_runs_side_by_side_tell_input_and_figures(tmp_path: Path) -> None:
    for name, rate in (("a", 2), ("b", 20)):
        sets = [*TINY, f"traffic.messages_per_s={rate}", f"traffic.sessions.live={rate * 50}"]
        found = scenarios.loaded("baseline", sets)
        result = replicate(found.scenario, 3, base_dir=found.base_dir)
        write_run(result, found.to_yaml(), {}, tmp_path / name)
    both = compare.Compared(tmp_path / "a", tmp_path / "b")
    paths = ["traffic.messages_per_s", "traffic.sessions.live"]
    assert [row["input"] for row in both.inputs()] == paths
    assert "3 replications" in both.sentence()
    arrived = next(row for row in both.figures(True) if row["key"] == "requests.arrived")
    assert arrived["verdict"] == "higher"
    assert len(both.figures(False)) < len(both.figures(True))
    same = compare.Compared(tmp_path / "a", tmp_path / "a")
    assert (same.inputs(), same.figures(False)) == ([], [])


def test_a_text_comes_back_from_its_link_and_a_forged_one_does_not() -> None:
    text = scenarios.text_of("baseline")
    link = packed(text)
    assert link is not None
    assert unpacked(link, scenarios.MOST_CHARACTERS) == text
    assert unpacked(link, 100) is None  # a small link that unpacks to much
    assert unpacked("no base64 \u00e9", 100) is None
    assert unpacked("A" * (MOST_LINK + 1), 100) is None


@pytest.mark.parametrize("name", [*scenarios.SHIPPED, *scenarios.INCIDENTS])
def test_a_shipped_text_can_be_edited(name: str) -> None:
    text = scenarios.text_of(name)
    assert scenarios.of_source({"text": text}).scenario == scenarios.shipped(name).scenario


def test_the_wrong_line_is_marked() -> None:
    shown = scenarios.around("a\nb\nc\nd\ne\nf", 3).splitlines()
    assert [line[0] for line in shown] == [" ", " ", ">", " ", " "]
    assert shown[2].endswith("3 c")


PROFILE = "h100-80gb-kaiju-13b-tp1"


def test_distributions_grow_to_all_messages_and_lie_over_each_other() -> None:
    """The median of each line is near that of the comparison that ships beside it."""
    rows = distributions.curves(PROFILE, "poisson-85", "ttft")
    by_line: dict[str, list[float]] = {}
    for row in rows:
        by_line.setdefault(row["line"], []).append(row["ms"])
    assert "simulated" in by_line
    assert all(times == sorted(times) for times in by_line.values())
    middle = [times[len(times) // 2] for times in by_line.values()]
    assert max(middle) < 1.3 * min(middle)
    assert distributions.curves("no such profile", "x", "ttft") == []


def test_measured_steps_are_above_their_floor() -> None:
    rows = steps.table(PROFILE)
    assert len(rows) > 5
    assert all(row["times the floor"] >= 1 for row in rows)
    assert steps.times("no such profile") == []


def test_kernels_are_beside_others_and_below_the_roofline() -> None:
    (name, *_) = kernels.files()
    rows = kernels.beside(name, "matmul", kernels.shapes(name, "matmul")[:3])
    assert {row["whose"] for row in rows} == {"ours", "others'"}
    assert all(0 < row["floor_percent"] <= 100 for row in rows)
    assert kernels.files(Path("/nowhere")) == []


@pytest.mark.parametrize("name", scenarios.SHIPPED)
def test_every_value_has_a_grade_that_has_words(name: str) -> None:
    rows = grades.rows(name)
    assert {row["how sure"] for row in rows} <= set(grades.GRADES.values())
    assert sum(row["values"] for row in grades.counted(rows)) == len(rows)


CHANGE = {"figure": "ttft_s.p99", "change": 12.0, "low": 8.0, "high": 16.0, "verdict": "higher"}
PASS = {"fleet": "48 H100", "passed": 100.0, "low": 95.0, "high": 100.0, "verdict": "passes"}


@pytest.mark.parametrize(
    ("figure", "words"),
    [
        (changes([CHANGE]), "% of A"),
        (passed([PASS], 95.0), "windows passed (%)"),
        (drawn(POINTS, pareto.front(POINTS), pareto.KINDS, 2.5), "USD per 1,000 messages"),
    ],
)
def test_a_chart_is_saved_as_a_picture_with_its_units(figure: Any, words: str) -> None:
    pytest.importorskip("vl_convert", reason="pip install .[app]")
    assert words in picture(figure, "SVG").decode()
    assert picture(figure, "PNG").startswith(b"\x89PNG")
