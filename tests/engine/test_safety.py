"""The compiled loop stays inside its arrays and allocates nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

WORKLOADS = 60


@pytest.mark.slow
def test_bounds_and_allocations(tmp_path: Path) -> None:
    """`safety_run.py` in a process of its own, compiled afresh with every index checked."""
    program = Path(__file__).with_name("safety_run.py")
    checked = {"NUMBA_BOUNDSCHECK": "1", "KAIJU_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, str(program), str(WORKLOADS)],
        env=os.environ | checked,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
