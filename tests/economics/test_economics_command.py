"""`kaiju-sim economics`: scenario or run, tables or JSON or page; its tornado is single runs."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from kaiju_sim.cli import main
from kaiju_sim.economics.ranges import NOT_SAID, ranges_of, service_figures
from kaiju_sim.economics.sheet import FIGURES, ledger_of
from kaiju_sim.economics.values import values_of
from kaiju_sim.report.html.money_page import assumptions, figures_of
from kaiju_sim.report.money.words import tables_of
from kaiju_sim.scenario.assumed import assumed_in
from kaiju_sim.scenario.loader import load_scenario
from kaiju_sim.simulation import simulate

Capture = pytest.CaptureFixture[str]
SCENARIO = """\
schema_version: 1
name: small
run: {warm_up: 5s, horizon: 25s, drain: 60s}
traffic:
  kind: sessions
  messages_per_s: 10
  sessions: {live: 300, think: {kind: exponential, mean: 25s}}
fleet: {replicas: 2}
steptime: {kind: roofline}
slo: {ttft: 2s}
results: {tick: 1s}
economics:
  ranges: {prompt.truncation_step: [1000, 4000], traffic.output_tokens.value: [100, 200]}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("economics")
    (folder / "small.yaml").write_text(SCENARIO)
    assert main(["run", str(folder / "small.yaml"), "-o", str(folder / "run"), "-q"]) == 0
    return folder


