"""Trials of plans and rows of break-its run on any executor, and are kept where it was asked."""

from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from planner_fleets import WINDOW, bench, written

from kaiju_sim.executor.choose import opened
from kaiju_sim.planner.breakits.names import REFERENCES
from kaiju_sim.planner.breakits.table import Asked, RowTask, break_its, keep, run_row
from kaiju_sim.scenario.loader import load_scenario
from kaiju_sim.store import Store


class Refuses:
    """An executor that must not be needed."""

    workers = 1

    def map(
        self, function: Callable[[Any], Any], tasks: Mapping[Any, Any]
    ) -> Generator[tuple[Any, Any], None, None]:
        """Only nothing may be asked of it."""
        assert not tasks
        yield from ()

    def close(self) -> None:
        """Nothing to end."""


@pytest.mark.parametrize("kind", ["inprocess", "pool"])
def test_figures_are_the_same_on_any_executor_and_kept_here(tmp_path: Path, kind: Any) -> None:
    alone = bench(tmp_path)
    wanted = alone.figures(5, [0, 1])
    keeping = bench(tmp_path, keep=True)
    with opened(kind, 2) as executor:
        assert replace(keeping, executor=executor).figures(5, [1]) == wanted[1:]
        assert replace(keeping, executor=executor).figures(5, [0, 1]) == wanted
    assert len(list((tmp_path / "kept").glob("*.json"))) == 2
    assert replace(keeping, executor=Refuses()).figures(5, [0, 1]) == wanted


@pytest.mark.parametrize("kind", ["inprocess", "pool"])
def test_break_its_are_the_same_on_any_executor(tmp_path: Path, kind: Any) -> None:
    asked = Asked(written(tmp_path), folder=tmp_path / "kept", window=WINDOW)
    wanted = break_its(asked, only=["tight-ttft"])
    kept = {path.name for path in (tmp_path / "kept").iterdir()}
    elsewhere = replace(asked, folder=tmp_path / kind)
    with opened(kind, 2) as executor:
        assert break_its(elsewhere, only=["tight-ttft"], executor=executor) == wanted
    assert {path.name for path in (tmp_path / kind).iterdir()} == kept


def test_rows_from_machines_without_the_folder_are_kept_here(tmp_path: Path) -> None:
    """Such a task leaves no file; what it found is kept when it is done, and read next time."""
    task = RowTask(load_scenario(written(tmp_path)), REFERENCES[0], WINDOW, tmp_path / "not there")
    done = run_row(task)
    assert not (tmp_path / "not there").exists()
    store = Store(tmp_path / "kept")
    keep(done, store)
    again = run_row(replace(task, folder=store.folder))
    assert again == done
    assert len(list(store.folder.iterdir())) == len(done.known) > 10
