"""The engine's own time that a profile has follows from the runs that are committed."""

from pathlib import Path

import pytest

from calibrate.fidelity.engine_time import take_engine_time
from calibrate.fidelity.store import Store
from calibrate.fit.host import engine_host
from calibrate.fit.read import engine_steps
from calibrate.publish import SAMPLES
from calibrate.samples import read_engine
from kaiju_sim.errors import UserError
from kaiju_sim.steptime.profile import load_profile

ID = "h100-80gb-kaiju-13b-tp1"


def test_it_is_that_of_the_capacity_runs(tmp_path: Path) -> None:
    number = take_engine_time(Store(SAMPLES / ID / "fidelity"), tmp_path)
    rows = read_engine(tmp_path)
    assert rows == read_engine(SAMPLES / ID)
    steps = [step for row in rows for step in engine_steps(row)]
    assert len(steps) == number > 4000
    assert all(step.period_s > step.step_s > 0 for step in steps)
    assert engine_host(steps) == load_profile(ID).engine_host


def test_without_such_runs_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run is there"):
        take_engine_time(Store(tmp_path), tmp_path)
