"""The table of break-its on a tiny fleet, its command, and its going on after a kill."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from planner_fleets import WINDOW, written

from kaiju_sim.cli import main
from kaiju_sim.errors import UserError
from kaiju_sim.planner.breakits.names import BREAK_ITS, chosen
from kaiju_sim.planner.breakits.table import Asked, break_its, difference
from kaiju_sim.report.planning.break_its import markdown, tables_of
from kaiju_sim.scenario.loader import load_scenario, override_names

SHIPPED = ("baseline", "published", "case_study")


def asked(folder: Path) -> Asked:
    return Asked(written(folder), folder=folder / "kept", window=WINDOW)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_scenario_has_all_ten(name: str) -> None:
    """Each override loads, and changes the scenario."""
    file = Path("scenarios") / f"{name}.yaml"
    rows = chosen(override_names(file), [])
    assert [row.name for row in rows if row in BREAK_ITS] == [b.name for b in BREAK_ITS]
    plain = load_scenario(file).scenario
    for row in rows[1:]:
        assert load_scenario(file, overrides=[row.name]).scenario != plain


def test_the_table_of_a_tiny_fleet(tmp_path: Path) -> None:
    rows = {row["name"]: row for row in break_its(asked(tmp_path))}
    assert list(rows) == ["baseline", "no-affinity", "tight-ttft"]
    base, tight = rows["baseline"], rows["tight-ttft"]
    assert rows["no-affinity"]["gpus"] > base["gpus"]  # queues of their own, blind choices
    assert (rows["no-affinity"]["difference"], tight["binds"]) == ("more GPUs", "TTFT p99")
    assert tight["gpus_fail"] < tight["gpus"]
    assert tight["gpus"] >= base["gpus"]
    assert tight["pass_probability_low"] >= 0.5
    assert not base["as_shipped"]["passes"]  # four servers have no time to spare
    assert "| tight-ttft |" in markdown(tables_of(list(rows.values())))


def test_no_effect_is_said(tmp_path: Path) -> None:
    """A break-it that changes nothing that matters has no difference, and the table says so."""
    file = written(tmp_path)
    file.write_text(
        file.read_text() + "  no-inter-turn-cache: {kv: {local_retention: definition}}\n"
    )
    rows = break_its(
        Asked(file, folder=tmp_path / "kept", window=WINDOW), only=["no-inter-turn-cache"]
    )
    assert rows[1]["difference"] == "no difference"
    assert rows[1]["times"] == 1.0
    assert "no difference in GPUs" in markdown(tables_of(rows))


def test_a_difference_within_grey_zones_is_none() -> None:
    row = {"gpus": 48, "gpus_least": 46, "gpus_fail": 45}
    other = {"gpus": 46, "gpus_least": 46, "gpus_fail": 44}
    assert difference(row, other) == "no difference"
    assert difference(row | {"gpus_least": 48, "gpus_fail": 47}, other) == "more GPUs"
    assert difference(other, row | {"gpus_least": 48, "gpus_fail": 47}) == "fewer GPUs"


def test_unknown_names_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no-such"):
        break_its(asked(tmp_path), only=["no-such"])


def test_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Asked, "window", WINDOW)  # of a short run
    words = ["break-it", str(written(tmp_path)), "--only", "tight-ttft", "--workers", "1"]
    words += ["-o", str(tmp_path / "out"), "--format"]
    assert main([*words, "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == ["baseline", "tight-ttft"]
    assert json.loads((tmp_path / "out" / "staffing.json").read_text()) == rows
    assert main([*words, "text"]) == 0
    said = capsys.readouterr()
    assert "the fewest GPUs" in said.out
    assert "replications are kept in" in said.err
    assert main(["break-it", str(written(tmp_path)), "--only", "x"]) == 2


@pytest.mark.slow
def test_a_killed_run_goes_on(tmp_path: Path) -> None:
    """kill -9, and again: what was kept stays as it was, and the rows are those of one run."""
    whole = break_its(Asked(written(tmp_path), folder=tmp_path / "whole", window=WINDOW))
    code = (
        "from pathlib import Path; from planner_fleets import WINDOW;"
        "from kaiju_sim.planner.breakits.table import *;"
        f"break_its(Asked(Path({str(written(tmp_path))!r}), window=WINDOW,"
        f" folder=Path({str(tmp_path / 'kept')!r})))"
    )
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    process = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path})
    kept = tmp_path / "kept"
    until = time.monotonic() + 60
    while time.monotonic() < until and len(list(kept.glob("*.json"))) < 5:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = {path.name: path.stat().st_mtime_ns for path in kept.glob("*.json")}
    assert 5 <= len(before) < len(list((tmp_path / "whole").glob("*.json")))
    assert break_its(asked(tmp_path)) == whole
    assert {name: (kept / name).stat().st_mtime_ns for name in before} == before
