"""What verbs that simulate have in common: reading the scenario, running it, saying so."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from kaiju_sim.cli.options import Where
from kaiju_sim.cli.talk import Talk
from kaiju_sim.errors import UserError

if TYPE_CHECKING:
    from kaiju_sim.executor.seam import Executor
    from kaiju_sim.metrics.result import RunResult
    from kaiju_sim.scenario.loader import Loaded


class Engine(StrEnum):
    """Which loop runs the engine steps; both give the same bytes."""

    COMPILED = "compiled"
    REFERENCE = "reference"


def load(scenario: str, overrides: list[str], sets: list[str]) -> "Loaded":
    """The scenario file, or the shipped one of that name, with overrides and settings."""
    from kaiju_sim.scenario.loader import load_scenario

    return load_scenario(scenario_file(scenario), overrides=overrides, sets=sets)


def scenario_file(name: str) -> Path:
    """The file itself, or `scenarios/NAME.yaml` for a bare name that is no file."""
    path = Path(name)
    shipped = Path("scenarios") / f"{name}.yaml"
    bare = path.name == name and not path.suffix
    return shipped if bare and not path.exists() and shipped.is_file() else path


@contextmanager
def executing(where: Where | None, workers: int, address: str | None) -> "Iterator[Executor]":
    """The executor that was asked for, or as many processes as there are workers."""
    from kaiju_sim.executor.choose import opened

    with opened(None if where is None else where.value, workers, address) as executor:
        yield executor


@contextmanager
def running(where: Where | None, workers: int, address: str | None) -> "Iterator[Executor | None]":
    """The same for one run; None where nothing was asked for: its tasks decide."""
    if where is None and address is None:
        yield None
        return
    with executing(where, workers, address) as executor:
        yield executor


def simulate(
    loaded: "Loaded",
    replications: int,
    workers: int,
    engine: Engine,
    talk: Talk,
    executor: "Executor | None" = None,
) -> "RunResult":
    """The scenario's result; a mistake in it is told with its line."""
    from kaiju_sim.simulation import replicate

    if engine is Engine.COMPILED:
        tell_if_cold(talk)
    with talk.progress(loaded.scenario.name) as progress:
        try:
            return replicate(
                loaded.scenario,
                replications,
                base_dir=loaded.base_dir,
                workers=workers,
                progress=progress,
                engine=engine.value,
                executor=executor,
            )
        except UserError as error:
            raise loaded.located(error) from error


def tell_if_cold(talk: Talk) -> None:
    """Say that the loop is compiled first, if it is not in the cache."""
    from kaiju_sim.simulation import is_warm

    if not is_warm():
        talk.say("compiling the engine loop: once, up to half a minute")
