"""Traces that random scenarios replay."""

from pathlib import Path

import pytest
from random_scenarios import write_traces


@pytest.fixture(scope="session")
def trace_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with small traces."""
    return write_traces(tmp_path_factory.mktemp("traces"))
