"""A plan's trials run on any executor, and are kept where the plan is."""

from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from planner_fleets import bench

from kaiju_sim.executor.choose import opened


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
