"""What is measured is not lost, and no half of it published, when a job ends or begins badly."""

from pathlib import Path

import pytest
from test_calibrate_job import ID, fresh_rig, go

from calibrate import run
from calibrate.__main__ import main
from calibrate.samples import Store, read_job, read_steps, write_job
from kaiju_sim.errors import UserError


@pytest.fixture(autouse=True)
def no_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is fitted is tested elsewhere."""
    monkeypatch.setattr(run, "publish", lambda folder, target: None)


def test_a_full_disk_at_the_end_counts_no_second_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(store: Store) -> None:
        raise OSError("no space")

    rig, clock = fresh_rig()
    with monkeypatch.context() as patch:
        patch.setattr(Store, "tables", full)
        with pytest.raises(OSError, match="no space"):
            go(tmp_path, rig, clock, only=("edge-decode",))
    assert read_job(tmp_path / ID)["seconds"] == clock.seconds
    assert go(tmp_path, *fresh_rig(), only=("edge-decode",))["done"]["fit"] == 7


def test_a_fresh_start_that_is_refused_removes_nothing(tmp_path: Path) -> None:
    go(tmp_path, *fresh_rig())
    before = read_steps(tmp_path / ID)
    with pytest.raises(UserError, match="--budget"):
        go(tmp_path, *fresh_rig(), budget_s=10.0, fresh=True)
    assert read_steps(tmp_path / ID) == before


def test_samples_of_a_job_that_is_not_complete_are_not_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    go(tmp_path, *fresh_rig())
    job = read_job(tmp_path / ID) | {"complete": False}
    write_job(tmp_path / ID, job)
    assert main(["refit", ID, "--out", str(tmp_path), "--write"]) == 2
    assert "the job is not complete" in capsys.readouterr().err
    assert not (tmp_path / ID / "profile.json").exists()
