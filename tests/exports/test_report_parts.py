"""The report's cost tree adds up, and its provenance says what the same run always says."""

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))
from made_up_run import SCENARIO_YAML, result

from kaiju_sim.report.html import provenance, render
from kaiju_sim.report.html.cost_tree import Node, cost_tree
from kaiju_sim.report.html.money_page import sheet_of_run
from kaiju_sim.report.provenance import text_hash
from kaiju_sim.report.rundir import RunDirectory, read_run, write_run
from kaiju_sim.scenario.loader import load_scenario
from kaiju_sim.simulation import simulate

TINY = """\
schema_version: 1
name: tiny
seed: 5
run: {warm_up: 0s, horizon: 3s, drain: 10s, epoch: 100ms}
traffic: {kind: poisson, messages_per_s: 8}
steptime: {kind: roofline}
fleet: {replicas: 2}
results: {tick: 1s}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    folder = tmp_path_factory.mktemp("tree")
    (folder / "tiny.yaml").write_text(TINY)
    loaded = load_scenario(folder / "tiny.yaml")
    made = simulate(loaded.scenario, engine="reference")
    write_run(made, loaded.to_yaml(), {"seed": 5}, folder / "run")
    return read_run(folder / "run")


def adds_up(node: Node) -> None:
    if node.parts:
        assert sum(part.usd_per_month for part in node.parts) == pytest.approx(node.usd_per_month)
    for part in node.parts:
        adds_up(part)


def test_the_cost_tree_adds_up_and_dates_its_prices(run: RunDirectory) -> None:
    sheet = sheet_of_run(run)
    assert sheet is not None
    tree = cost_tree(sheet, run.summary)
    adds_up(tree)
    assert tree.usd_per_month == pytest.approx(run.summary["cost.full.usd_per_month"])
    gpus = next(part for part in tree.parts if part.name == "GPUs")
    assert [part.name for part in gpus.parts] == ["prompts", "answers", "idle"]
    assert gpus.made_of.startswith("2.00 × H100-80GB at 2.35 USD/h (one-year commitment, 2026-03:")


def test_the_report_has_all_its_parts(run: RunDirectory) -> None:
    text = render(run)
    parts = ["<h1>", "Latency", "Over time", "Money", "Cost tree", "Assumptions"]
    parts += ["All values", "Scenario", "Provenance"]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert "What moves it" in text


def test_provenance_leaves_out_what_differs_between_machines(tmp_path: Path) -> None:
    known: dict[str, Any] = {
        "seed": 7,
        "package": {"version": "9.9", "commit": "abc", "modified": True},
        "profile": {"sha256": "123"},
        "machine": {"processor": "Secret"},
        "started": "2026-11-22",
    }
    write_run(result(messages=50, ticks=2), SCENARIO_YAML, known, tmp_path / "a")
    found = read_run(tmp_path / "a")
    rows = dict(provenance.rows_of(found))
    assert rows["Simulator"].endswith("9.9")
    assert rows["Commit"] == "abc, with changes"
    assert rows["SHA-256 of the step-time curves"] == "123"
    assert rows["SHA-256 of scenario.yaml"] == text_hash(SCENARIO_YAML)
    section = provenance.section(found)
    assert "Secret" not in section
    assert "2026-11-22" not in section