def answer(capsys: Capture, *words: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["economics", *words, "--format", "json", "-q"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_scenario_and_its_run_give_the_same_sheet(folder: Path, capsys: Capture) -> None:
    of_run = answer(capsys, str(folder / "run"))
    assert of_run == answer(capsys, str(folder / "small.yaml"))
    summary = json.loads((folder / "run" / "summary.json").read_text())
    assert of_run["per_unit"]["cost.full.usd_per_month"] == pytest.approx(
        summary["cost.full.usd_per_month"]
    )
    assert of_run["bottleneck"]["name"] == summary["bottleneck"]
    assert of_run["bill_usd_per_month"]["gpu"] == pytest.approx(summary["cost.usd_per_month"])


def test_the_figures_of_a_run_add_up(folder: Path) -> None:
    summary = json.loads((folder / "run" / "summary.json").read_text())
    per_hour = summary["cost.usd_per_hour"]
    rate = summary["throughput.messages_per_s"]
    assert summary["cost.usd_per_message"] * rate * 3600 == pytest.approx(per_hour)
    cached = summary["throughput.cached_tokens_per_s"]
    uncached = summary["throughput.prompt_tokens_per_s"] - cached
    kinds = {"uncached_input": uncached, "cached_input": cached}
    kinds["output"] = summary["throughput.output_tokens_per_s"]
    for which, bill in (("", per_hour), ("full.", summary["cost.full.usd_per_hour"])):
        parts = [
            summary[f"cost.{which}usd_per_million_{kind}_tokens"] * per_s * 3600e-6
            for kind, per_s in kinds.items()
        ]
        assert sum(parts) == pytest.approx(bill), which


def test_a_run_can_be_priced_anew_but_not_changed(folder: Path, capsys: Capture) -> None:
    run = str(folder / "run")
    dear = answer(capsys, run, "--set", "economics.gpu_price=4.7 USD/h")
    cheap = answer(capsys, run)
    assert dear["bill_usd_per_month"]["gpu"] == pytest.approx(
        2 * cheap["bill_usd_per_month"]["gpu"]
    )
    assert dear["assumptions"]["gpu_price"]["low"] == 1
    assert main(["economics", run, "--set", "fleet.replicas=3"]) == 2
    assert "only economics.* can be changed" in capsys.readouterr().err


def test_the_simulated_tornado_is_single_runs(folder: Path, capsys: Capture) -> None:
    found = answer(capsys, str(folder / "small.yaml"), "--simulate")["simulated_tornado"]
    assert [bar["name"] for bar in found] == [
        "prompt.truncation_step",
        "traffic.output_tokens.value",
    ]
    for bar in found:
        for end in ("low", "high"):
            setting = f"{bar['name']}={bar[end]}"
            loaded = load_scenario(folder / "small.yaml", sets=[setting])
            summary = simulate(loaded.scenario).summary
            ledger = ledger_of(loaded.scenario, summary)
            money = zip(FIGURES, ledger.figures(values_of(ledger.assumed)), strict=True)
            expected = dict(money) | service_figures(summary)
            assert bar[f"at_{end}"] == expected, setting
    longer = found[1]
    assert longer["at_low"]["usd_per_message"] < longer["at_high"]["usd_per_message"]


def test_simulated_ranges_are_among_the_bars(folder: Path, capsys: Capture) -> None:
    sheet = answer(capsys, str(folder / "run"))
    wide = dict.fromkeys(FIGURES, 1000000000.0)
    bar = {"name": "x.y", "low": "1", "high": "2", "at_low": dict.fromkeys(FIGURES, 0.0)}
    bar |= {"grade": "I", "source": "a test"}
    sheet["simulated_tornado"] = [bar | {"at_high": wide}]
    cost, margin, *_ = figures_of(sheet)
    for figure in (cost, margin):
        assert figure["data"][0]["y"][-1] == "x.y (simulated)", "the longest is on top"


def test_ranges_are_the_stated_ones() -> None:
    """Assumed values of the economics part need no run; all others of the scenario do."""
    scenario = load_scenario(Path("scenarios/unit_economics.yaml")).scenario
    assert set(scenario.economics.ranges) <= set(ranges_of(scenario))
    assert not any(path.startswith("economics.") for path in ranges_of(scenario))
    assert len(dict(assumed_in(scenario))) > 25
    assert all(found.grade in "PRIU" and found.source for found in ranges_of(scenario).values())
    traffic = [path for path in ranges_of(scenario) if path.startswith("traffic.")]
    assert len(traffic) >= 4
    assert NOT_SAID not in {found.source for found in ranges_of(scenario).values()}


def test_tables_and_page_say_the_same(folder: Path, capsys: Capture) -> None:
    sheet = answer(capsys, str(folder / "run"))
    page = folder / "money.html"
    assert main(["economics", str(folder / "run"), "-o", str(page)]) == 0
    shown = capsys.readouterr()
    assert shown.err == f"written to {page}\n"
    assert max(map(len, shown.out.splitlines())) <= 100
    html = page.read_text()
    for words in (*tables_of(sheet), assumptions(sheet)):
        assert words.title in html
        for row in words.rows:
            assert len(row) == len(words.heads), words.title
    for words in tables_of(sheet):
        assert words.title in shown.out
    assert "Staff, offices and taxes are not included" in shown.out
    assert html.count('class="chart"') == 4
    assert "://" not in re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)


def test_the_runs_report_has_the_money(folder: Path) -> None:
    html = (folder / "run" / "report.html").read_text()
    assert "<h2>Money</h2>" in html
    assert "Closed-form planner and simulation" in html


def test_nothing_served_is_told_in_a_line(folder: Path, capsys: Capture) -> None:
    words = ["--set", "steptime.kind=constant", "--set", "steptime.step=1000s"]
    assert main(["economics", str(folder / "small.yaml"), *words, "-q"]) == 2
    assert "no message was completed" in capsys.readouterr().err


def test_ranges_that_are_not_stated_are_told(folder: Path, capsys: Capture) -> None:
    words = ["--set", "economics.ranges={fleet.replicas: [2]}"]
    assert main(["economics", str(folder / "small.yaml"), *words, "-q"]) == 2
    assert "give two values, [low, high]" in capsys.readouterr().err
    words[1] = "economics.ranges={fleet.replicas: [2, 3, X, somewhere]}"
    assert main(["economics", str(folder / "small.yaml"), *words, "-q"]) == 2
    assert "needs grade P, R, I or U" in capsys.readouterr().err
