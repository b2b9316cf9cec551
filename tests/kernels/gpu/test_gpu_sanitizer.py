"""compute-sanitizer over every operator at small sizes."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import sanitize_kernels

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.parametrize("tool", sanitize_kernels.TOOLS)
def test_nothing_is_found(tool: str) -> None:
    if shutil.which("compute-sanitizer") is None:
        pytest.skip("no compute-sanitizer")
    command = [sys.executable, "scripts/sanitize_kernels.py", tool]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


MEMCHECK = "========= COMPUTE-SANITIZER\noperators ran\n========= ERROR SUMMARY: {} errors\n"
RACECHECK = (
    "========= COMPUTE-SANITIZER\noperators ran\n"
    "========= RACECHECK SUMMARY: {} hazards displayed (0 errors, 2 warnings)\n"
)


@pytest.mark.parametrize("text", [MEMCHECK, RACECHECK])
@pytest.mark.parametrize("count", [0, 3])
def test_the_tools_counts_are_read(text: str, count: int) -> None:
    assert sanitize_kernels.found(text.format(count)) == count


@pytest.mark.parametrize("text", ["", "operators ran\n", MEMCHECK.replace("operators ran", "")])
def test_output_that_breaks_off_is_no_clean_run(text: str) -> None:
    assert sanitize_kernels.found(text.format(0)) is None
