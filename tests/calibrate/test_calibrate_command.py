"""The command line, a kill in the middle, and the job files by a dry run."""

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from calibrate import run
from calibrate.__main__ import main
from calibrate.jobs import Filling, filled
from calibrate.samples import read_job
from kaiju_sim.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
ID = "h100-80gb-kaiju-13b-tp1"
KILLED = """
import os, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from fake_rig import FakeClock, FakeRig
from calibrate import run
from calibrate.measure.talk import Talk
clock = FakeClock()
rig = FakeRig(clock)
left = [1500]
def count():
    left[0] -= 1
    if left[0] < 0:
        os.kill(os.getpid(), 9)
rig.steps.before_run = count
asked = run.Asked("kaiju-13b", 1, "auto", Path({out!r}), 480.0)
run.run(asked, [], Talk(quiet=True), lambda line: None, rig.opened, clock)
"""


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def last_line(text: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(text.splitlines()[-1])
    return found


def test_a_dry_run_needs_no_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "random mixed steps that judge the fit" in out
    assert "budget 8.0 min" in out
    said = last_line(out)
    assert said["id"] == ID
    assert said["heldout"] == 345


def test_a_dry_run_of_variants(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--dry-run", "--variant", "mha", "--model", "kaiju-34b", "--gpu", "H200"]) == 0
    said = last_line(capsys.readouterr().out)
    assert [one["id"] for one in said["variants"]] == ["h200-kaiju-34b-mha-tp1"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--dry-run", "--model", "kaiju-14b"], "kaiju-13b"),
        (["--dry-run", "--budget", "8"], "--budget: 8 has no unit"),
        (["--dry-run", "--budget", "0.1s"], "--budget: must lie between"),
        (["--dry-run", "--gpu", "H300"], "H100-80GB"),
        (["--dry-run", "--only", "nonsense"], "nothing has that name"),
        (["--dry-run", "--tp", "3"], "must divide the model's heads (64)"),
        (["--dry-run", "--model", "llama-3.1-8b"], "cannot be measured"),
        (["--dry-run", "--model", "kaiju-110b"], "no step fits beside the weights"),
        (["--tp", "3"], "must divide the model's heads (64)"),
        (["--gpu", "H300"], "H100-80GB"),
        (["--tp", "0"], "--tp"),
        (["--nonsense"], "--nonsense"),
        (["refit", "nobody-tp1"], "there are no samples in"),
        (["jobs", "--image", "x; rm y"], "--image"),
        (["jobs", "--samples", "/"], "no name for a claim"),
        (["jobs", "-o", "/dev/null/x"], "cannot make"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(
    words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    said = capsys.readouterr()
    errors = [line for line in said.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert complaint in errors[0]


def test_without_a_gpu_it_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main(["--out", str(tmp_path)]) == 2
    assert "CUDA devices, this machine has 0" in capsys.readouterr().err
    monkeypatch.setattr("calibrate.gpu.opening.find_spec", lambda name: None)
    assert main(["--out", str(tmp_path)]) == 2
    assert "measuring needs torch" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_is_130(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "run", stop)
    assert main([]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_a_signal_to_end_is_ctrl_c(tmp_path: Path) -> None:
    """What a cluster sends before it kills: nothing measured is lost."""
    code = KILLED.format(tests=str(ROOT / "tests" / "calibrate"), out=str(tmp_path))
    code = code.replace("os.kill(os.getpid(), 9)", "os.kill(os.getpid(), 15)")
    handler = "import signal\nfrom calibrate.__main__ import _interrupted\n"
    handler += "signal.signal(signal.SIGTERM, _interrupted)\n"
    done = subprocess.run(
        [sys.executable, "-c", handler + code], env=environment(), capture_output=True, text=True
    )
    assert "KeyboardInterrupt" in done.stderr
    assert read_job(tmp_path / ID)["done"]["heldout"] > 50


def test_a_killed_process_leaves_what_it_measured(tmp_path: Path) -> None:
    code = KILLED.format(tests=str(ROOT / "tests" / "calibrate"), out=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", code], env=environment(), check=False)
    assert done.returncode == -signal.SIGKILL
    folder = tmp_path / ID
    visits = [v for part in (folder / "parts").iterdir() for v in json.loads(part.read_text())]
    assert 150 < len(visits) <= 260
    assert not read_job(folder)["complete"]
    assert not (folder / "steps.parquet").exists()


def documented() -> list[list[str]]:
    """Words of each command of the job's pages."""
    pages = [ROOT / "docs" / name for name in ("calibrate.md", "steps.md")]
    text = "".join(page.read_text(encoding="utf-8") for page in pages)
    lines = [line for line in text.splitlines() if line.startswith("python -m calibrate")]
    return [shlex.split(line, comments=True)[3:] for line in lines]


@pytest.mark.parametrize("words", documented(), ids=" ".join)
def test_documented_commands_parse(
    words: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "run", lambda *_: {})
    monkeypatch.setattr(run, "dry_run", lambda *_: {})
    monkeypatch.setattr("calibrate.publish.fitted", lambda folder: None)
    monkeypatch.setattr("calibrate.publish.result", lambda *_: {})
    monkeypatch.setattr("calibrate.report.collect.measured_names", lambda out: [])
    monkeypatch.setattr("calibrate.report.show.page.fill", lambda *_: [])
    assert main(words) == 0


FILLING = Filling("kaiju-13b", 2, "registry.example/kaiju:1.0", "/shared/samples", "8min", 480.0)


def fake(folder: Path, name: str, body: str) -> None:
    file = folder / name
    file.write_text(f"#!/usr/bin/env bash\n{body}\n")
    file.chmod(0o755)


def test_the_slurm_script_runs_the_job(tmp_path: Path) -> None:
    """srun and its container are made up; the command that it is given is the real one."""
    script = tmp_path / "calibrate.slurm"
    script.write_text(filled("slurm.sh.template", FILLING))
    subprocess.run(["bash", "-n", str(script)], check=True)
    fake(
        tmp_path,
        "srun",
        'echo "srun $*" >&2\nwhile [[ "$1" == --* ]]; do shift; done\nexec "$@"',
    )
    fake(tmp_path, "python", f'exec "{sys.executable}" "$@"')
    done = subprocess.run(
        ["bash", str(script), "--dry-run"],
        env={**environment(), "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "--container-image=registry.example/kaiju:1.0" in done.stderr
    assert "--container-mounts=/shared/samples:/samples" in done.stderr
    said = last_line(done.stdout)
    assert said["id"] == "h100-80gb-kaiju-13b-tp2"
    assert said["paths"] == {"samples": "/samples/h100-80gb-kaiju-13b-tp2"}
    text = script.read_text()
    assert "#SBATCH --gpus-per-node=2" in text
    assert "#SBATCH --time=23\n" in text


def test_the_slurm_script_without_a_container(tmp_path: Path) -> None:
    script = tmp_path / "calibrate.slurm"
    script.write_text(filled("slurm.sh.template", FILLING))
    fake(tmp_path, "srun", 'echo "$*"')
    done = subprocess.run(
        ["bash", str(script)],
        env={**environment(), "PATH": f"{tmp_path}:{os.environ['PATH']}", "CALIBRATE_IMAGE": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--container" not in done.stdout
    assert done.stdout.strip().endswith("--tp 2 --budget 8min --out /shared/samples")


def test_the_kubernetes_job_runs_the_job() -> None:
    job = YAML(typ="safe").load(filled("kubernetes.yaml.template", FILLING))
    assert (job["kind"], job["apiVersion"]) == ("Job", "batch/v1")
    pod = job["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert container["image"] == "registry.example/kaiju:1.0"
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "2"
    volumes = {volume["name"] for volume in pod["volumes"]}
    assert volumes == {mount["name"] for mount in container["volumeMounts"]}
    assert pod["volumes"][0]["persistentVolumeClaim"] == {"claimName": "shared-samples"}
    assert job["spec"]["activeDeadlineSeconds"] == 480 + 900
    command = [*container["command"], *container["args"], "--dry-run"]
    assert command.pop(0) == "python"
    done = subprocess.run(
        [sys.executable, *command], env=environment(), cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert last_line(done.stdout)["id"] == "h100-80gb-kaiju-13b-tp2"


def test_job_files_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["jobs", "-o", str(tmp_path / "new"), "--model", "kaiju-34b"]) == 0
    paths = last_line(capsys.readouterr().out)["paths"]
    assert [Path(p).name for p in paths] == ["calibrate.slurm", "calibrate.yaml"]  # type: ignore[attr-defined]
    assert all("kaiju-34b" in Path(p).read_text() for p in paths)  # type: ignore[attr-defined]


@pytest.mark.parametrize("samples", ["a b", "$(x)", "-v", "x\ny"])
def test_nothing_of_a_shell_gets_into_a_job_file(samples: str) -> None:
    with pytest.raises(UserError, match="--samples"):
        filled("slurm.sh.template", FILLING.__class__(**{**vars(FILLING), "samples": samples}))
