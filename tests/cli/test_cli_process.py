"""The command line as a process: start-up, exit codes, pipes, signals."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fake_cli import ROOT, SCENARIO

FAKE = """
import signal
import sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job may ignore it
sys.path.insert(0, sys.argv.pop(1))
import fake_cli
from kaiju_sim.cli import main
module = fake_cli.FakeSimulation()
sys.modules["kaiju_sim.simulation"] = module
if sys.argv[1] == "wait":
    sys.argv.pop(1)
    import time
    def replicate(*words, **options):
        print("there", flush=True)
        time.sleep(60)
    module.replicate = replicate
sys.exit(main())
"""
HERE = str(Path(__file__).parent)
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}


def module(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kaiju_sim", *words],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=ENVIRONMENT,
    )


@pytest.mark.parametrize("words", [[], ["--help"], ["run", "--help"], ["trace", "-h"]])
def test_help_is_on_stdout(words: list[str]) -> None:
    done = module(*words)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage: kaiju-sim" in done.stdout


def test_the_version_is_the_package_s() -> None:
    import kaiju_sim

    assert module("--version").stdout == f"kaiju-sim {kaiju_sim.__version__}\n"


@pytest.mark.parametrize("words", [["walk"], ["--loud"], ["run", "absent.yaml"]])
def test_mistakes_are_one_line_and_exit_2(words: list[str], tmp_path: Path) -> None:
    done = module(*words, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_help_and_mistakes_import_nothing_heavy(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("nmae: x\n")
    heavy = {"numba", "pyarrow", "plotly", "scipy", "simpy"}
    for words in (["--help"], ["run", "--help"], ["run", "s.yaml"]):
        code = (
            "import sys; from kaiju_sim.cli import main; main(); "
            "sys.stderr.write('\\n' + ' '.join(sorted(m for m in sys.modules if '.' not in m)))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, *words],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=ENVIRONMENT,
        )
        assert not heavy & set(done.stderr.splitlines()[-1].split()), words


def fake(cwd: Path, *words: str) -> subprocess.Popen[bytes]:
    (cwd / "s.yaml").write_text(SCENARIO)
    return subprocess.Popen(
        [sys.executable, "-c", FAKE, HERE, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=cwd,
        env=ENVIRONMENT,
    )


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    with fake(tmp_path, "run", "s.yaml", "-o", "out", "--format", "json", "-q") as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == 0
    assert (tmp_path / "out" / "summary.json").is_file()


def test_control_c_ends_with_130_and_leaves_nothing(tmp_path: Path) -> None:
    with fake(tmp_path, "wait", "run", "s.yaml", "-o", "out") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"there\n"
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    assert process.returncode == 130
    assert said.splitlines()[-1] == b"interrupted"
    assert [path.name for path in tmp_path.iterdir()] == ["s.yaml"]


def test_a_full_disk_under_stdout_is_one_line_and_exit_1(tmp_path: Path) -> None:
    """What was printed is lost, and said to be; the run directory is there."""
    (tmp_path / "s.yaml").write_text(SCENARIO)
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", FAKE, HERE, "run", "s.yaml", "-o", "out", "-q"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env=ENVIRONMENT,
        )
    assert done.returncode == 1
    assert done.stderr == "error: cannot write to stdout: No space left on device\n"
    assert (tmp_path / "out" / "summary.json").is_file()
