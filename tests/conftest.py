"""Fixtures that all tests share."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent

# The same examples on every machine and on every run; no time limit for a single example, since
# the first one may compile.
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of public traces, beside the repository or where KAIJU_SHARED says; or a skip.

    With KAIJU_REQUIRE_SHARED=1 (as in CI) its absence is a failure.
    """
    shared = Path(os.environ.get("KAIJU_SHARED", ROOT.parent / "shared"))
    data = shared / "data" if (shared / "data").is_dir() else shared
    if not (data / "expected.json").is_file():
        missing = "no shared data: set KAIJU_SHARED"
        if os.environ.get("KAIJU_REQUIRE_SHARED") == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    return data
