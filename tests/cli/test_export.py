"""`kaiju-sim export`: what it writes, and mistakes told in one line with exit code 2."""

import json
from pathlib import Path

import pytest
from fake_cli import ROOT

from kaiju_sim.cli import main

TINY = """\
schema_version: 1
name: tiny
seed: 5
run: {warm_up: 0s, horizon: 3s, drain: 10s, epoch: 100ms}
traffic: {kind: poisson, messages_per_s: 8}
steptime: {kind: roofline}
fleet: {replicas: 1}
results: {tick: 1s}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    (folder / "tiny.yaml").write_text(TINY)
    words = ["run", str(folder / "tiny.yaml"), "-o", str(folder / "run"), "-q", "--no-report"]
    assert main([*words, "--engine", "reference"]) == 0
    return folder / "run"


def test_all_formats_at_once(made: Path, tmp_path: Path) -> None:
    words = ["--openmetrics", str(tmp_path / "m.om"), "--csv", str(tmp_path / "csv"), "-q"]
    words += ["--perfetto", str(tmp_path / "t.json"), "--window", "500ms..2s"]
    words += ["--start", "2026-11-01T00:00:00Z", "--scrape", "2s"]
    assert main(["export", str(made), *words]) == 0
    assert sorted(x.name for x in tmp_path.iterdir()) == ["csv", "m.om", "t.json"]
    text = (tmp_path / "m.om").read_text()
    assert text.endswith("# EOF\n")
    assert " 1793491202.000\n" in text
    trace = json.loads((tmp_path / "t.json").read_text())
    slices = [e for e in trace["traceEvents"] if e["ph"] == "X"]
    assert slices
    assert all(0.5e6 <= e["ts"] < 2e6 for e in slices)
    assert (tmp_path / "csv" / "figures.csv").read_bytes().startswith(b"\xef\xbb\xbfkey,group,")
    assumed = (tmp_path / "csv" / "assumptions.csv").read_text(encoding="utf-8-sig")
    assert assumed.splitlines()[0] == "assumed,value,low,high,grade,source"
    assert "gpu_price,1.0," in assumed


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "nothing to write"),
        (["--perfetto", "t.json"], "--window FROM..TO belong together"),
        (["--perfetto", "t.json", "--window", "5s"], "write FROM..TO"),
        (["--perfetto", "t.json", "--window", "5..6s"], "5 has no unit"),
        (["--perfetto", "t.json", "--window", "6s..5s"], "before it ends"),
        (["--perfetto", "t.json", "--window", "1h..2h"], "within the run: 0s..13s"),
        (["--openmetrics", "m", "--start", "noon"], "--start noon"),
        (["--openmetrics", "m", "--scrape", "0s"], "--scrape"),
        (["--openmetrics", "no/such/m"], "its folder does not exist"),
        (["--openmetrics", "."], "is a folder"),
        (["--openmetrics", "m", "--replication", "2"], "no rows of replication 2"),
    ],
)
def test_mistakes_are_told(
    made: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(made), *words]) == 2
    assert told in capsys.readouterr().err.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_not_a_run_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["export", str(ROOT / "docs"), "--openmetrics", str(tmp_path / "m")]) == 2
    assert "not a run directory" in capsys.readouterr().err
