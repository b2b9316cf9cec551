"""`kaiju-sim economics SCENARIO`: what a fleet costs in full, what pays for it, what that rests on.

Only parses and writes; the figures are `kaiju_sim.economics.sheet`'s. A run directory in place of a
scenario is not simulated anew: its figures are priced with the prices it states, or with others
(`--set economics...`).
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kaiju_sim.cli.options import Output, Seed, Set, With, settings
from kaiju_sim.cli.simulating import Engine, load, simulate
from kaiju_sim.cli.talk import Talk
from kaiju_sim.errors import UserError

if TYPE_CHECKING:
    from kaiju_sim.scenario.loader import Loaded


@dataclass(frozen=True)
class Question:
    """What was asked for: a scenario or a run, and changes to it."""

    name: str
    overrides: list[str]
    sets: list[str]
    workers: int
    talk: Talk

    @property
    def is_run(self) -> bool:
        """Whether it is a run directory."""
        return (Path(self.name) / "summary.json").is_file()

    def loaded(self, *more: str) -> "Loaded":
        """The scenario, with more settings."""
        name = str(Path(self.name) / "scenario.yaml") if self.is_run else self.name
        return load(name, self.overrides, [*self.sets, *more])

    def simulated(self, *more: str) -> tuple["Loaded", Mapping[str, Any]]:
        """The scenario simulated, with more settings."""
        loaded = self.loaded(*more)
        result = simulate(loaded, 1, self.workers, Engine.COMPILED, self.talk)
        return loaded, result.summary


def economics(
    scenario: Annotated[
        str, typer.Argument(help="Scenario file, name of one in scenarios/, or a run directory.")
    ],
    with_: With = None,
    set_: Set = None,
    seed: Seed = None,
    ranges: Annotated[
        bool, typer.Option("--simulate", help="Simulate both ends of economics.ranges too.")
    ] = False,
    format: Annotated[Output, typer.Option(help="Tables, or all of it as JSON.")] = Output.TEXT,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the same as one HTML page.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=1024, help="Processes.")] = 1,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing on stderr.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error came from.")] = False,
) -> None:
    """What a fleet costs in full: bill, margin, best purchase, forecast, sensitivity, crossover."""
    sets = settings(set_, seed)
    question = Question(scenario, with_ or [], sets, workers, Talk(quiet))
    sheet = _sheet(question, ranges)
    if output is not None:
        from kaiju_sim.report.atomic import write_file
        from kaiju_sim.report.html.money_page import money_page

        write_file(output, money_page(sheet).encode())
    _print(sheet, format)
    if output is not None:
        question.talk.say(f"written to {output}")


def _sheet(question: Question, ranges: bool) -> dict[str, Any]:
    from kaiju_sim.economics.sheet import sheet_of

    if ranges:
        _check_ranges(question)
    loaded, summary = _priced(question) if question.is_run else question.simulated()
    sheet = sheet_of(loaded.scenario, summary)
    sheet["simulated_tornado"] = _simulated(question, loaded) if ranges else []
    return sheet


def _check_ranges(question: Question) -> None:
    """UserError, before anything is simulated, where there is no range to simulate."""
    from kaiju_sim.economics.ranges import ranges_of

    if not ranges_of(question.loaded().scenario):
        raise UserError("--simulate: the scenario states no economics.ranges")


def _priced(question: Question) -> tuple["Loaded", Mapping[str, Any]]:
    """A run as it was, with other prices; nothing else of it can be changed."""
    from kaiju_sim.report.rundir import read_run

    foreign = [text for text in question.sets if not text.strip().startswith("economics.")]
    if foreign or question.overrides:
        what = f"--set {foreign[0]}" if foreign else f"--with {question.overrides[0]}"
        raise UserError(f"{what}: of a run only economics.* can be changed; give the scenario")
    return question.loaded(), read_run(Path(question.name)).summary


def _simulated(question: Question, loaded: "Loaded") -> list[dict[str, Any]]:
    """The bars of all ranges that need a run."""
    from kaiju_sim.economics.ranges import ranges_of, service_figures, simulated_bars
    from kaiju_sim.economics.sheet import FIGURES, ledger_of
    from kaiju_sim.economics.values import values_of

    def run(setting: str) -> dict[str, float | None]:
        question.talk.say(f"simulating {setting}")
        there, summary = question.simulated(setting)
        ledger = ledger_of(there.scenario, summary)
        money = zip(FIGURES, ledger.figures(values_of(ledger.assumed)), strict=True)
        return dict(money) | service_figures(summary)

    return [asdict(bar) for bar in simulated_bars(ranges_of(loaded.scenario), run)]


def _print(sheet: dict[str, Any], format: Output) -> None:
    if format is Output.JSON:
        sys.stdout.write(json.dumps(sheet, indent=2, allow_nan=False) + "\n")
        return
    from kaiju_sim.report.money.tables import print_sheet

    print_sheet(sheet, sys.stdout)
