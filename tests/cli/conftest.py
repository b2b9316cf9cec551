"""Fixtures of the command line's tests."""

import sys
from pathlib import Path

import pytest
from fake_cli import SCENARIO, FakeSimulation


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeSimulation:
    """The fake simulation in place of the real one."""
    module = FakeSimulation()
    monkeypatch.setitem(sys.modules, "kaiju_sim.simulation", module)
    import kaiju_sim

    monkeypatch.setattr(kaiju_sim, "simulation", module, raising=False)
    return module


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with a scenario in it."""
    (tmp_path / "small.yaml").write_text(SCENARIO)
    monkeypatch.chdir(tmp_path)
    return tmp_path
