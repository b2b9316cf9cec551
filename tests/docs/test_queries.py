"""Every query of docs/queries.md runs against a real run directory and says something."""

import re
from pathlib import Path
from typing import Any

import duckdb
import pytest
from fleet_runs import Tree, scenario_of

from kaiju_sim.report.rundir import read_run, write_run
from kaiju_sim.simulation import replicate

PAGE = (Path(__file__).parents[2] / "docs" / "queries.md").read_text(encoding="utf-8")
QUERIES = dict(re.findall(r"^## (.+?)\n.*?^```sql\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))

SCENARIO: Tree = {
    "run": {"warm_up": 600.0, "horizon": 8000.0, "epoch": 1.0, "drain": 100.0},
    "fleet": {"replicas": 4, "shard_replicas": 2},
    "traffic": {
        "kind": "sessions",
        "messages_per_s": 0.5,
        "sessions": {"live": 30, "turns": {"kind": "geometric", "mean": 12}},
    },
    "characters": {"count": 60, "edits_per_hour": 3.0},
    "results": {"tick": 20.0},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two hours, twice replicated."""
    result = replicate(scenario_of(SCENARIO), 2)
    return write_run(result, "name: x\n", {}, tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture
def ask(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a query of the page in the run's folder: its rows as dictionaries."""
    monkeypatch.chdir(folder)

    def answered(title: str) -> list[dict[str, Any]]:
        found = duckdb.sql(QUERIES[title])
        return [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]

    return answered


def test_there_are_ten_and_the_list_names_them() -> None:
    assert len(QUERIES) >= 10
    assert re.findall(r"^\d+\. \[(.+?)\]", PAGE, re.MULTILINE) == list(QUERIES)


@pytest.mark.parametrize("title", QUERIES)
def test_each_query_says_something(ask: Any, title: str) -> None:
    rows = ask(title)
    assert rows
    for name in rows[0]:
        assert any(row[name] is not None for row in rows), f"{name} is always null"


def test_what_they_say_is_what_the_run_says(ask: Any, folder: Path) -> None:
    run = read_run(folder)
    measured = int(round(run.summary["requests.arrived"] * 2))
    assert sum(row["messages"] for row in ask("The slow tail, hour by hour")) == (
        run.table("requests").num_rows
    )
    assert sum(row["messages"] for row in ask("Shards side by side")) == measured
    deciles = ask("Popular and rare characters")
    assert 7 <= len(deciles) <= 10
    assert max(row["messages"] for row in deciles) < 0.3 * measured
    assert deciles[0]["characters"] < deciles[-1]["characters"]
    assert sum(row["messages"] for row in deciles) == measured
    cost = ask("Cost per message, hour by hour")
    assert [row["hour"] for row in cost] == [0, 1, 2]
    assert cost[1]["usd_per_message"] == pytest.approx(
        run.summary["cost.usd_per_message"], rel=0.15
    )
    turns = ask("Hit rate by turn")
    assert turns[-1]["hit_rate"] > turns[0]["hit_rate"]
    shards = ask("Which shards fall behind")
    assert {row["shard"] for row in shards} == {0, 1}
    assert sum(row["relative"] for row in shards) == pytest.approx(2.0)
    sure = {row["figure"]: row for row in ask("How sure is each figure")}
    for figure, row in sure.items():
        assert row["mean"] == pytest.approx(run.intervals[figure]["mean"])
        assert row["half_width"] == pytest.approx(run.intervals[figure]["half_width"])
    figures = ask("Two runs, figure by figure")
    assert all(row["change"] in (0, None) and row["this"] == row["other"] for row in figures)
