"""`kaiju-sim run`: what goes where, and what the exit code says."""

import json
from pathlib import Path

import pytest
from fake_cli import FakeSimulation

from kaiju_sim.cli import main
from kaiju_sim.errors import UserError
from kaiju_sim.report.rundir import read_run

Capture = pytest.CaptureFixture[str]


def test_a_run_prints_a_page_and_writes_a_directory(
    folder: Path, fake: FakeSimulation, capsys: Capture
) -> None:
    assert main(["run", "small.yaml"]) == 0
    shown = capsys.readouterr()
    run = read_run(folder / "runs" / "Evening-small-3")
    assert shown.out.splitlines()[0] == "Evening / small, seed 3"
    assert "source: roofline" in shown.out
    assert shown.err == f"written to {run.path}\n"
    assert (run.path / "report.html").is_file()
    assert run.provenance["seed"] == 3
    assert run.provenance["command"].startswith("kaiju-sim")
    assert len(run.provenance["scenario_sha256"]) == len(run.provenance["profile"]["sha256"]) == 64


def test_json_is_the_content_of_the_file(
    folder: Path, fake: FakeSimulation, capsys: Capture
) -> None:
    assert main(["run", "small.yaml", "-o", "out", "--format", "json", "--no-report"]) == 0
    shown = capsys.readouterr().out
    assert shown == (folder / "out" / "summary.json").read_text()
    assert json.loads(shown)["verdict"] == "stable"
    assert not (folder / "out" / "report.html").exists()


def test_options_reach_the_simulation(folder: Path, fake: FakeSimulation, capsys: Capture) -> None:
    words = ["--with", "big", "--set", "router.bound=2", "--seed", "9", "--workers", "2"]
    assert main(["run", "small.yaml", *words, "--engine", "reference", "-q"]) == 0
    (call,) = fake.calls
    assert call["scenario"].fleet.replicas == 4
    assert call["scenario"].router.bound == 2
    assert call["scenario"].seed == 9
    assert (call["workers"], call["engine"], call["progress"]) == (2, "reference", None)
    assert capsys.readouterr().err == ""
    assert (folder / "runs" / "Evening-small-9").is_dir()


def test_the_written_scenario_runs_to_the_same_files(
    folder: Path, fake: FakeSimulation, capsys: Capture
) -> None:
    assert main(["run", "small.yaml", "--with", "big", "-o", "a"]) == 0
    assert main(["run", "a/scenario.yaml", "-o", "b"]) == 0
    for path in sorted((folder / "a").iterdir()):
        if path.name != "provenance.json":
            assert path.read_bytes() == (folder / "b" / path.name).read_bytes(), path.name


def test_a_shipped_scenario_has_a_short_name(
    folder: Path, fake: FakeSimulation, capsys: Capture
) -> None:
    (folder / "scenarios").mkdir()
    (folder / "small.yaml").rename(folder / "scenarios" / "baseline.yaml")
    assert main(["run", "baseline"]) == 0


def test_explain_prints_origins_and_runs_nothing(
    folder: Path, fake: FakeSimulation, capsys: Capture
) -> None:
    roofline = ("--set", "steptime.kind=roofline")
    assert main(["run", "small.yaml", "--seed", "9", "--explain", *roofline]) == 0
    shown = capsys.readouterr().out
    assert "small.yaml:" in shown
    assert "# step time: roofline: roofline-" in shown
    assert "--set" in shown
    assert fake.calls == []
    assert not (folder / "runs").exists()


def test_compiling_is_announced(folder: Path, fake: FakeSimulation, capsys: Capture) -> None:
    fake.warm = False
    assert main(["run", "small.yaml"]) == 0
    assert capsys.readouterr().err.startswith("compiling")
    assert main(["run", "small.yaml", "--engine", "reference"]) == 0
    assert not capsys.readouterr().err.startswith("compiling")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Missing argument"),
        (["nowhere.yaml"], "nowhere.yaml"),
        (["baseline"], "baseline"),
        (["small.yaml", "--with", "bigger"], "bigger"),
        (["small.yaml", "--set", "fleet.replica=3"], "replica"),
        (["small.yaml", "--set", "fleet.replicas=three"], "fleet.replicas"),
        (["small.yaml", "--seed", "x"], "--seed"),
        (["small.yaml", "--seed", "-1"], "seed"),
        (["small.yaml", "--workers", "0"], "--workers"),
        (["small.yaml", "--engine", "fast"], "--engine"),
        (["small.yaml", "--format", "xml"], "--format"),
        (["small.yaml", "--nonsense"], "--nonsense"),
        (["small.yaml", "more.yaml"], "more.yaml"),
        (["small.yaml", "-o", "small.yaml"], "it is a file"),
        (["small.yaml", "-o", "small.yaml/x"], "not a directory"),
        (["small.yaml", "-o", "small.yaml/no/where"], "not a directory"),
        (["small.yaml", "-o", "."], "current directory"),
        (["small.yaml", "-o", "/proc/x"], "cannot write"),
        (["."], "."),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    folder: Path, fake: FakeSimulation, capsys: Capture, words: list[str], message: str
) -> None:
    assert main(["run", *words]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    (line,) = shown.err.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert fake.calls == []


def test_a_user_error_while_simulating_is_told(
    folder: Path, fake: FakeSimulation, capsys: Capture
) -> None:
    fake.error = UserError("the trace ends here", "t.csv", 7)
    assert main(["run", "small.yaml"]) == 2
    assert capsys.readouterr().err == "error: t.csv:7: the trace ends here\n"


def test_a_user_error_is_located_where_its_key_was_stated(
    folder: Path, fake: FakeSimulation, capsys: Capture
) -> None:
    fake.error = UserError("traffic.kind: no such thing")
    assert main(["run", "small.yaml"]) == 2
    assert capsys.readouterr().err == "error: small.yaml:4: traffic.kind: no such thing\n"
    fake.error = UserError("gpu: unknown name 'H300'")
    assert main(["run", "small.yaml", "--set", "gpu=H300"]) == 2
    assert capsys.readouterr().err == "error: --set: gpu: unknown name 'H300'\n"


def test_replications_reach_the_simulation_and_the_provenance(
    folder: Path, fake: FakeSimulation, capsys: Capture
) -> None:
    assert main(["run", "small.yaml", "--replications", "5", "-o", "deep/er/out", "-q"]) == 0
    assert fake.calls[0]["replications"] == 5
    run = read_run(folder / "deep" / "er" / "out")
    assert run.provenance["options"]["replications"] == 5
    assert main(["run", "small.yaml", "--replications", "0"]) == 2


def test_our_own_faults_are_short_unless_asked(
    folder: Path, fake: FakeSimulation, capsys: Capture
) -> None:
    fake.error = AssertionError("blocks do not\nadd up")
    assert main(["run", "small.yaml"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "internal error: AssertionError: blocks do not add up (--debug shows where)"
    assert main(["run", "small.yaml", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err
    assert list((folder / "runs").iterdir()) == []


def test_an_interrupt_leaves_nothing(folder: Path, fake: FakeSimulation, capsys: Capture) -> None:
    fake.error = KeyboardInterrupt()
    assert main(["run", "small.yaml"]) == 130
    assert list((folder / "runs").iterdir()) == []


def test_the_bar_moves_when_somebody_looks(
    folder: Path, fake: FakeSimulation, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert main(["run", "small.yaml", "--set", 'name="{x} [red]"']) == 0
    assert fake.calls[0]["progress"] is not None
